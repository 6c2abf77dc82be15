"""Integrators of the equations of motion for fleets: one time step of every structure at once."""

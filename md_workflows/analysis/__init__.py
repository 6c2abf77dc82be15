"""What trajectories tell: temperature, pressure, structure, diffusion, vibrations; during a run and afterwards."""

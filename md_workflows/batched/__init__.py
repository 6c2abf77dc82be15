"""Many structures in one model call: each with its own cell, periodicity, random stream and stopping state."""

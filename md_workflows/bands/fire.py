"""FIRE for one band, with ASE's parameters; many bands each have their own."""

import numpy as np
from numpy.typing import NDArray

_TIMESTEP, _LONGEST_TIMESTEP, _LONGEST_STEP_A = 0.1, 1.0, 0.2
_PATIENCE, _FASTER, _SLOWER = 5, 1.1, 0.5
_MIXING, _MIXING_DECAY = 0.1, 0.99


class Fire:
    """E. Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006): velocities turned towards forces, stopped uphill."""

    def __init__(self) -> None:
        self._velocity: NDArray[np.float64] | None = None
        self._timestep, self._mixing, self._downhill = _TIMESTEP, _MIXING, 0

    def step(self, forces: NDArray[np.float64]) -> NDArray[np.float64]:
        """The displacement (Å, in the shape of `forces`) to take at these forces (eV/Å)."""
        velocity = np.zeros_like(forces) if self._velocity is None else self._velocity
        if self._velocity is not None:
            if np.vdot(forces, velocity) > 0:
                aim = forces / np.linalg.norm(forces) * np.linalg.norm(velocity)
                velocity = (1 - self._mixing) * velocity + self._mixing * aim
                if self._downhill > _PATIENCE:
                    self._timestep = min(self._timestep * _FASTER, _LONGEST_TIMESTEP)
                    self._mixing *= _MIXING_DECAY
                self._downhill += 1
            else:
                velocity = np.zeros_like(forces)
                self._timestep, self._mixing, self._downhill = self._timestep * _SLOWER, _MIXING, 0
        self._velocity = velocity + self._timestep * forces
        displacement = self._timestep * self._velocity
        length = float(np.linalg.norm(displacement))
        return np.asarray(displacement * min(1.0, _LONGEST_STEP_A / length) if length else displacement)

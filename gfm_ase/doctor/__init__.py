"""A verdict on any checkpoint and any ASE calculator: what physics demands of it, checked from outside.

``examine(calculator, structures)`` gives a `Report`: rows of checks with verdict, number and threshold, and the curves
behind them. Nothing but the calculator's energies, forces and stress is used, so that peers are judged as we are.
"""

from gfm_ase.doctor.examination import examine
from gfm_ase.doctor.findings import Finding, Report, Row, Skipped, Verdict

__all__ = ["Finding", "Report", "Row", "Skipped", "Verdict", "examine"]

"""Calibration of uncertainties on held-back structures, and measures of what they are worth."""

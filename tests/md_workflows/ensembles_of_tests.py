"""Settings of every ensemble, quick enough for short runs."""

from md_workflows.integrators import ENSEMBLES, EnsembleSettings

QUICK = {"temperature_K": 300.0, "tdamp_fs": 20.0, "pdamp_fs": 400.0, "pressure_GPa": 1.0, "friction_per_fs": 0.02}


def ensemble(name: str, **values: object) -> EnsembleSettings:
    """The settings of this name, with those of the values that it takes."""
    kind = ENSEMBLES[name][0]
    return kind(**{key: value for key, value in {**QUICK, **values}.items() if key in kind.model_fields})

"""What stops a structure of a batch in molecular dynamics, each by itself."""

from typing import Annotated

from pydantic import Field

from md_workflows.settings import Settings

Positive = Annotated[float, Field(gt=0)]


class MDGuards(Settings):
    """Limits that are looked at after every step; None looks at nothing. Numbers that are not finite always stop.

    max_drift_eV_per_atom: of what the equations of motion conserve, since step 0 · min_distance_of_radii: the closest
    two atoms may come, as a part of the sum of their covalent radii (0.5, say) · max_temperature_K: of the moment. A
    limit on the uncertainty is `MDSettings.uncertainty`.
    """

    max_drift_eV_per_atom: Positive | None = None
    min_distance_of_radii: Annotated[float, Field(gt=0, le=2)] | None = None
    max_temperature_K: Positive | None = None

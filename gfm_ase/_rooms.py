"""Guard of the other rooms' names, for `potentials` is also a distribution on PyPI (a dependency of atomman).

Whoever has both must hear so at `import gfm_ase`, and not get an AttributeError from somebody else's
package. Nothing is imported here: where a package would come from can be asked without.
"""

import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("potentials", "train", "md_workflows")
OURS = "gfm-ase"


def check_rooms() -> None:
    """Raise ImportError unless each room that Python would import lies beside `gfm_ase` and is ours alone."""
    beside = Path(__file__).resolve().parent.parent
    for room in ROOMS:
        found = _location(room)
        if found is None:
            raise ImportError(
                f"gfm_ase needs its own package {room!r} and Python finds none: "
                f"run `pip install --force-reinstall --no-deps {OURS}`."
            )
        if found != beside / room:
            raise ImportError(
                f"gfm_ase needs its own package {room!r} from {beside}, but Python finds {found}, "
                f"which belongs to {_owners(room)}: uninstall or rename it, or give each its own environment."
            )
        if _is_shared(room, found):
            raise ImportError(
                f"The distribution {room!r} has written its files among gfm_ase's in {found}: run "
                f"`pip uninstall {room}` and then `pip install --force-reinstall --no-deps {OURS}`."
            )


def _location(room: str) -> Path | None:
    """Folder that `import <room>` would read, or did read."""
    loaded = sys.modules.get(room)
    spec = find_spec(room) if loaded is None else loaded.__spec__
    if spec is None:
        return None
    # A folder without __init__.py, such as a data folder `train/` where Python was started, has no origin.
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0] if folders else spec.origin or room).resolve()


def _owners(room: str) -> str:
    """The other distributions that hold a package of this name, in words."""
    names = sorted(set(metadata.packages_distributions().get(room, ())) - {OURS})
    return f"the distribution {' and '.join(map(repr, names))}" if names else "no installed distribution"


def _is_shared(room: str, found: Path) -> bool:
    """Whether a distribution called like the room was unpacked into our folder, where the later file won."""
    try:
        other = metadata.distribution(room)
    except metadata.PackageNotFoundError:
        return False
    return any(Path(str(other.locate_file(file))).resolve().is_relative_to(found) for file in other.files or ())

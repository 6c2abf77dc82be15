"""Build the wheel and compare its modules with those of the tree.

A package without `__init__.py` is left out of a wheel without a word, and works from the tree all the same:
only this comparison sees it. The wheel is built from a copy, for setuptools takes along what older builds
left in `build/`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gfm_ase", "potentials", "train", "md_workflows")
SUFFIXES = {".py", ".cpp", ".hpp", ".toml", ".css", ".html", ".js", ".safetensors"}


def modules_of_tree() -> set[str]:
    """Every source and data file of the four packages, as a path from the repository's root."""
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.suffix in SUFFIXES]
    return {str(file.relative_to(ROOT)) for file in files}


def modules_of_wheel() -> set[str]:
    """Every source and data file of a wheel that is built from a copy of the tree."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        for package in PACKAGES:
            shutil.copytree(ROOT / package, copy / package)
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, copy)
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, str(copy)]
        done = subprocess.run(build, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        if done.returncode:
            sys.exit(f"The wheel cannot be built:\n{done.stdout}{done.stderr}")
        (wheel,) = Path(folder).glob("*.whl")
        with ZipFile(wheel) as archive:
            return {name for name in archive.namelist() if Path(name).suffix in SUFFIXES}


def main() -> None:
    """Exit with a sentence when wheel and tree differ."""
    tree, wheel = modules_of_tree(), modules_of_wheel()
    if tree != wheel:
        missing, foreign = sorted(tree - wheel), sorted(wheel - tree)
        sys.exit(f"The wheel lacks {missing} of the tree (is an __init__.py missing?) and holds {foreign} besides.")
    print(f"{len(wheel)} modules in both.")


if __name__ == "__main__":
    main()

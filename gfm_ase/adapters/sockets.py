"""A calculator that answers over a socket, in the protocol of i-PI that many programs speak.

python -m gfm_ase.adapters.sockets model.safetensors start.extxyz --port 31415
python -m gfm_ase.adapters.sockets model.safetensors start.extxyz --unix beads
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import ase.io
import typer
from ase import Atoms
from ase.calculators.socketio import SocketClient


def answer(
    atoms: Atoms, calculator: Any, *, unix: str | None = None, host: str = "localhost", port: int = 31415
) -> None:
    """Compute what the server asks for, until it says that it is done.

    Args:
        atoms: elements in the server's order, periodicity, charge and spin.
        calculator: `GFMCalculator`, or another of ASE that has a stress where a direction repeats.
        unix: name of a Unix socket, as i-PI has it; or
        host: where the server is, and
        port: where it listens.

    Raises:
        ValueError: nobody listens there.
    """
    work = atoms.copy()
    work.calc = calculator
    place = {"unixsocket": unix} if unix is not None else {"host": host, "port": port}
    try:
        client = SocketClient(**place)
    except OSError as error:
        where = f"the Unix socket {unix!r}" if unix is not None else f"{host}:{port}"
        raise ValueError(f"nobody listens at {where} ({error}); start the server, such as i-pi, first") from None
    try:
        client.run(work, use_stress=bool(atoms.pbc.any()))  # ASE's own default sends a virial of zeros
    finally:
        client.close()


def main(  # noqa: PLR0917 - typer: every option is an argument
    checkpoint: Annotated[Path, typer.Argument(help="A file that gfm-ase train wrote.")],
    template: Annotated[Path, typer.Argument(help="A structure file: elements in the server's order.")],
    unix: Annotated[str | None, typer.Option("--unix", help="Name of a Unix socket.")] = None,
    host: Annotated[str, typer.Option("--host", help="Where the server is.")] = "localhost",
    port: Annotated[int, typer.Option("--port", help="Where it listens.")] = 31415,
    head: Annotated[str | None, typer.Option("--head", help="Which head answers.")] = None,
) -> None:
    """Answer a server of i-PI's protocol with the energies, forces and virials of a checkpoint."""
    from gfm_ase.calculator import GFMCalculator

    answer(ase.io.read(template), GFMCalculator(checkpoint, head=head), unix=unix, host=host, port=port)


if __name__ == "__main__":
    typer.run(main)

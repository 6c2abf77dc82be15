"""The client of i-PI's protocol against ASE's server of it."""

import threading
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.socketio import SocketIOCalculator
from typer.testing import CliRunner

from gfm_ase import GFMCalculator
from gfm_ase.adapters import sockets


def through_a_socket(atoms: Atoms, client: Any) -> None:
    """Ask, through ASE's server, what `client()` answers, and compare with the calculator of the atoms."""
    name = f"gfm-test-{threading.get_ident()}"
    asked = atoms.copy()
    thread = threading.Thread(target=client, args=(name,), daemon=True)
    with SocketIOCalculator(unixsocket=name, timeout=60) as server:
        asked.calc = server
        thread.start()
        for seed in range(2):
            displacements = np.random.default_rng(seed).normal(0, 0.05, atoms.positions.shape)
            asked.positions += displacements
            atoms.positions += displacements
            assert abs(asked.get_potential_energy() - atoms.get_potential_energy()) < 1e-5
            assert np.abs(asked.get_forces() - atoms.get_forces()).max() < 1e-5
            if atoms.pbc.any():
                assert np.abs(asked.get_stress() - atoms.get_stress()).max() < 1e-6
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_any_calculator() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    through_a_socket(atoms, lambda name: sockets.answer(atoms, EMT(), unix=name))


def test_as_a_program(one_head: Path, alloy: Atoms, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "start.extxyz", alloy)
    alloy.calc = GFMCalculator(one_head, device="cpu")
    ends = []

    def client(name: str) -> None:
        import typer

        app = typer.Typer()
        app.command()(sockets.main)
        ends.append(CliRunner().invoke(app, [str(one_head), str(tmp_path / "start.extxyz"), "--unix", name]))

    through_a_socket(alloy, client)
    assert [end.exit_code for end in ends] == [0], ends[0].exception


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # ASE's client leaves its socket when it cannot connect
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_nobody_listens() -> None:
    with pytest.raises(ValueError, match="nobody listens at the Unix socket 'nobody-here'"):
        sockets.answer(bulk("Cu"), EMT(), unix="nobody-here")
    with pytest.raises(ValueError, match=r"nobody listens at localhost:1 .* start the server, such as i-pi, first"):
        sockets.answer(bulk("Cu"), EMT(), port=1)

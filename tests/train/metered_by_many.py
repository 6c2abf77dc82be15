"""What `test_energy_meter.py` starts: processes of one run and their meter, on a machine whose counters are doubles.

`metered_by_many.py FOLDER CASES...` prints what the first one has in its account; the other one must have the same.
"""

import json
import os
import sys
from pathlib import Path

from tests.train.doubles_of_meters import NVIDIA, Machine, fake_nvml, write
from train.config_energy import EnergyConfig
from train.energy.account import Account
from train.energy.meter import Meter
from train.energy.place import Gpu
from train.energy.registry import choose
from train.group import Group, joined

COUNTED = {"GPU-1111": 0.0, "GPU-2222": 0.0}


def machine_of(folder: Path, case: str, group: Group) -> Machine:
    """A host with two packages and two GPUs, where the case has them; both processes share it."""
    machine = Machine(folder, process=os.getpid())
    if case in {"own GPUs", "one GPU", "lost GPU"}:
        sys.modules["pynvml"] = fake_nvml(COUNTED.__getitem__)
        machine.gpu = NVIDIA if case == "one GPU" else Gpu("cuda", "A100", uuid="1111" if group.first else "2222")
    if group.first:
        machine.busy(100.0)
        if case != "slurm":
            machine.packages(0.0, 0.0)
    if case == "slurm":
        if group.first:
            machine.slurm(0)
        else:
            machine.environment |= {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "3", "PATH": "/nowhere"}
    return machine


def work(machine: Machine, group: Group, case: str) -> None:
    """A minute in which the packages use 300 J, a quarter of it by others, and the GPUs 1000 and 500 J."""
    machine.seconds, machine.own = 60.0, 5.0 if group.first else 10.0
    COUNTED.update({"GPU-1111": 1000.0, "GPU-2222": 500.0})
    if case == "lost GPU" and not group.first:
        del COUNTED["GPU-2222"]
    if group.first:
        machine.busy(120.0)
        if case == "slurm":
            write(machine.root / "consumed", 5000)
        else:
            machine.packages(100.0, 200.0)


def metered(folder: Path, case: str, group: Group) -> dict[str, object]:
    """What the first process has in its account, and what its meter has said."""
    COUNTED.update({"GPU-1111": 0.0, "GPU-2222": 0.0})
    machine = machine_of(folder, case, group)
    group.wait()
    config = EnergyConfig(watts_per_core=5.0, gpu_watts=10.0)
    said: list[str] = []
    meter = Meter(config, machine.place(), group, choose(config, machine.place(), group), said.append)
    group.wait()
    work(machine, group, case)
    group.wait()
    account = Account()
    meter.read(account)
    machine.seconds = 90.0
    meter.read(account)
    meter.close()
    found = json.loads(group.broadcast(json.dumps(vars(account)).encode(), 0))
    assert account == Account(**found)
    return {"account": found, "said": said}


def main(folder: Path, cases: list[str]) -> None:
    """One process of two."""
    with joined("cpu") as group:
        found = {case: metered(folder / case, case, group) for case in cases}
        if group.first:
            print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

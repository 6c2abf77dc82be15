"""Where a process finds its place among others, and what it says where it is told two things."""

import pytest

from train.launch import Launch, find_launch, first_host
from train.meeting import meeting_point

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
MPICH = {"PMI_RANK": "1", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
SLURM = {
    "SLURM_PROCID": "7",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "3",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "nid[0012-0013]",
    "SLURM_JOB_ID": "41007",
    "SLURM_STEP_ID": "2",
}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, Launch()),
        (TORCHRUN, Launch("torchrun", 5, 8, 1, 4)),
        (MPICH, Launch("mpiexec", 1, 4, 1, 2)),
        (OPENMPI, Launch("mpiexec", 3, 4, 1, 2)),
        (SLURM, Launch("srun", 7, 8, 3, 4)),
        # the script of a batch job of eight tasks, that starts nothing by srun
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}, Launch()),
        # torchrun once on each of two nodes
        ({**TORCHRUN, **SLURM, "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, Launch("torchrun", 5, 8, 1, 4)),
        # mpiexec whose proxies Slurm has started
        ({**MPICH, **SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, Launch("mpiexec", 1, 4, 1, 2)),
        # srun with its PMI
        ({**SLURM, "PMI_RANK": "7", "PMI_SIZE": "8"}, Launch("mpiexec", 7, 8, 3, None)),
        # Cray's
        ({"PMI_RANK": "7", "PMI_SIZE": "8", "PALS_LOCAL_RANKID": "3"}, Launch("mpiexec", 7, 8, 3, None)),
        # a launcher that says no more
        ({"PMI_RANK": "7", "PMI_SIZE": "8"}, Launch("mpiexec", 7, 8, 7, None)),
    ],
)
def test_the_environment_tells(environment: dict[str, str], launch: Launch) -> None:
    assert find_launch(environment) == launch


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"RANK": "0"}, "RANK is set and WORLD_SIZE is not; torchrun sets both: start the run by it, or unset RANK"),
        ({"PMI_SIZE": "2"}, "PMI_SIZE is set and PMI_RANK is not; mpiexec sets both"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE is 2; ranks go from 0 to 1"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one'; it must be a whole number"),
        (
            {"RANK": "0", "WORLD_SIZE": "1", **MPICH},
            "WORLD_SIZE says that there are 1 processes and PMI_SIZE that there are 4; if torchrun did not start this"
            " run, unset RANK and WORLD_SIZE",
        ),
    ],
)
def test_an_environment_that_contradicts_itself(environment: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        find_launch(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("nid[001-003,007],login1", "nid001"),
        ("node12", "node12"),
        ("a1,b2", "a1"),
        ("gpu[4,7-9]", "gpu4"),
        ("n[01-02]-ib,x", "n01-ib"),
    ],
)
def test_the_first_of_the_hosts(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_processes_of_srun_meet_at_the_first_host(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    launch = find_launch(SLURM)
    assert meeting_point(launch) == ("nid0012", 20_000 + (41007 + 14) % 20_000)
    monkeypatch.setenv("MASTER_ADDR", "here")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert meeting_point(launch) == ("here", 29500)


def test_mpiexec_without_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mpi4py", None)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"mpiexec started 4 processes, .* the extra mpi .*, or set MASTER_ADDR"):
        meeting_point(find_launch(MPICH))

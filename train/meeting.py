"""Where the processes of a run meet, and which cores are whose."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct

import torch

from train.launch import Launch, first_host

FIRST_PORT, PORTS = 20_000, 20_000
ADDRESS_BYTES = 512
"""Room for the address of the first process."""

SIOCGIFADDR = 0x8915
"""Of ioctl(2): the address of an interface."""


def share_cores(launch: Launch) -> None:
    """Each process of a host gets its part of the cores, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, usable_cores() // (launch.local_size or launch.size)))


def usable_cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_port() -> int:
    """A port of this host that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def name_interface(address: str) -> None:
    """Have gloo listen on the network that leads to an address: a host's own name may mean a network of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, FIRST_PORT))  # sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # an interface without an address
                    asked = struct.pack("256s", name.encode()[:15])
                    if socket.inet_ntoa(fcntl.ioctl(probe.fileno(), SIOCGIFADDR, asked)[20:24]) == own:
                        os.environ["GLOO_SOCKET_IFNAME"] = name
        except OSError:  # no such host: joining says so
            return


def meeting_point(launch: Launch) -> tuple[str, int]:
    """Host and port of the first process."""
    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if launch.by == "srun":
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ["SLURM_JOB_NODELIST"]
        of_step = int(os.environ["SLURM_JOB_ID"]) + 7 * int(os.environ.get("SLURM_STEP_ID", "0"))
        return first_host(nodes), FIRST_PORT + of_step % PORTS
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        raise ValueError(
            f"{launch.by} started {launch.size} processes, which cannot find each other: install the extra mpi (pip"
            " install 'gfm-ase[mpi]'), or set MASTER_ADDR and MASTER_PORT to a host and a free port of the first"
        ) from None
    told = bytearray(ADDRESS_BYTES)  # bytes, not objects: mpi4py would send those as pickles
    if launch.rank == 0:
        host, port = _free_address(one_host=launch.one_host)
        written = f"{host} {port}".encode()
        told[: len(written)] = written
    MPI.COMM_WORLD.Bcast([told, MPI.BYTE], root=0)
    address, _, port_of_all = told.rstrip(b"\0").decode().partition(" ")
    return address, int(port_of_all)


def _free_address(*, one_host: bool) -> tuple[str, int]:
    return "127.0.0.1" if one_host else socket.gethostname(), free_port()

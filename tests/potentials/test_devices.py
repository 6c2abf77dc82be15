"""Which device computes, and what is said of one that is not there."""

import pytest
import torch

from potentials import devices
from potentials.devices import choose_device


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "COUNTS", dict.fromkeys(devices.COUNTS, lambda: 0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu() -> None:
    assert choose_device() == torch.device("cpu")
    assert choose_device(torch.device("cpu")) == torch.device("cpu")
    for name in ("cuda", "cuda:1", "xpu"):
        with pytest.raises(
            ValueError, match=rf"device '{name}' was asked for, but torch sees 0 GPUs .*'cpu' or 'auto'"
        ):
            choose_device(name)


def test_a_gpu_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices.COUNTS, "cuda", lambda: 2)
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"'cuda:2' was asked for, but torch sees 2 GPUs"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:first", "", "cuda:-1"])
def test_no_device_name(name: str) -> None:
    with pytest.raises(ValueError, match="is not a device name; use 'auto', 'cpu' or 'cuda'"):
        choose_device(name)


@pytest.mark.parametrize("name", ["meta", "mps"])
def test_a_device_that_computes_nothing_or_not_in_float64(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is not one that computes here"):
        choose_device(name)

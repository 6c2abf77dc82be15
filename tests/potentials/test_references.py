"""References: float64 whatever the network, per head and element; messages."""

import copy

import pytest
import torch

from potentials.references import References


def two_heads() -> References:
    references = References(("gfn2", "emt"))
    references.set_head("gfn2", {"H": -10.5, "O": -2000.25}, scale=2.5, shift=-0.125)
    references.set_head("emt", {"Cu": -0.5, "H": 3.0})
    return references


def test_energies_are_the_formula() -> None:
    """E = scale · ε + shift + E0[head, Z], in numbers that float64 holds exactly."""
    output = torch.tensor([0.5, -1.0, 2.0, 4.0])
    got = two_heads()(output, torch.tensor([1, 8, 29, 1]), torch.tensor([0, 0, 1, 1]))
    assert got.dtype == torch.float64
    assert got.tolist() == [1.25 - 0.125 - 10.5, -2.5 - 0.125 - 2000.25, 2.0 - 0.5, 4.0 + 3.0]


def test_what_a_head_knows() -> None:
    references = two_heads()
    assert references.elements("gfn2") == ("H", "O")
    assert references.elements("emt") == ("H", "Cu")
    assert references.e0("gfn2") == {"H": -10.5, "O": -2000.25}
    assert "gfn2: H O, emt: H Cu" in repr(references)
    references.set_head("gfn2", {"C": 1.0})
    assert references.e0("gfn2") == {"C": 1.0}
    assert references.e0("emt") == {"H": 3.0, "Cu": -0.5}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_a_change_of_dtype_does_not_touch_them(dtype: torch.dtype) -> None:
    references = References(("a",))
    references.set_head("a", {"H": 0.1, "U": -761234.123456789}, scale=1 / 3, shift=1e-9)
    before = copy.deepcopy(references)
    module = torch.nn.ModuleList([references, torch.nn.Linear(2, 2)]).to(dtype)
    assert module[1].weight.dtype == dtype
    for name, buffer in before.named_buffers():
        assert torch.equal(dict(references.named_buffers())[name], buffer)
    assert references.half().e0("a") == {"H": 0.1, "U": -761234.123456789}


def test_they_follow_to_another_device() -> None:
    assert {buffer.device.type for buffer in two_heads().to("meta").buffers()} == {"meta"}


def test_they_are_state_but_nothing_to_train() -> None:
    references = two_heads()
    assert list(references.parameters()) == []
    other = References(("gfn2", "emt"))
    other.load_state_dict(references.state_dict(), strict=True)
    assert other.e0("gfn2") == references.e0("gfn2")
    assert other.elements("emt") == ("H", "Cu")


@pytest.mark.parametrize("symbols", [["Xx"], ["X"], ["H", "carbon"]])
def test_a_symbol_of_no_element_is_refused(symbols: list[str]) -> None:
    with pytest.raises(ValueError, match=f"E0 of head 'gfn2' names {symbols[-1]}, which are no element symbols"):
        two_heads().set_head("gfn2", dict.fromkeys(symbols, 0.0))


@pytest.mark.parametrize(
    ("e0", "scale", "shift"),
    [
        (float("nan"), 1.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, -1.0, 0.0),
        (0.0, float("inf"), 0.0),
        (0.0, float("nan"), 0.0),
        (0.0, 1.0, float("inf")),
    ],
)
def test_references_that_are_no_numbers_are_refused_and_change_nothing(e0: float, scale: float, shift: float) -> None:
    references = two_heads()
    with pytest.raises(ValueError, match=r"references of head 'gfn2' must be finite and its scale positive"):
        references.set_head("gfn2", {"H": e0}, scale=scale, shift=shift)
    assert references.e0("gfn2") == {"H": -10.5, "O": -2000.25}
    assert references.scale_D.tolist() == [2.5, 1.0]

"""What ends a run before its end, and how it is gone on with."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from train import loop as loops
from train.config import RunConfig
from train.group import Group
from train.loop import train, where_it_stands
from train.run import MODEL, STATE, Run
from train.state import load_state
from train.stopping import JOB_END, Asked, JobEnd, TerminatedError, stop_signals

MakeConfig = Callable[..., RunConfig]


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        ([], Asked.NO),
        (["SIGINT"], Asked.INTERRUPTED),
        (["SIGUSR1"], Asked.TERMINATED),
        (["SIGTERM", "SIGTERM", "SIGUSR1"], Asked.TERMINATED),
        (["SIGINT", "SIGTERM"], Asked.TERMINATED),
    ],
)
def test_signals_are_remembered(sent: list[str], asked: Asked) -> None:
    before = [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with stop_signals() as found:
        for name in sent:
            os.kill(os.getpid(), signal.Signals[name])
        assert found() == asked
    assert [signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


class Two(Group):
    """Two processes, of which the other one was asked something."""

    def __init__(self, other: Asked) -> None:
        super().__init__()
        self.other = other

    def sum(self, tensor):
        tensor[1] += float(self.other == 1)
        tensor[2] += float(self.other == 2)
        return tensor


@pytest.mark.parametrize("own", list(Asked))
@pytest.mark.parametrize("other", list(Asked))
def test_all_processes_end_for_the_same_reason(own: Asked, other: Asked) -> None:
    """A termination weighs more: its exit code has the job requeued."""
    assert Two(other).agree(3.5, own) == (3.5, max(own, other))


def test_the_end_of_a_job() -> None:
    now = time.time()
    assert not JobEnd(2.0, {}).near()
    assert not JobEnd(None, {JOB_END: str(int(now) + 1)}).near()
    job = JobEnd(2.0, {JOB_END: str(int(now) + 200)})
    assert not job.near()
    job = JobEnd(2.0, {JOB_END: str(int(now) + 122)})
    time.sleep(2.1)
    assert job.near()


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("soon", "SLURM_JOB_END_TIME is 'soon'; it must be seconds since 1970: unset it, or set it to that"),
        (
            str(int(time.time()) + 60),
            r"the job ends in [01]\.\d minutes .* stop\.job_end_minutes = 2 before: ask for a",
        ),
        ("100", r"the job ends in 0\.0 minutes"),
    ],
)
def test_a_job_that_is_too_short(
    told: str, says: str, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(JOB_END, told)
    with pytest.raises(ValueError, match=says):
        train(make_config())
    assert not make_config().output.exists()


def test_the_job_ends_while_it_trains(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()
    monkeypatch.setenv(JOB_END, str(int(time.time()) + 10_000))
    steps = 0

    def near(self: JobEnd) -> bool:
        nonlocal steps
        steps += 1
        return steps == 5

    monkeypatch.setattr(JobEnd, "near", near)
    result = train(config)
    assert (result.reason, result.checkpoint, result.position.steps) == ("terminated", None, 5)
    assert load_state(config.output / STATE).position.steps == 5


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_termination_before_the_first_step(
    name: str, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While data are read, say: it ends at once, with the exit code of what is to be requeued."""
    real = loops.load_datasets

    def load(*given: object) -> object:
        os.kill(os.getpid(), signal.Signals[name])
        return real(*given)

    monkeypatch.setattr(loops, "load_datasets", load)
    with pytest.raises(
        TerminatedError, match=f"ended by {name} before the first step; .* --continue goes on"
    ) as caught:
        train(make_config())
    assert caught.value.exit_code == 75
    assert not make_config().output.exists()


def test_where_a_run_stands(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for both: a run that is there goes on, one that is not begins."""
    config = make_config()
    assert where_it_stands(config.output) == (False, True)
    config.output.mkdir()
    (config.output / "journal.jsonl").touch()  # killed before its first state, by another version
    assert where_it_stands(config.output) == (False, True)
    monkeypatch.setattr(JobEnd, "near", lambda self: True)
    assert train(config, overwrite=True).reason == "terminated"
    monkeypatch.undo()
    assert where_it_stands(config.output) == (True, False)
    assert train(config, resume=True).reason == "epochs"
    assert where_it_stands(config.output) == (True, False)
    (config.output / STATE).unlink()
    resume, overwrite = where_it_stands(config.output)
    with pytest.raises(ValueError, match="holds a run already"):
        train(config, resume=resume, overwrite=overwrite)
    assert (config.output / MODEL).exists()


def test_the_first_state_is_there_before_the_first_step(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens from there on can be resumed."""
    config = make_config()

    def learn(self: Run, *given: object) -> None:
        assert load_state(config.output / STATE).position.steps == 0
        raise RuntimeError("the first step")

    monkeypatch.setattr(Run, "learn", learn)
    with pytest.raises(RuntimeError, match="the first step"):
        train(config)
    monkeypatch.undo()
    assert train(config, resume=True).reason == "epochs"

"""A calculator in a process of its own, which can be ended when it takes too long, and may end itself.

The two speak by lines of JSON, so that this works in workers of every kind, threads of Dask and ranks of MPI too.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any

from ase import Atoms
from ase.io.jsonio import decode, encode

from md_workflows.labelling.calculators import CalculatorSpec
from md_workflows.labelling.labels import Here, LabelError, Labeller
from md_workflows.screening.records import decode_structure, encode_structure
from md_workflows.structures import one_line

START_S = 300.0
"""Seconds in which a calculator must be there: on a busy file system imports take long."""


class Child(Labeller):
    """Labels from a process that is made anew after each end.

    Args:
        spec: the calculator.
        timeout_s: seconds after which a structure is given up.

    Raises:
        ValueError: the calculator cannot be made.
    """

    def __init__(self, spec: CalculatorSpec, timeout_s: float) -> None:
        self.identity = spec.identity
        self._spec, self._timeout_s = spec, timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._begin()

    def label(self, atoms: Atoms) -> dict[str, Any]:
        """As `labels_of`.

        Raises:
            TimeoutError: it took too long.
            RuntimeError: the calculator ended its process, or said why it has no labels.
        """
        if self._process is None:
            self._begin()
        answer = self._ask(encode_structure(atoms), self._timeout_s)
        if "error" in answer:
            raise LabelError(answer["error"])
        labels: dict[str, Any] = decode(answer["labels"])
        return labels

    def _begin(self) -> None:
        # -P: a file of this folder that is called like a module is not taken for it, as the parent does not take it
        code = "from md_workflows.labelling.child import serve; serve()"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._answers = queue.Queue()
        self._listener = threading.Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True)
        self._listener.start()
        answer = self._ask(json.dumps([self._spec.name, self._spec.settings]), START_S)
        if "error" in answer:
            self._end()
            raise ValueError(answer["error"])

    def _ask(self, line: str, seconds: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            print(line, file=self._process.stdin, flush=True)
            text = self._answers.get(timeout=seconds)
        except queue.Empty:
            self._end()
            raise TimeoutError(f"no labels after {seconds:g} s; give a longer --timeout") from None
        except BrokenPipeError:
            text = ""
        if not text:
            code = self._end(patience_s=10.0)
            raise LabelError(f"the calculator ended its process with exit code {code}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _end(self, patience_s: float = 0.0) -> int:
        """The exit code of the child, which is killed when it has not ended by itself."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            return process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            if process.stdin is not None:
                with suppress(OSError):  # what it did not take any more
                    process.stdin.close()
            self._listener.join()

    def close(self) -> None:
        """End the child; without it, it ends with this process."""
        if self._process is not None:
            self._end()


def _listen(stream: IO[str], answers: queue.Queue[str]) -> None:
    with stream:
        for line in stream:
            answers.put(line)
    answers.put("")


def serve() -> None:
    """What the child does: read a calculator, then structures, answer each with a line, and end with its parent."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a calculator prints is no answer
    tasks: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_watch, args=(tasks,), daemon=True).start()

    def answer(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=answers, flush=True)

    try:
        name, settings = json.loads(tasks.get())
        here = Here(CalculatorSpec(name, tuple(settings)))
    except Exception as error:
        answer({"error": str(error) if isinstance(error, ValueError) else one_line(error)})
        return
    answer({"ready": True})
    while True:
        try:
            answer({"labels": encode(here.label(decode_structure(tasks.get())))})
        except Exception as error:  # whatever a calculator raises is about this structure
            answer({"error": one_line(error)})


def _watch(tasks: queue.Queue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)  # the parent is gone, or wants no more

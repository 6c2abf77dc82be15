"""Where a screening is computed: in this process, or in chunks on the workers of an executor."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import cache
from itertools import islice
from typing import Any, Protocol

from md_workflows.engine import Engine
from md_workflows.screening.stages import Asked, Done, Plan, Task, process
from md_workflows.structures import one_line
from md_workflows.uncertainty import NoUncertaintyError

CHUNK = 32
"""Structures that a worker gets at once, unless told otherwise."""

DEATHS_IN_A_ROW = 10
"""Structures that fail alone, one after another, before the workers themselves are held to be broken."""


class EngineFactory(Protocol):
    """Builds an engine in a worker: a frozen dataclass, say, that can be sent there and hashed."""

    @property
    def identity(self) -> str:
        """The identity of the engine it builds."""

    def __hash__(self) -> int:
        """Equal factories build one engine in a process."""

    def __call__(self) -> Engine:
        """The engine; raises ValueError where it cannot be built."""


class Pool(Protocol):
    """What takes chunks: any `concurrent.futures.Executor`, with the number of chunks it is to hold at once."""

    @property
    def slots(self) -> int:
        """Chunks that are handed out at once; more would only wait in memory."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        """Run the function in a worker."""


class Computer(Protocol):
    """Computes the tasks of a screening."""

    @property
    def identity(self) -> str:
        """That of the engine."""

    def prepare(self, asked: Sequence[Asked]) -> tuple[Asked, ...]:
        """The properties with what all structures need of them."""

    def compute(self, tasks: Iterable[Task], plan: Plan) -> Iterator[list[Done]]:
        """Work on the tasks, taking them as there is room; yields each one's fate exactly once, in any order."""


class EngineNotBuiltError(ValueError):
    """A worker could not build its engine: a matter of all structures, not of one."""


class InProcess:
    """One engine in this process, which draws from the stream as it has room."""

    def __init__(self, engine: Engine, chunk: int = CHUNK) -> None:
        self._engine = engine
        self._chunk = chunk

    @property
    def identity(self) -> str:
        """That of the engine."""
        return self._engine.identity

    def prepare(self, asked: Sequence[Asked]) -> tuple[Asked, ...]:
        """Prepared with the engine itself."""
        return tuple(each.prepared(self._engine) for each in asked)

    def compute(self, tasks: Iterable[Task], plan: Plan) -> Iterator[list[Done]]:
        """Each task by itself, as it is done."""
        for done in process(tasks, plan, self._engine, self._chunk):
            yield [done]


class Spread:
    """Chunks on the workers of a pool, each of which builds its engine once.

    A worker that dies takes its chunk with it: the structures of the chunk are then tried one by one, and the one that
    kills its worker again has failed, with the reason.
    """

    def __init__(self, factory: EngineFactory, pool: Pool, chunk: int = CHUNK) -> None:
        self._factory = factory
        self._pool = pool
        self._chunk = chunk
        self._tried = False

    @property
    def identity(self) -> str:
        """That of the engines."""
        return self._factory.identity

    def prepare(self, asked: Sequence[Asked]) -> tuple[Asked, ...]:
        """Prepared by one worker."""
        if all(each.row.prepare is None for each in asked):
            return tuple(asked)
        self._try()
        prepared: tuple[Asked, ...] = self._pool.submit(prepare_asked, self._factory, tuple(asked)).result()
        return prepared

    def _try(self) -> None:
        """Let one worker build its engine before any structure could be blamed for what hinders that."""
        if self._tried:
            return
        error = self._pool.submit(prepare_asked, self._factory, ()).exception()
        if isinstance(error, EngineNotBuiltError) or (error is not None and not isinstance(error, Exception)):
            raise error
        if error is not None:
            raise EngineNotBuiltError(f"a worker fails before it has any structure: {one_line(error)}") from error
        self._tried = True

    def compute(self, tasks: Iterable[Task], plan: Plan) -> Iterator[list[Done]]:
        """Chunk by chunk, never more than the pool's slots at once."""
        self._try()
        source = iter(tasks)
        alone: deque[Task] = deque()
        flying: dict[Future[list[Done]], tuple[list[Task], bool]] = {}
        deaths = 0
        try:
            while True:
                while len(flying) < self._pool.slots and (chunk := self._next(alone, source))[0]:
                    flying[self._pool.submit(compute_chunk, self._factory, plan, chunk[0])] = chunk
                if not flying:
                    return
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    tasks_of_it, again = flying.pop(future)
                    found = _result(future)
                    if isinstance(found, list):
                        deaths = 0
                        yield found
                    elif not again:
                        alone.extend(tasks_of_it)
                    else:
                        deaths += 1
                        _check_deaths(deaths, found)
                        yield [Done(tasks_of_it[0].number, error=f"its worker failed: {found}")]
        finally:
            for future in flying:
                future.cancel()

    def _next(self, alone: deque[Task], source: Iterator[Task]) -> tuple[list[Task], bool]:
        """The next chunk, and whether it is a structure that is tried again, alone."""
        return ([alone.popleft()], True) if alone else (list(islice(source, self._chunk)), False)


def _result(future: Future[list[Done]]) -> list[Done] | str:
    """What a chunk became, or in one line what ended it."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, EngineNotBuiltError | NoUncertaintyError) or not isinstance(error, Exception):
        raise error
    return one_line(error)


def _check_deaths(deaths: int, reason: str) -> None:
    if deaths >= DEATHS_IN_A_ROW:
        raise RuntimeError(
            f"{deaths} structures in a row ended their workers, each alone; the last reason: {reason}. All that was "
            "done before is in the table; see to the workers (memory, GPU, software) and give the same command again."
        )


@cache
def built(factory: EngineFactory) -> Engine:
    """The engine of this process, built at the first chunk and kept for all others.

    Raises:
        EngineNotBuiltError: with the reason, so that it is not taken for a fault of the structures.
    """
    try:
        return factory()
    except Exception as error:
        raise EngineNotBuiltError(str(error) if isinstance(error, ValueError) else one_line(error)) from error


def compute_chunk(factory: EngineFactory, plan: Plan, chunk: list[Task]) -> list[Done]:
    """What a worker does with a chunk."""
    return list(process(chunk, plan, built(factory), len(chunk)))


def prepare_asked(factory: EngineFactory, asked: tuple[Asked, ...]) -> tuple[Asked, ...]:
    """What a worker does once for all structures."""
    engine = built(factory)
    return tuple(each.prepared(engine) for each in asked)

"""Commands as a user gives them, in this process."""

from collections.abc import Callable

import typer
from typer.testing import CliRunner


def runner(app: typer.Typer) -> Callable[..., str]:
    """What gives words to a command line and returns what it tells; what it raises comes through."""

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run

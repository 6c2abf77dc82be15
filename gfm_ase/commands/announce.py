"""What commands say at their end."""

from rich.console import Console


def announce(console: Console, *lines: str) -> None:
    """Print lines as they are: paths keep their brackets and are not broken."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

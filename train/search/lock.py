"""The lock of a study, on network file systems too: whoever holds it shows that it lives."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROKEN_SECONDS = 30
"""After which the lock of a process that has died in it is broken."""

TOUCH_SECONDS = 3.0


def lock_of(path: Path) -> Any:
    """A lock for what is short; `acquire` and `release` it."""
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(str(path), grace_period=BROKEN_SECONDS)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else is in here, however long it takes: the file of the lock is touched, and others wait.

    A process that was halted for so long that its lock was broken leaves that of the next one alone.

    Args:
        path: of the lock, without its suffix.
    """
    lock = lock_of(path)
    lock.acquire()
    file = Path(lock._lock_file)  # there is no other way to its name
    own, over = _inode(file), threading.Event()

    def touch() -> None:
        while not over.wait(TOUCH_SECONDS):
            if _inode(file) == own:
                with contextlib.suppress(OSError):
                    os.utime(file)

    thread = threading.Thread(target=touch, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if _inode(file) == own:
            lock.release()


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except OSError:
        return None

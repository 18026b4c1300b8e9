"""The paper exchange's journal as a file: appended to, handed to the operating system before anybody is told.

It survives a kill of the process, not a power loss: play money is not worth an fsync per order. A line that could not
be written whole is cut off again, so that a full disk never leaves damage in the middle of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from actors.errors import StoreError

NAME = "journal.jsonl"


class Journal(Protocol):
    """Where the exchange's memory goes."""

    @property
    def size(self) -> int:
        """Bytes it holds."""
        ...

    def lines(self) -> Iterator[bytes]:
        """What is there, oldest first; the last line may lack its end."""
        ...

    def append(self, data: bytes) -> None:
        """Whole lines; kept when this returns.

        Raises: StoreError, none of data is in the journal yet; it is owed, and goes first with the next append.
        """
        ...

    def replace(self, data: bytes) -> None:
        """Whole lines that stand for everything before; atomic. Raises: StoreError, the old ones stand."""
        ...


class MemoryJournal:
    """A journal that outlives the exchange but not the process: simulation and tests."""

    def __init__(self) -> None:
        self.data = b""

    @property
    def size(self) -> int:
        return len(self.data)

    def lines(self) -> Iterator[bytes]:
        return iter(self.data.splitlines(keepends=True))

    def append(self, data: bytes) -> None:
        self.data += data

    def replace(self, data: bytes) -> None:
        self.data = data


class FileJournal:
    """journal.jsonl in a directory of its own (`paper/` of the state directory), which is made if it is missing."""

    def __init__(self, directory: Path) -> None:
        """Raises: StoreError, the directory cannot be used."""
        self._path = directory / NAME
        with _failing(self._path):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._open()
            self.size = os.fstat(self._file).st_size
        self._owed = b""

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def lines(self) -> Iterator[bytes]:
        """Also cuts off a torn last line, so that what is appended next stands on a line of its own."""
        with _failing(self._path):
            data = self._path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.ftruncate(self._file, whole)
            self.size = whole
        return iter(data[:whole].splitlines(keepends=True))

    def append(self, data: bytes) -> None:
        self._owed += data
        with _failing(self._path):
            written = 0
            try:
                while written < len(self._owed):
                    written += os.write(self._file, self._owed[written:])
            except OSError:
                os.ftruncate(self._file, self.size)
                raise
        self.size += written
        self._owed = b""

    def replace(self, data: bytes) -> None:
        fresh = self._path.with_suffix(".new")
        with _failing(self._path):
            fresh.write_bytes(data)
            fresh.chmod(0o600)
            fresh.replace(self._path)
            os.close(self._file)
            self._file = self._open()
        self.size, self._owed = len(data), b""

    def close(self) -> None:
        """Again is harmless."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into ours."""
    try:
        yield
    except OSError as error:
        what = f"paper journal: {error.strerror or error}"
        raise StoreError(what, where=str(path), do="make the directory writable, or free some space") from error

"""One process per directory: an advisory lock on a file that holds the owner's pid, gone with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from actors.errors import StoreError


class DirectoryLock:
    """The lock file `path` of the directory `root`. Taking it again is harmless."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path, self._root = path, root
        self._file: int | None = None

    def take(self) -> None:
        """Raises: StoreError, another process holds it; OSError, the directory is missing or not writable."""
        if self._file is not None:
            return
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(file, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            raise StoreError(
                f"another otod (pid {pid}) uses this state directory",
                where=str(self._root),
                do="stop it or use another --state-dir",
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

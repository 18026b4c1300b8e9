"""Small files that others read while we write them anew: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import trio

LIMITER_TOKENS = 1  # a file system that hangs costs one thread


class AtomicFile:
    """One file, replaced by renaming; its directory must be there and writable. Blocking calls go to a thread."""

    def __init__(self, path: Path, *, mode: int = 0o644) -> None:
        self.path, self._mode = path, mode
        self._beside = path.with_name(f".{path.name}.new")
        self._limiter = trio.CapacityLimiter(LIMITER_TOKENS)

    async def write(self, text: str) -> None:
        """Not durable: what is lost with the power is written again anyway. Raises: OSError; the file is as before."""
        await trio.to_thread.run_sync(self._write, text.encode(), limiter=self._limiter)

    def _write(self, data: bytes) -> None:
        with self._beside.open("wb") as file:
            os.fchmod(file.fileno(), self._mode)  # whatever the umask: node_exporter is another user
            file.write(data)
        self._beside.replace(self.path)

"""What the daemon logs in the virtual world: kept whole, and hashed as a witness of the history."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any

import trio
from msgspec import Struct


class Line(Struct, frozen=True):
    at_s: float
    level: str
    event: str
    values: dict[str, Any]

    def __str__(self) -> str:
        said = " ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{self.at_s:10.3f} {self.level:7} {self.event} {said}"


class Record:
    """All lines of a run, of every life of the daemon. lines: the newest, up to `keep`."""

    def __init__(self, keep: int = 200_000) -> None:
        self.lines: deque[Line] = deque(maxlen=keep)
        self.count = 0
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, level: str, event: str, values: dict[str, Any]) -> None:
        line = Line(trio.current_time(), level, event, values)
        self.count += 1
        self.lines.append(line)
        self._hash.update(f"{line}\n".encode())

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def about(self, user: str | None, last: int = 40) -> list[Line]:
        """The newest lines that concern a user; None: all."""
        found = [line for line in self.lines if line.event != "permit_blocked" and (user or "") in str(line)]
        return found[-last:]


class SimLog:
    """ports.Log into a record."""

    def __init__(self, record: Record, **bound: Any) -> None:
        self._record, self._bound = record, bound

    def bind(self, **new_values: Any) -> SimLog:
        return SimLog(self._record, **(self._bound | new_values))

    def debug(self, event: str, **kw: Any) -> None:
        self._record.add("debug", event, self._bound | kw)

    def info(self, event: str, **kw: Any) -> None:
        self._record.add("info", event, self._bound | kw)

    def warning(self, event: str, **kw: Any) -> None:
        self._record.add("warning", event, self._bound | kw)

    def error(self, event: str, **kw: Any) -> None:
        self._record.add("error", event, self._bound | kw)

    def exception(self, event: str, **kw: Any) -> None:
        self._record.add("error", event, self._bound | kw)

"""What the exchange has yet to do of its own accord, by time; ties in the order in which they were entered."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[int], None]
"""Called with the ms at which it was due. It looks itself whether it is still wanted."""


class Timetable:
    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Action]] = []
        self._count = 0

    def at(self, due_ms: int, action: Action) -> None:
        self._count += 1
        heapq.heappush(self._heap, (due_ms, self._count, action))

    def due_ms(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[int, Action]:
        due_ms, _, action = heapq.heappop(self._heap)
        return due_ms, action

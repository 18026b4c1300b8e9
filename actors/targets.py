"""What waits for one target of the notifier, and how it stands with it."""

from __future__ import annotations

from collections import deque
from typing import Final

import trio
from msgspec import Struct

from actors.notices import Notice, Target

QUEUE_MAX: Final = 2_000  # notices that wait for one target: 1,000 users, paused and resumed


class TargetStatistics(Struct, frozen=True, kw_only=True):
    """Of one incarnation. told, dropped: notices. failing_since_ms: since when nothing gets through; error: why."""

    target: str
    waiting: int
    told: int
    messages: int
    failures: int
    dropped: int
    failing_since_ms: int | None
    error: str


class NotifierStatistics(Struct, frozen=True, kw_only=True):
    """left_out: repetitions of what is not important."""

    targets: tuple[TargetStatistics, ...] = ()
    left_out: int = 0


class Line:
    """The queue of one target. spilled: important notices did not fit; they are owed in their rows."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.waiting: deque[Notice] = deque()
        self.more = trio.Event()
        self.spilled = False
        self.lost = 0  # unimportant ones that did not fit, since it was said
        self.dropped = self.told = self.messages = self.failures = self.in_a_row = 0
        self.failing_since_ms: int | None = None
        self.error = ""
        self.sending = False

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def idle(self) -> bool:
        """Nothing waits that has a chance to get through."""
        return not self.sending and (not self.waiting or self.in_a_row > 0)

    def put(self, notice: Notice) -> None:
        """The oldest gives way where there is no room."""
        if len(self.waiting) >= QUEUE_MAX:
            self.dropped += 1
            if self.waiting.popleft().repeats is None:
                self.spilled = True
            else:
                self.lost += 1
        self.waiting.append(notice)
        self.more.set()

    def take(self, most: int) -> list[Notice]:
        return [self.waiting.popleft() for _ in range(min(len(self.waiting), most))]

    def put_back(self, batch: list[Notice], lost: int) -> None:
        self.waiting.extendleft(reversed(batch))
        self.lost += lost

    def statistics(self) -> TargetStatistics:
        return TargetStatistics(
            target=self.name,
            waiting=len(self.waiting),
            told=self.told,
            messages=self.messages,
            failures=self.failures,
            dropped=self.dropped,
            failing_since_ms=self.failing_since_ms,
            error=self.error,
        )

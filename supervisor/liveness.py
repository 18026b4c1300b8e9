"""A loop that is blocked by synchronous code is noticed, with the name of the task that did it.

That an actor which only waits makes no progress is noticed elsewhere: by its keeper, from the signs of life of its
mailbox (ChildSpec.progress_s_max). Here nothing waits: the code computes, or calls something that blocks, and nobody
else runs. While it lasts nobody inside the process can say so; a loop that never comes back is the service watchdog's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
from msgspec import Struct

from actors.ports import Events, Log
from supervisor.life import awaits_at

BLOCKED_S_MAX = 0.1
"""Longest step of one task. Our own longest legitimate one is a garbage collection of tens of milliseconds; the budget
from quote to request is 10 ms at p99 (design § 11), so a step of 100 ms has already cost somebody a price."""


TELL_S = 1.0
"""At most one line so often: where everything is slow the log must not make it slower. All are counted."""


class Blocked(Struct, frozen=True, kw_only=True):
    """child: path and incarnation, "traders/alice#3"; "" if nobody's. at: the await point the task reached then."""

    child: str
    task: str
    took_s: float
    at: str


class LoopStatistics(Struct, frozen=True):
    """blocked: steps of blocked_s_max and more. longest_s, longest_child: the longest step so far, and whose it was."""

    blocked: int
    longest_s: float
    longest_child: str


class LoopWatch(trio.abc.Instrument):
    """A trio instrument: pass it to trio.run(instruments=[...]).

    now: a real clock, even where trio's is virtual: steps take no virtual time. tell: called after the step that
    blocked; it must neither raise nor block.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        tell: Callable[[Blocked], None],
        blocked_s_max: float = BLOCKED_S_MAX,
    ) -> None:
        self._now = now
        self._tell = tell
        self._blocked_s_max = blocked_s_max
        self._began_s = now()  # of the step that puts it in place, whose beginning it does not see
        self._blocked = 0
        self._longest_s = 0.0
        self._longest_child = ""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_s = self._now()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took_s = self._now() - self._began_s
        if took_s <= self._longest_s and took_s < self._blocked_s_max:
            return
        child = owner_of(task)
        if took_s > self._longest_s:
            self._longest_s, self._longest_child = took_s, child
        if took_s >= self._blocked_s_max:
            self._blocked += 1
            self._tell(Blocked(child=child, task=task.name, took_s=took_s, at=awaits_at(task)))

    def statistics(self) -> LoopStatistics:
        return LoopStatistics(self._blocked, self._longest_s, self._longest_child)


@contextmanager
def watched(log: Log, events: Events, *, now: Callable[[], float]) -> Iterator[LoopWatch]:
    """Watches the loop it is called in: a line and an event "loop_blocked" that name the task. now: as LoopWatch."""
    told_s = -TELL_S + now()

    def tell(it: Blocked) -> None:
        nonlocal told_s
        if (now_s := now()) - told_s < TELL_S:
            return
        told_s = now_s
        seen = {"child": it.child, "task": it.task, "took_ms": round(it.took_s * 1000), "place": it.at}
        log.warning("loop_blocked", **seen, times=watch.statistics().blocked)
        events.emit("system", "loop_blocked", **seen)

    watch = LoopWatch(now=now, tell=tell)
    trio.lowlevel.add_instrument(watch)
    try:
        yield watch
    finally:
        trio.lowlevel.remove_instrument(watch)


def owner_of(task: trio.lowlevel.Task) -> str:
    """The incarnation that a task belongs to: its own name, or that of the nearest task above that is one."""
    above: trio.lowlevel.Task | None = task
    while above is not None:
        if "#" in above.name:
            return above.name
        nursery = above.parent_nursery
        above = None if nursery is None else nursery.parent_task
    return ""

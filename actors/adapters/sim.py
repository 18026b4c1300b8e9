"""The virtual world: a clock that leaps, a seeded scheduler, a wall. One seed is one history.

`play(main, seed)` runs an async function in it. Nothing in there may touch a socket, a file that somebody else writes,
or a thread: the clock would leap while they work (reliability § 2.3). Bytes come from sim_net.py, durable rows from
sim_store.py.

trio's scheduler shuffles the tasks that can run; it does so repeatably once two private names are set (held by
tests/pins). Garbage collection may close generators, and with them wake tasks, at moments that depend on the process's
past; so it is off while a world runs and happens at fixed steps instead.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TypeVar

import trio
import trio.testing
from trio._core import _run

T = TypeVar("T")

COLLECT_LEAPS = 10_000
"""Leaps of the clock between two garbage collections: a second or two of computing, some MB of cycles."""


HASH_STEPS = 1_000
"""Steps are hashed so many at a time: one call instead of a thousand."""


class Witness(trio.abc.Instrument):
    """Sees every step of every task: two runs with equal digests did the same things at the same virtual times."""

    def __init__(self) -> None:
        self.steps = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._clock: trio.abc.Clock | None = None
        self._lines: list[str] = []
        self._at_s = -1.0

    def watch(self, clock: trio.abc.Clock) -> None:
        self._clock = clock

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        assert self._clock is not None, "watch() comes first"
        self.steps += 1
        now_s = self._clock.current_time()
        if now_s != self._at_s:
            self._at_s = now_s
            self._lines.append(repr(now_s))
        self._lines.append(task.name)
        if self.steps % HASH_STEPS == 0:
            self._flush()

    @property
    def digest(self) -> str:
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        self._hash.update("\n".join((*self._lines, "")).encode())
        self._lines.clear()


class SimWall:
    """ports.Wall of one machine in the virtual world: an epoch plus virtual time, and a clock that somebody sets."""

    def __init__(self, epoch_ms: int) -> None:
        """epoch_ms: what it shows at virtual time 0."""
        self._epoch_ms = epoch_ms
        self.ahead_ms = 0  # of true time; steps when it is set

    def now_ms(self) -> int:
        return self._epoch_ms + self.ahead_ms + round(trio.current_time() * 1000)


def leaping_clock() -> trio.testing.MockClock:
    """A virtual clock that only leaps, as soon as nothing can run, and need not ask the real one a million times a run
    how long nothing took. trio asks it how long to sleep just when nothing can run: leaping there, instead of in
    autojump, spares each leap a pass of the loop."""
    clock = trio.testing.MockClock()
    leaps = 0

    def leap(deadline: float) -> float:
        nonlocal leaps
        if clock._virtual_base < deadline < inf:
            clock._virtual_base += deadline - clock._virtual_base
            leaps += 1
            if leaps % COLLECT_LEAPS == 0:
                gc.collect()
        return 0

    clock.current_time = lambda: clock._virtual_base  # type: ignore[method-assign] # the class is final
    clock.deadline_to_sleep_time = leap  # type: ignore[method-assign]
    return clock


def play(main: Callable[[], Awaitable[T]], *, seed: int, witness: Witness | None = None) -> T:
    """Runs main() under a virtual clock that starts at 0, with the scheduler of this seed. Raises what main raises.

    witness: sees every step, at a twentieth of the time that a run takes.
    """
    clock = leaping_clock()
    result: list[T] = []

    async def body() -> None:
        result.append(await main())

    if witness is not None:
        witness.watch(clock)
    with seeded(seed), no_collections():
        trio.run(body, clock=clock, instruments=[] if witness is None else [witness])
    return result[0]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Meanwhile trio's scheduler is a function of the seed; then it is as before."""
    flag, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc] # final for everybody but tests and this
    _run._r.seed(seed)
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = flag  # type: ignore[misc]
        _run._r.setstate(state)


@contextmanager
def no_collections() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

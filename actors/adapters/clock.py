"""Two clocks made real: trio's own at any rate (`otod paper --speed`), and the wall as an epoch plus trio's time.

Intervals and deadlines are trio time, dates are wall time. The wall is not read from the system each time: it is an
anchor (wall ms at a moment of trio time) plus the trio time gone since. So one clock moves everything, a virtual clock
needs no second one, and a step of the system clock (NTP, an operator, a suspended machine) reaches the daemon at one
place only: `check` sees a difference of more than a second, sets a new anchor and tells how far it stepped.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from actors.ports import Events, Log

STEP_MS_MIN = 1000  # design § 7: smaller differences are slewing, which the next anchor takes along
CHECK_S = 1.0  # one comparison a second: a step is noticed before any deadline that matters


def system_now_ms() -> int:
    """The operating system's wall clock, ms since 1970 UTC."""
    return time.time_ns() // 1_000_000  # sim-ok: the one place that reads the system's wall clock


def monotonic_s() -> float:
    """The real monotonic clock, whatever trio's says: what it costs to compute is not scaled by --speed."""
    return time.perf_counter()  # sim-ok: the edge


class SpeedClock(trio.abc.Clock):
    """trio's clock at `rate` times the real monotonic one: every sleep and deadline of the process scales with it.

    Real sockets keep working, they are only slower in the scaled time. Starts at 0 when the run starts.
    """

    def __init__(self, rate: float, *, monotonic: Callable[[], float] = time.perf_counter) -> None:  # sim-ok: the clock
        """rate: virtual seconds per real second, > 0. monotonic: seconds of the real clock; tests hand in their own."""
        assert rate > 0, rate
        self.rate = rate
        self._monotonic = monotonic
        self._started_s = monotonic()

    def start_clock(self) -> None:
        self._started_s = self._monotonic()

    def current_time(self) -> float:
        return (self._monotonic() - self._started_s) * self.rate

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return (deadline - self.current_time()) / self.rate


class WallClock:
    """ports.Wall: an epoch plus trio's time. Make it inside the trio run whose time it shows."""

    def __init__(self, now_ms: int, *, follows_system: bool) -> None:
        """now_ms: the wall time of this moment. follows_system: `check` may set a new anchor."""
        self.follows_system = follows_system
        self._anchor_ms = now_ms
        self._anchor_s = trio.current_time()

    @classmethod
    def real(cls, *, system_ms: Callable[[], int] = system_now_ms) -> WallClock:
        """The system's wall clock, followed through its steps. Needs `watch`."""
        return cls(system_ms(), follows_system=True)

    @classmethod
    def speed(cls, not_before_ms: int, *, system_ms: Callable[[], int] = system_now_ms) -> WallClock:
        """Under a SpeedClock: starts at the later of now and the last recorded time (design § 8), never re-anchored.

        A scaled wall runs ahead of the system's; a second run on the same records must not go back behind the first.
        """
        return cls(max(system_ms(), not_before_ms), follows_system=False)

    @classmethod
    def virtual(cls, epoch_ms: int) -> WallClock:
        """A wall that shows epoch_ms now and moves with trio's (virtual) clock alone."""
        return cls(epoch_ms, follows_system=False)

    def now_ms(self) -> int:
        return self._anchor_ms + round((trio.current_time() - self._anchor_s) * 1000)

    def check(self, system_ms: int) -> int | None:
        """Compares with the system clock; beyond a second's difference that one is right from now on.

        Returns: the step in ms (positive: the wall jumped ahead), None if there was none or this wall follows nobody.
        """
        step_ms = system_ms - self.now_ms()
        if not self.follows_system or abs(step_ms) <= STEP_MS_MIN:
            return None
        self._anchor_ms, self._anchor_s = system_ms, trio.current_time()
        return step_ms


async def watch(wall: WallClock, events: Events, log: Log, *, system_ms: Callable[[], int] = system_now_ms) -> None:
    """Follows the system's steps for ever, telling each; returns at once for a wall that follows nobody (--speed).

    Emits `clock_stepped` on topic "system": step_ms, now_ms.
    """
    await trio.lowlevel.checkpoint()
    while wall.follows_system:
        await trio.sleep(CHECK_S)
        step_ms = wall.check(system_ms())
        if step_ms is not None:
            log.warning("clock_stepped", step_ms=step_ms)
            events.emit("system", "clock_stepped", step_ms=step_ms, now_ms=wall.now_ms())

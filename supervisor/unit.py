"""This daemon as a unit of systemd: it says when it is ready, that it moves, how it stands, and that it stops.

    starting ── EXTEND_TIMEOUT_USEC, STATUS ──▶ READY=1 ── WATCHDOG=1, STATUS ──▶ STOPPING=1

Where nobody listens (`otod run` in a terminal) all the same is done and logged. The watchdog is fed by this task alone,
each time after it has looked whether everybody moves (pulse.py): a loop that is blocked feeds nobody, and neither does
one in which a class of actors has come to a standstill. Then systemd ends the process with SIGABRT and starts the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Protocol

import trio

from actors.messages import TraderSnapshot, UserRecord
from actors.ports import Log
from supervisor.lifecycle import Sign
from supervisor.pulse import Pulse
from supervisor.readiness import PairRate, Standing, given_up, standing, starting
from supervisor.systemd import Notifier, extend, status

FEED_S_MAX = 10.0
"""Between two looks; a third of the watchdog's time where that is less, so that one lost message costs nothing."""

START_LOOK_S = 0.25
"""While starting: READY=1 comes within so long after it is true."""

EXTEND_S, EXTEND_EVERY_S = 30.0, 5.0
"""Asked for again and again as long as the daemon is found moving: a start may take as long as it gets on."""

START_S_MAX = 300.0
"""A start that moves, but not all users of which come to rest, is told as ready after so long: it trades for others,
and a restart would begin the same wait anew."""

TOLD_S = 300.0
"""Between two lines in the log about how things stand."""


class Seen(Protocol):
    """What is looked at; the wiring is one."""

    def signs(self) -> list[Sign]: ...

    def snapshots(self) -> tuple[TraderSnapshot, ...]: ...

    def records(self) -> Mapping[str, UserRecord]: ...

    @property
    def committing_since_s(self) -> float | None: ...


class Unit:
    """One life of the process. It is the task_status of the daemon's run()."""

    def __init__(self, notifier: Notifier, daemon: Seen, log: Log, *, pulse: Pulse | None = None) -> None:
        self._notifier, self._daemon, self._log = notifier, daemon, log
        self._pulse = pulse or Pulse()
        self._rate = PairRate()
        self._silent: tuple[str, ...] = ()
        self._shown = ""
        self._note = ""
        self._up = False
        self.ready = trio.Event()

    def started(self, value: None = None) -> None:
        """All users are known, and their traders are starting."""
        self._up = True

    async def run(self) -> None:
        """Never returns."""
        await self._start()
        look_s = FEED_S_MAX
        if self._notifier.watchdog_s is not None:
            look_s = min(look_s, self._notifier.watchdog_s / 3)
        told_s = trio.current_time()
        while True:
            stands = self._standing()
            rate = self._rate.look(self._daemon.snapshots(), trio.current_time())
            if self._moves():
                self._notifier.tell("WATCHDOG=1")
            self._show(f"{stands.words()}; {rate} pairs/min")
            if trio.current_time() - told_s >= TOLD_S:
                told_s = trio.current_time()
                self._log.info("standing", pairs_per_min=rate, users=stands)
            await trio.sleep(look_s)

    async def _start(self) -> None:
        began_s = trio.current_time()
        extended_s = -inf
        while True:
            now_s, moves, stands = trio.current_time(), self._moves(), self._standing()
            over = self._up and (stands.ready or now_s - began_s > START_S_MAX)
            if over and self._notifier.tell("READY=1"):
                break
            due = moves and now_s - extended_s >= EXTEND_EVERY_S
            if due:
                extended_s = now_s
            self._show(starting(self._daemon.signs(), stands), *([extend(EXTEND_S)] if due else []))
            await trio.sleep(START_LOOK_S)
        self.ready.set()
        self._log.info("service_ready", took_s=round(trio.current_time() - began_s, 3), users=stands)

    def stopping(self, why: str, within_s: float) -> None:
        """Says so once, and asks for the time that it may take."""
        self._notifier.tell("STOPPING=1", status(f"stopping: {why}"), extend(within_s))
        self._note = f"stopping: {why}; "

    def reloading(self) -> None:
        """Before it is ready nobody is told of a reload: READY=1, which ends one, would end the start."""
        if self.ready.is_set():
            self._notifier.reloading()

    def reloaded(self, note: str = "") -> None:
        """note: shown until the next reload; what went wrong."""
        self._note = f"{note}; " if note else ""
        if self.ready.is_set():
            self._notifier.tell("READY=1", status(f"{self._note}{self._shown}"))

    def _standing(self) -> Standing:
        daemon = self._daemon
        return standing(daemon.records(), daemon.snapshots(), given_up(daemon.signs()))

    def _moves(self) -> bool:
        """Said in the log when it changes: the process may not live to say more."""
        silent = self._pulse.look(
            self._daemon.signs(),
            committing_since_s=self._daemon.committing_since_s,
            now_s=trio.current_time(),
        )
        if silent != self._silent:
            self._silent = silent
            if silent:
                self._log.error("watchdog_not_fed", silent=silent)
            else:
                self._log.info("watchdog_fed_again")
        return not silent

    def _show(self, text: str, *lines: str) -> None:
        if self._silent:
            text = f"no sign of life: {', '.join(self._silent)}; {text}"
        new = status(f"{self._note}{text}")
        if lines or text != self._shown:
            self._notifier.tell(new, *lines)
        self._shown = text

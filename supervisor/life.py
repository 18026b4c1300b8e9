"""One incarnation: one cancel scope, how far it came, how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import trio

from actors.errors import NotNeeded, StartFailed
from supervisor.lifecycle import line_of
from supervisor.policy import Ended

MACHINERY = (
    "supervisor/life.py",
    "supervisor/mailbox.py",
    "supervisor/child.py",
    "supervisor/leaf.py",
    "supervisor/groups.py",
)
"""Files whose lines say nothing about where an actor waits."""


class Life:
    """One incarnation of a child; also the task_status that its actor gets.

    An incarnation dies of any Exception, also of one inside an exception group: one death, all leaves kept. Cancelled
    is no death, whoever cancelled. KeyboardInterrupt, SystemExit and the like are not about this child: `fatal`.
    """

    def __init__(self, poke: Callable[[], None]) -> None:
        self.scope = trio.CancelScope()
        self.ready_s: float | None = None
        self.ended_s: float | None = None
        self.killed = False
        self.by_us = False  # brought down on request, so its end is no news
        self.errors: tuple[Exception, ...] = ()
        self.fatal: BaseException | None = None
        self.task: trio.lowlevel.Task | None = None
        self.sentenced_at = ""  # the line it waited at then
        self._sentence: Exception | None = None
        self._poke = poke

    @property
    def ready(self) -> bool:
        return self.ready_s is not None

    @property
    def running(self) -> bool:
        """It lives, and nobody has told it to end."""
        return not self.ended and not self.killed and not self.by_us

    @property
    def ended(self) -> bool:
        return self.ended_s is not None

    @property
    def up_s(self) -> float:
        """How long it was ready."""
        end_s = self.ended_s if self.ended_s is not None else trio.current_time()
        return 0.0 if self.ready_s is None else end_s - self.ready_s

    def started(self, value: Any = None) -> None:
        """The actor is ready (ports.Started). value: for callers that treat it as trio's task_status; not used.

        Too late once it was told to end: who has missed its start deadline does not make up for it while it goes.
        """
        assert not self.ready, "started() was called twice"
        if self.running:
            self.ready_s = trio.current_time()
            self._poke()

    def sentence(self, error: Exception) -> None:
        """It is to die of this error: at its next await point, once its scope is cancelled."""
        if self._sentence is None and not self.ended:
            self._sentence = error
            self.sentenced_at = awaits_at(self.task) if self.task is not None else ""
            self.killed = True
            self._poke()

    async def run(self, act: Callable[[], Awaitable[None]]) -> None:
        """Lives it. Never raises."""
        self.task = trio.lowlevel.current_task()
        try:
            with self.scope:
                await act()
        except BaseException as error:  # noqa: BLE001 - sorted, none swallowed: the keeper of this child acts on it
            self._sort(error)
        if self._sentence is not None:
            self.errors = (self._sentence, *self.errors)
        elif not self.ready and not self.errors and not self.scope.cancel_called and not self.by_us:
            self.errors = (StartFailed("it returned before it was ready", do="call task_status.started()"),)
        self.ended_s = trio.current_time()
        self.task = None
        self._poke()

    def ending(self) -> Ended | Literal["declined"]:
        assert self.ended, "it still lives"
        if not self.errors:
            return "returned"
        if self.ready:
            return "crashed"
        return "declined" if all(isinstance(error, NotNeeded) for error in self.errors) else "failed"

    def _sort(self, error: BaseException) -> None:
        found = leaves(error)
        self.errors = tuple(leaf for leaf in found if isinstance(leaf, Exception))
        others = [leaf for leaf in found if not isinstance(leaf, Exception | trio.Cancelled)]
        self.fatal = others[0] if others else None


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions that an exception group, at any depth, is made of; itself if it is none."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]


def awaits_at(task: trio.lowlevel.Task) -> str:
    """Where a task waits: the innermost line that is neither a library's nor the supervisor's; "" if there is none."""
    at = ""
    for frame, line in task.iter_await_frames():
        filename = frame.f_code.co_filename
        if "site-packages" not in filename and not filename.endswith(MACHINERY):
            at = line_of(filename, line, frame.f_code.co_name)
    return at

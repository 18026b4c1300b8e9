"""What the tree tells of its children: what happened (pushed to subscribers) and how things stand (a snapshot).

Both are plain data, so that control, the log and tests see the same.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import PurePath
from typing import Literal, TypeAlias

from msgspec import Struct

from actors.ports import Events, Log
from supervisor.mailbox import MailboxStatistics

State = Literal["starting", "running", "delaying", "parked", "stopping", "stopped", "stuck"]
"""Contract § 4. delaying: waits for its restart. parked: gave up, an operator starts it again."""

What = Literal["started", "ready", "declined", "crashed", "restarting", "parked", "stopped", "stuck", "removed"]
"""restarting: the next incarnation comes after delay_s. stuck: cancelled and still there."""


WHOSE: ContextVar[tuple[str, int] | None] = ContextVar("otod_whose", default=None)
"""Path and incarnation of the actor that a task belongs to, its worker threads included; None: of nobody. Each line of
the log says it, whoever writes it."""


class Happened(Struct, frozen=True, kw_only=True):
    """errors: what an incarnation died of, every leaf of an exception group. in_hand: messages it held then."""

    what: What
    path: str
    incarnation: int
    at_ms: int
    errors: tuple[BaseException, ...] = ()
    in_hand: int = 0
    delay_s: float | None = None
    why: str = ""


Subscriber: TypeAlias = Callable[[Happened], None]
"""Called at once and in order, from the task in which it happened. It must neither wait nor raise."""


class Crash(Struct, frozen=True):
    """Text only: an exception kept would keep its frames, and all they hold, alive."""

    at_ms: int
    type: str
    message: str
    place: str


class Sign(Struct, frozen=True):
    """Whether an actor lives, for the service watchdog. beats: one more with every sign of life.

    waits: for messages, or for the supervisor, who has a deadline for each state but `stuck`.
    """

    path: str
    incarnation: int
    beats: int
    waits: bool
    state: State = "running"


class Node(Struct, frozen=True, kw_only=True):
    """One place in the tree as it stands now. restarts: deaths within the window of its budget."""

    path: str
    kind: Literal["actor", "group", "family"]
    state: State
    incarnation: int
    restarts: int
    uptime_s: float | None  # since it was ready; None while it is not
    mailbox: MailboxStatistics | None
    last_crash: Crash | None
    waiting_for: str | None
    children: tuple[Node, ...] = ()


def place_of(error: BaseException) -> str:
    """Where it was raised: the innermost line that is not a library's, "actors/trader.py:120 run"."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    ours = [frame for frame in frames if "site-packages" not in frame.filename]
    frame = (ours or frames)[-1]
    return line_of(frame.filename, frame.lineno or 0, frame.name)


def line_of(filename: str, line: int, function: str) -> str:
    return f"{'/'.join(PurePath(filename).parts[-2:])}:{line} {function}"


def reporter(log: Log, events: Events) -> Subscriber:
    """A subscriber that writes each happening to the log and sends it out under the topic "actor"."""

    def report(it: Happened) -> None:
        here = log.bind(child=it.path, incarnation=it.incarnation)
        match it.what:
            case "crashed":
                for number, error in enumerate(it.errors, start=1):
                    here.error("child_crashed", in_hand=it.in_hand, leaf=f"{number}/{len(it.errors)}", exc_info=error)
            case "stuck" | "parked":
                here.error(f"child_{it.what}", why=it.why)
            case "restarting":
                here.warning("child_restarting", delay_s=it.delay_s, why=it.why)
            case _:
                here.info(f"child_{it.what}", why=it.why)
        events.emit(
            "actor",
            it.what,
            path=it.path,
            incarnation=it.incarnation,
            errors=[f"{type(error).__name__}: {error}" for error in it.errors],
            delay_s=it.delay_s,
            why=it.why,
        )

    return report

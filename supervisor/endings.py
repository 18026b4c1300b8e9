"""How a run ends: signals and other reasons, the first of which asks for an orderly stop."""

from __future__ import annotations

import os
import signal
import sys
from typing import Literal

import trio

from actors.errors import OtodError

Reason = Literal["done", "stalled", "time", "signal", "drain", "stuck"]
"""done: all targets are reached. stalled: nobody unfinished can go on. time: --for is over. signal: Ctrl-C, SIGTERM.
drain: an operator asked for it. stuck: an actor does not end although it was cancelled, which only a new process
mends."""


class Ending:
    """The first reason counts."""

    def __init__(self) -> None:
        self.reason: Reason | None = None
        self.text = ""
        self.asked = trio.Event()

    def ask(self, reason: Reason, text: str = "") -> None:
        if self.reason is None:
            self.reason, self.text = reason, text
            self.asked.set()


async def until_signal(ending: Ending, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """The first SIGINT or SIGTERM asks for an orderly stop, a second SIGINT ends the process at once with status 1.

    At once is safe: whatever was acknowledged is on disk, and the next start looks at the exchange first.
    """
    interrupted = False
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for signum in signals:
            if signum == signal.SIGINT and (interrupted or ending.reason == "signal"):
                end_at_once("second Ctrl-C: ended at once; live pairs are taken up at the next start")
            interrupted |= signum == signal.SIGINT  # also of a run that was ending for another reason
            ending.ask("signal", signal.Signals(signum).name)


def end_at_once(why: str) -> None:
    print(f"otod: {why}", file=sys.stderr, flush=True)  # noqa: T201  the log may be what hangs
    os._exit(1)


def stuck(paths: tuple[str, ...]) -> None:
    """For Tree(on_stuck=…): the process can only end by force (design § 1)."""
    end_at_once(f"stuck: {', '.join(paths)} did not stop when cancelled")


def root_of(error: OtodError) -> OtodError:
    """What a failed start failed with: the cause says more than the child's name."""
    while isinstance(error.__cause__, OtodError):
        error = error.__cause__
    return error

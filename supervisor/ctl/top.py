"""`otoctl top`: users, actors and events on one screen, once a second, until q."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from supervisor.ctl.client import Client, Trouble
from supervisor.ctl.events import Subscription, in_words
from supervisor.ctl.tables import actors_of, title_of, user_line
from supervisor.screen import EVENTS_MAX, Picture, Screen

FOOT = "q quits"


def run(connect: Callable[[], Client], console: Console, *, every_s: float, rounds: int | None = None) -> None:
    """Shows the daemon until q or Ctrl-C, or for so many rounds. A daemon that goes away is waited for.

    Raises: Trouble, no daemon at the start.
    """
    events: deque[str] = deque(maxlen=EVENTS_MAX)
    with ExitStack() as stack:
        link = Link(connect)
        stack.callback(link.close)
        first = link.look(events)
        stack.enter_context(keys_at_once())
        live = stack.enter_context(Live(first, console=console, screen=True, auto_refresh=False))
        done = 1
        while not _quits(every_s) and (rounds is None or done < rounds):
            live.update(_again(link, events), refresh=True)
            done += 1


def _again(link: Link, events: deque[str]) -> RenderableType:
    try:
        return link.look(events)
    except Trouble as trouble:
        link.close()
        return Text(f"{trouble}\n\nTrying again; {FOOT}.", style="red")


class Link:
    """The connections of one daemon's life: the request socket and the events beside it."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._events: Subscription | None = None

    def look(self, events: deque[str]) -> RenderableType:
        """The picture of this moment; connects where needed. Raises: Trouble."""
        if self._client is None:
            self._client = self._connect()
            self._events = Subscription(self._client.url, ())
        assert self._events is not None
        system = self._client.data("system.status")
        users = self._client.data("trading.status", {"all": True})["users"]
        today = self._client.data("stats.progress", {"all": True})["users"]
        events.extend(line for frame in self._events.waiting() if (line := in_words(frame)) is not None)
        return Picture(
            Screen(
                title=title_of(system),
                users=tuple(user_line(user, each, today.get(user)) for user, each in users.items()),
                actors=actors_of(system),
                events=tuple(events),
                foot=FOOT,
            )
        )

    def close(self) -> None:
        for each in (self._client, self._events):
            if each is not None:
                each.__exit__(None, None, None)
        self._client = self._events = None


@contextmanager
def keys_at_once() -> Iterator[None]:
    """Keys are heard without Enter while the block runs, where stdin is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quits(wait_s: float) -> bool:
    """Waits so long for a key; was it q?"""
    readable, _, _ = select.select([sys.stdin], [], [], wait_s)
    return bool(readable) and os.read(sys.stdin.fileno(), 1) in (b"q", b"Q", b"")

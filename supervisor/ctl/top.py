"""`otoctl top`: users, actors and events on one screen, once a second, with keys (dashboard.py), until q."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from msgspec.structs import replace
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from supervisor.ctl.client import Client, Trouble
from supervisor.ctl.dashboard import Ask, Dashboard, foot, keys_of, press, visible
from supervisor.ctl.events import Subscription, in_words
from supervisor.ctl.latency import Recent
from supervisor.ctl.tables import actors_of, title_of, user_line
from supervisor.screen import EVENTS_MAX, Picture, Screen, UserLine

DETAIL_LINES = 12


def run(connect: Callable[[], Client], console: Console, *, every_s: float, rounds: int | None = None) -> None:
    """Shows the daemon until q or Ctrl-C, or for so many rounds. A daemon that goes away is waited for.

    Raises: Trouble, no daemon at the start.
    """
    events: deque[str] = deque(maxlen=EVENTS_MAX)
    board = Dashboard()
    with ExitStack() as stack:
        link = Link(connect)
        stack.callback(link.close)
        link.look(events, board)
        stack.enter_context(keys_at_once())
        live = stack.enter_context(Live(link.picture(board), console=console, screen=True, auto_refresh=False))
        done = 1
        while not board.quit and (rounds is None or done < rounds):
            due_s = time.monotonic() + every_s  # sim-ok: a client of its own, on real time
            while (left_s := due_s - time.monotonic()) > 0 and not board.quit:
                for key in _typed(left_s):
                    board, asked = press(board, key, link.users)
                    if asked is not None:
                        board = replace(board, said=_ask(link, asked))
                    live.update(_again(link, events, board, anew=asked is not None), refresh=True)
            live.update(_again(link, events, board), refresh=True)
            done += 1


def _again(link: Link, events: deque[str], board: Dashboard, *, anew: bool = True) -> RenderableType:
    try:
        if anew:
            link.look(events, board)
        return link.picture(board)
    except Trouble as trouble:
        link.close()
        return Text(f"{trouble}\n\nTrying again; q quits.", style="red")


def _ask(link: Link, asked: Ask) -> str:
    try:
        return link.ask(asked)
    except Trouble as trouble:
        return str(trouble).replace("\n  ->", ":")


class Link:
    """The connections of one daemon's life: the request socket and the events beside it; and what was last seen."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._events: Subscription | None = None
        self.users: list[UserLine] = []
        self._system: Mapping[str, Any] = {}
        self._recent = Recent()
        self._detail: tuple[str, ...] = ()
        self._told: tuple[str, ...] = ()

    def look(self, events: deque[str], board: Dashboard) -> None:
        """Reads everything anew; connects where needed. Raises: Trouble."""
        if self._client is None:
            self._client = self._connect()
            self._events = Subscription(self._client.url, ())
        assert self._events is not None
        self._system = self._client.data("system.status")
        users = self._client.data("trading.status", {"all": True})["users"] if self._system["users"]["total"] else {}
        today = self._client.data("stats.progress", {"all": True})["users"] if users else {}
        self.users = [user_line(user, each, today.get(user)) for user, each in users.items() if "error" not in each]
        self._recent.note(self._latency(self._client))
        self._detail = self._look_into(board.chosen) if board.inside and board.chosen in users else ()
        events.extend(line for frame in self._events.waiting() if (line := in_words(frame)) is not None)
        self._told = tuple(events)

    def _latency(self, client: Client) -> Mapping[str, Any]:
        """Nothing for callers that are limited to certain users."""
        reply = client.call("system.metrics")
        return reply["data"]["latency"] if reply["ok"] else {}

    def picture(self, board: Dashboard) -> RenderableType:
        return Picture(
            Screen(
                title=title_of(self._system),
                users=tuple(visible(board, self.users)),
                actors=replace(actors_of(self._system), figures=self._recent.words()),
                events=() if self._detail and board.inside else self._told,
                foot=foot(board),
                chosen=board.chosen,
                detail=self._detail if board.inside else (),
            )
        )

    def ask(self, asked: Ask) -> str:
        """Does it, and says what came of it. Raises: Trouble."""
        if self._client is None:
            self._client = self._connect()
        self._client.data(asked.cmd, {"user": asked.user})
        return f"{asked.user}: {asked.cmd.partition('.')[2]}d"

    def _look_into(self, user: str | None) -> tuple[str, ...]:
        """The chosen user's reasons, and its newest pairs."""
        assert self._client is not None
        why = self._client.data("trading.why", {"user": user})["users"][user]
        pairs = self._client.data("pairs.list", {"user": user, "limit": 5})["users"][user]["items"]
        lines = [f"{user}:", *(f"  - {reason}" for reason in why["because"])]
        if why["decision"]:
            lines.append(f"  last decision: {why['decision']}")
        for pair in pairs:
            told = f"{pair['outcome'] or pair['status']}, bought {pair['buy_quote']}, wear {pair['wear'] or '-'}"
            lines.append(f"  {pair['pair_id']}  {told}")
        return tuple(lines[:DETAIL_LINES])

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


def _typed(wait_s: float) -> list[str]:
    """The keys that come within so long; none without a key."""
    readable, _, _ = select.select([sys.stdin], [], [], wait_s)
    return keys_of(os.read(sys.stdin.fileno(), 64)) if readable else []

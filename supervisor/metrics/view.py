"""What figures are made of: snapshots and counts that actors have published anyway, gathered once for one rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import trio

from actors.domain.quotes import Quote
from actors.messages import FeedSnapshot, ListenKey, TraderSnapshot, UserRecord
from actors.ports import Wall
from actors.store import StoreStatistics
from actors.tally import Tally
from actors.targets import NotifierStatistics
from supervisor.bus import BusStatistics
from supervisor.control.views import walk
from supervisor.lifecycle import Node
from supervisor.liveness import LoopStatistics
from supervisor.metrics.process import Process, look


class Sources(Protocol):
    """The daemon as figures see it; the wiring is one."""

    wall: Wall
    started_ms: int
    version: str
    mode: str
    tally: Tally

    def users(self) -> Sequence[str]: ...

    def records(self) -> Mapping[str, UserRecord]: ...

    def snapshot(self, user: str) -> TraderSnapshot | None: ...

    def feeds_shown(self) -> Mapping[str, tuple[FeedSnapshot | None, Quote | None]]: ...

    def listen_key(self, user: str) -> ListenKey | None: ...

    def figures(self) -> Mapping[str, Any]:
        """store: StoreStatistics or None; requests: HttpStatistics by session."""
        ...

    def tree(self) -> Node: ...


class View:
    """One moment of the daemon."""

    def __init__(self, sources: Sources, events: BusStatistics) -> None:
        self.version, self.mode, self.started_ms = sources.version, sources.mode, sources.started_ms
        self.now_ms = sources.wall.now_ms()
        self.tally = sources.tally
        self.events = events
        self.users = tuple(sources.users())
        self.records = {user: record for user in self.users if (record := sources.records().get(user)) is not None}
        self.snapshots = {user: shown for user in self.users if (shown := sources.snapshot(user)) is not None}
        self.keys = {user: key for user in self.users if (key := sources.listen_key(user)) is not None}
        self.feeds = dict(sources.feeds_shown())
        self.nodes = [node for node in walk(sources.tree()) if node.kind == "actor"]
        figures = sources.figures()
        self.store: StoreStatistics | None = figures["store"]
        self.requests: Mapping[str, Any] = figures["requests"]
        self.loop: LoopStatistics | None = figures.get("loop")
        self.notices: NotifierStatistics = figures.get("notices") or NotifierStatistics()
        self.process: Process = look()
        self.tasks = trio.lowlevel.current_statistics().tasks_living

    def age_s(self, since_ms: int) -> float:
        """Never negative: a wall clock may be set back."""
        return max(self.now_ms - since_ms, 0) / 1000

    def state_of(self, user: str) -> str:
        """Each user counts once."""
        shown = self.snapshots.get(user)
        if shown is None:
            return "starting" if user in self.records else "new"
        if shown.pauses:
            return "paused"
        if shown.wanted == "stopped":
            return "stopped"
        return "done" if shown.phase == "done" else "trading"

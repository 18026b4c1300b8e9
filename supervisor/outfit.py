"""What a daemon is built from: the world through ports, and its patience with itself."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct, field

from actors import notifier
from actors.ports import Database, Hearing, Log, Notices, Sockets, Wall
from actors.tally import Tally
from supervisor.bus import EventBus
from supervisor.sessions import Sessions


class Outside(Struct, frozen=True, kw_only=True):
    """The world, through ports. rng: seeds every actor's own generator. rate: trio seconds per real second."""

    wall: Wall
    sockets: Sockets
    sessions: Sessions
    database: Database
    rng: Random
    log: Log
    bus: EventBus
    rate: float = 1.0
    tally: Tally = field(default_factory=Tally)
    loop_s: Callable[[], float] | None = None  # real seconds, to time the loop's steps; None: they take no time here


class Telling(Struct, frozen=True, kw_only=True):
    """Who is told of what happens, and the ways to them. hearing: belongs to the supervisor, so that what happens while
    the notifier is started again is heard. moment: ms since 1970 as a time."""

    settings: notifier.Settings
    notices: Notices
    hearing: Hearing
    moment: Callable[[int], str]


class Patience(Struct, frozen=True, kw_only=True):
    """Seconds, from the configuration."""

    publish_s: float = 2.0
    commit_wait_s: float = 0.0
    commit_rows: int = 1000
    renew_s: float = 1500.0

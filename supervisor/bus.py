"""The bus: what happened, for everybody who cares to listen. Lossy and counted; nobody who emits ever waits.

Each event gets the next number of its topic, so that a listener sees a gap; what a slow listener missed is counted for
it (the oldest goes first, because the newest says more). To catch up, ask for a snapshot (contract § 3).

One thread only: emit() is for code that runs in the trio loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
from msgspec import Struct

from actors.ports import Wall

RESERVED = frozenset({"v", "boot", "seq", "at", "kind"})  # of the event frame; a payload cannot use these names
LISTENER_EVENTS_MAX = 4096  # some seconds of a busy day at 1,000 users; about a megabyte
RECENT_EVENTS = 64  # what a view that opens later can still show


class Event(Struct, frozen=True, kw_only=True):
    """topic: "pair.alice", "actor" …; seq: 1, 2 … per topic since start; payload: JSON-able, Decimals as they are."""

    topic: str
    kind: str
    seq: int
    at_ms: int
    payload: dict[str, Any]


class BusStatistics(Struct, frozen=True, kw_only=True):
    """lost: by listener, events dropped because it was too slow."""

    emitted: int
    topics: int
    lost: dict[str, int]


class Listener:
    """One listener's queue."""

    def __init__(self, name: str, capacity: int, areas: frozenset[str] | None = None) -> None:
        """areas: the first words of topics, "pair" …; None: all."""
        assert capacity > 0, capacity
        self.name = name
        self._areas = areas
        self.lost = 0
        self._events: deque[Event] = deque(maxlen=capacity)
        self._arrived = trio.Event()

    async def take(self) -> Event:
        await trio.lowlevel.checkpoint()
        while not self._events:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._events.popleft()

    def _put(self, event: Event) -> None:
        if self._areas is not None and event.topic.partition(".")[0] not in self._areas:
            return
        if len(self._events) == self._events.maxlen:
            self.lost += 1
        self._events.append(event)
        self._arrived.set()


class EventBus:
    """The Events port of actors/ports.py. boot: differs with every start of the daemon."""

    def __init__(self, wall: Wall, *, boot: str) -> None:
        self.boot = boot
        self.recent: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self._wall = wall
        self._seq: dict[str, int] = {}
        self._emitted = 0
        self._listeners: list[Listener] = []
        self._lost_before: dict[str, int] = {}

    def emit(self, topic: str, kind: str, **payload: Any) -> None:
        """Raises: AssertionError, a payload name belongs to the frame."""
        assert topic, topic
        assert " " not in topic, topic
        assert RESERVED.isdisjoint(payload), payload.keys() & RESERVED
        seq = self._seq[topic] = self._seq.get(topic, 0) + 1
        self._emitted += 1
        event = Event(topic=topic, kind=kind, seq=seq, at_ms=self._wall.now_ms(), payload=payload)
        self.recent.append(event)
        for listener in self._listeners:
            listener._put(event)

    @contextmanager
    def listen(self, name: str, *, capacity: int = LISTENER_EVENTS_MAX) -> Iterator[Listener]:
        """Hears everything that is emitted while the block runs. Losses add up per name over incarnations."""
        listener = Listener(name, capacity)
        self._listeners.append(listener)
        try:
            yield listener
        finally:
            self._listeners.remove(listener)
            self._lost_before[name] = self._lost_before.get(name, 0) + listener.lost

    def follow(self, name: str, *, areas: frozenset[str], capacity: int = LISTENER_EVENTS_MAX) -> Listener:
        """Hears these areas from now on, as long as the bus lives: for a listener that outlives its reader."""
        listener = Listener(name, capacity, areas)
        self._listeners.append(listener)
        return listener

    def statistics(self) -> BusStatistics:
        lost = dict(self._lost_before)
        for listener in self._listeners:
            lost[listener.name] = lost.get(listener.name, 0) + listener.lost
        return BusStatistics(emitted=self._emitted, topics=len(self._seq), lost=lost)

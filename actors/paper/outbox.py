"""Frames on their way out, with what may befall them.

Nobody subscribed, no frame: payloads are made only for streams that are listened to. Within a stream frames leave in
the order in which they were made, unless a fault says otherwise.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from actors.paper.api import Frame
from actors.paper.faults import Faults
from actors.paper.timetable import Timetable

REORDER_HOLD_MS = 1_000
"""A frame that is to swap places with its successor waits so long for one."""


class Outbox:
    def __init__(self, faults: Faults, timetable: Timetable) -> None:
        self._faults = faults
        self._timetable = timetable
        self._frames: list[Frame] = []
        self._listeners: Counter[tuple[bool, str]] = Counter()
        self._last_due: dict[tuple[bool, str], int] = {}
        self._held: dict[tuple[bool, str], Frame] = {}
        self._encoder = msgspec.json.Encoder()

    def take(self) -> list[Frame]:
        frames, self._frames = self._frames, []
        return frames

    def listen(self, stream: str, *, public: bool) -> None:
        self._listeners[public, stream] += 1

    def unlisten(self, stream: str, *, public: bool) -> None:
        key = (public, stream)
        if self._listeners[key] > 1:
            self._listeners[key] -= 1
        else:
            self._listeners.pop(key, None)
            self._last_due.pop(key, None)

    def heard(self, stream: str, *, public: bool) -> bool:
        return (public, stream) in self._listeners

    def in_turn(self, stream: str, due_ms: int, *, public: bool) -> int:
        """When a frame that could leave at due_ms will: not before the one ahead of it."""
        return max(due_ms, self._last_due.get((public, stream), 0))

    def send(
        self,
        stream: str,
        data: dict[str, Any],
        due_ms: int,
        *,
        public: bool,
        account: str | None = None,
        symbol: str = "",
    ) -> None:
        """Sends data on a stream that somebody listens to. due_ms: when it leaves, as `in_turn` said."""
        key = (public, stream)
        if key not in self._listeners:
            return
        self._last_due[key] = max(due_ms, self._last_due.get(key, 0))
        words = (data.get("e", ""), data.get("x", ""), data.get("X", ""))
        occasion: dict[str, Any] = {"account": account, "stream": stream, "words": words, "symbol": symbol}
        strike = self._faults.strike
        if fault := strike("edit_frame", **occasion):
            data = {name: value for name, value in (data | fault.set).items() if name not in fault.remove}
        if strike("disconnect", **occasion):
            self.close(stream, due_ms, public=public)
            return
        if strike("drop_frame", **occasion):
            return
        payload = self._encoder.encode({"stream": stream, "data": data})
        if fault := strike("delay_frame", **occasion):
            due_ms += fault.ms
        frame = Frame(public=public, stream=stream, payload=payload, due_ms=due_ms)
        if key in self._held:
            held = self._held.pop(key)
            self._frames += [frame, msgspec.structs.replace(held, due_ms=max(held.due_ms, due_ms))]
        elif strike("reorder_frame", **occasion):
            self._held[key] = frame
            self._timetable.at(due_ms + REORDER_HOLD_MS, lambda now_ms: self._let_go(key, now_ms))
        else:
            self._frames.append(frame)
        if strike("duplicate_frame", **occasion):
            self._frames.append(frame)

    def close(self, stream: str, due_ms: int, *, public: bool) -> None:
        """Closes the sockets that listen to a stream."""
        self._frames.append(Frame(public=public, stream=stream, payload=b"", due_ms=due_ms, close=True))

    def _let_go(self, key: tuple[bool, str], now_ms: int) -> None:
        if held := self._held.pop(key, None):
            self._frames.append(msgspec.structs.replace(held, due_ms=now_ms))

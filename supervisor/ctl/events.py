"""Events as they come, for `otoctl events` and the last lines of `otoctl top`."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import msgspec

from supervisor.control.protocol import decode_event
from supervisor.ctl.client import EXIT_NO_DAEMON, Trouble, clean
from supervisor.ctl.sockets import events_url
from supervisor.headlines import headline
from supervisor.screen import event_text

BUFFER_MESSAGES = 8192  # measured: a burst of 5,000 arrives whole
RECONNECT_MS_MAX = 2_000  # a caller that is not let in would try ten times a second otherwise

Frame = tuple[str, dict[str, Any]]
_HEAD = frozenset({"v", "boot", "seq", "at", "kind"})


class Subscription:
    """A SUB socket beside a control socket. Use as a context manager."""

    def __init__(self, control_url: str, topics: tuple[str, ...]) -> None:
        import pynng  # type: ignore[import-untyped]  # it ships no types

        url = events_url(control_url)
        self._socket = pynng.Sub0(recv_buffer_size=BUFFER_MESSAGES, reconnect_time_max=RECONNECT_MS_MAX)
        for wanted in wanted_prefixes(topics):
            self._socket.subscribe(wanted)
        try:
            self._socket.dial(url, block=True)
        except pynng.NNGException as error:
            self._socket.close()
            raise Trouble(f"cannot listen at {url}: {error}\n  -> is the daemon still there?", EXIT_NO_DAEMON) from None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def take(self, *, wait_s: float) -> Frame | None:
        """The next event, or None when none came in time. wait_s 0: only what is there already."""
        import pynng

        self._socket.recv_timeout = round(wait_s * 1000)
        try:
            topic, event = decode_event(self._socket.recv(block=wait_s > 0))
            return clean(topic), clean(event)
        except (pynng.Timeout, pynng.TryAgain):
            return None

    def waiting(self) -> Iterator[Frame]:
        """All that is there already."""
        while (frame := self.take(wait_s=0)) is not None:
            yield frame


def wanted_prefixes(topics: tuple[str, ...]) -> list[str]:
    """What to subscribe to: "fill" means every user's fills, "fill.alice" hers and not alice2's; nothing means all."""
    return [f"{topic}{end}" for topic in topics for end in (" ", ".")] or [""]


def as_line(frame: Frame, *, as_json: bool) -> str:
    topic, event = frame
    if as_json:
        return msgspec.json.encode({"topic": topic, **event}).decode()
    return event_text(topic, event["kind"], event["at"], payload_of(event))


def in_words(frame: Frame) -> str | None:
    """Its headline, None if it has none."""
    topic, event = frame
    return headline(topic, event["kind"], event["at"], payload_of(event))


def payload_of(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in _HEAD}

"""The order stream of one user: whatever listen key is in force, one subscribed socket, its reports handed on.

Belongs to its trader: it runs in the trader's nursery, so both die and restart together (design § 1). A new key is
subscribed before the old one's socket closes (wire § 10.3): reports that come twice fall away at their fill ids.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio

from actors.domain.orders import OrderReport
from actors.errors import ProtocolChanged
from actors.exchange.news import Ack, Batch, KeyLapsed, Message, StreamRefused
from actors.exchange.stream import read_frame
from actors.exchange.subscribing import subscribe, user_stream
from actors.lines import Lines
from actors.messages import ListenKey
from actors.ports import Latest, Sockets

OVERLAP_S_MAX = 30.0
"""A new key's socket gets so long to come up before the old one is closed all the same: the old key is dying anyway."""


class OrderStream:
    """Callbacks are synchronous and must not raise.

    hear(report); up(): subscribed; down(why): no socket is left; failed(why): one did not come up; lapsed(key): the
    exchange said that the key is dead; broken(text): a report no longer has the known shape; troubled(trouble): the
    keeper cannot get or renew the key.
    """

    def __init__(
        self,
        sockets: Sockets,
        url: str,
        key: Latest[ListenKey],
        *,
        hear: Callable[[OrderReport], None],
        up: Callable[[], None],
        down: Callable[[str], None],
        failed: Callable[[str], None],
        lapsed: Callable[[str], None],
        broken: Callable[[str], None],
        troubled: Callable[[str], None],
        stale_s: float,
        rotate_s: float,
        rng: Random,
    ) -> None:
        self._sockets, self._url, self._key = sockets, url, key
        self._hear, self._up, self._down = hear, up, down
        self._failed, self._lapsed, self._broken, self._troubled = failed, lapsed, broken, troubled
        self._stale_s, self._rotate_s, self._rng = stale_s, rotate_s, rng
        self._subscribed = 0
        self._moved = trio.Event()

    async def run(self) -> None:
        """Never returns."""
        seen, current, scope = 0, "", trio.CancelScope()
        async with trio.open_nursery() as nursery:
            while True:
                seen = await self._key.changed(seen)
                value = self._key.value
                if value is not None and value.trouble is not None:
                    self._troubled(value.trouble)
                if value is None or value.key is None or value.key == current:
                    continue
                old, scope, current = scope, trio.CancelScope(), value.key
                self._moved = trio.Event()
                nursery.start_soon(self._keep, current, scope, name="order stream")
                with trio.move_on_after(OVERLAP_S_MAX):
                    await self._moved.wait()
                old.cancel()

    async def _keep(self, key: str, scope: trio.CancelScope) -> None:
        up = False

        def begin() -> None:
            nonlocal up
            up = True
            self._moved.set()
            self._subscribed += 1
            if self._subscribed == 1:
                self._up()

        def end(why: str) -> None:
            nonlocal up
            if up:
                up = False
                self._subscribed -= 1
                if self._subscribed == 0:
                    self._down(why)

        lines: Lines

        def hear(frame: bytes) -> bool:
            return self._take(read_frame(frame), key, lines)

        lines = Lines(
            self._sockets,
            self._url,
            subscribe=subscribe([user_stream(key)], request_id=1),
            hear=lambda frame: self._guarded(hear, frame),
            up=begin,
            down=end,
            failed=self._failed,
            stale_s=self._stale_s,
            rotate_s=self._rotate_s,
            rng=self._rng,
        )
        with scope:
            await lines.run()
        end("its listen key was replaced, and no socket of the new one is up")  # cancelled lines tell nobody

    def _guarded(self, hear: Callable[[bytes], bool], frame: bytes) -> bool:
        """A report that cannot be read is told, and the stream goes on: what it meant is found by looking."""
        try:
            return hear(frame)
        except ProtocolChanged as error:
            self._broken(str(error))
            return True

    def _take(self, message: Message, key: str, lines: Lines) -> bool:
        match message:
            case OrderReport():
                self._hear(message)
                return True
            case Ack():
                return True
            case Batch(messages=messages):
                proofs = [self._take(one, key, lines) for one in messages]  # all of them, whatever the first says
                return any(proofs)
            case KeyLapsed():
                self._lapsed(key)
                lines.drop("the listen key has lapsed")
            case StreamRefused():
                lines.drop(f"the exchange refused the subscription with {message}")
            case _:
                pass  # other streams' messages, and unknown ones
        return False

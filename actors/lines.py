"""Keeps one subscribed socket open, for ever: reconnects with growing, jittered delay, and replaces it before its end.

A *line* is one socket from connect to close. During a planned replacement two lines overlap, the new one subscribed
before the old one closes, so that nothing is missed and nobody sees a disconnect; the reader of the frames has to
drop what it hears twice. Used by the feeds; decides nothing about what the frames mean.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import trio
from msgspec import Struct

from actors.errors import ProtocolChanged, StreamLost
from actors.ports import Sockets

ACK_S_MAX = 10.0  # an acknowledgement takes one round trip
BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0
STEADY_S = 60.0  # a line that lived this long ends the growth of the delay
ROTATE_SPREAD = 0.1  # each line a little shorter than allowed, so that many feeds do not replace theirs together


class LinesStatistics(Struct, frozen=True, kw_only=True):
    """connects: lines that came up. failures: lines that did not. losses: times that no line was left."""

    connects: int
    failures: int
    losses: int
    rotations: int


class _Line:
    """settled: it is subscribed (up), or has ended before."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.settled = trio.Event()
        self.ended = trio.Event()
        self.up = False


class Lines:
    """Callbacks are synchronous; `hear` may raise StreamLost or ProtocolChanged, which ends its line, nothing else.

    hear(frame) -> True if the frame proves the subscription (an acknowledgement, or data of ours). up(): the first line
    is subscribed. down(why): no line is left. failed(why): a line did not come up. When the task that runs this is
    cancelled, nobody is told.
    """

    def __init__(
        self,
        sockets: Sockets,
        url: str,
        *,
        subscribe: str,
        hear: Callable[[bytes], bool],
        up: Callable[[], None],
        down: Callable[[str], None],
        failed: Callable[[str], None],
        stale_s: float,
        rotate_s: float,
        rng: Random,
    ) -> None:
        """stale_s: silence (no frame, no pong) that counts as lost. rotate_s: longest life of a line."""
        self._sockets, self._url, self._subscribe = sockets, url, subscribe
        self._hear, self._up, self._down, self._failed = hear, up, down, failed
        self._stale_s, self._rotate_s, self._rng = stale_s, rotate_s, rng
        self._open: list[_Line] = []
        self._patience = trio.CancelScope()
        self._why = "not connected yet"
        self._connects = self._failures = self._losses = self._rotations = 0

    async def run(self) -> None:
        """Never returns."""
        current: _Line | None = None
        troubles = 0  # in a row: failures, and lines that did not live long
        async with trio.open_nursery() as nursery:
            while True:
                line = _Line()
                nursery.start_soon(self._live, line)
                await line.settled.wait()
                if not line.up:
                    self._failures += 1
                    self._failed(self._why)
                    troubles += 1
                    await trio.sleep(self._delay_s(troubles))
                    continue
                if current is not None:
                    self._rotations += not current.ended.is_set()
                    current.scope.cancel()
                current, up_s = line, trio.current_time()
                with trio.move_on_after(self._rotate_s * self._rng.uniform(1 - ROTATE_SPREAD, 1)) as self._patience:
                    await line.ended.wait()
                if line.ended.is_set():
                    current = None
                    troubles = 1 if trio.current_time() - up_s >= STEADY_S else troubles + 1
                    await trio.sleep(self._delay_s(troubles))

    def renew(self) -> None:
        """Replaces the line now, as at the end of its time: the exchange announced to close it."""
        self._patience.cancel()

    def drop(self, why: str) -> None:
        """Closes all lines as lost, for a reason that the reader found."""
        self._why = why
        for line in self._open:
            line.scope.cancel()

    def statistics(self) -> LinesStatistics:
        return LinesStatistics(
            connects=self._connects, failures=self._failures, losses=self._losses, rotations=self._rotations
        )

    def _delay_s(self, troubles: int) -> float:
        full_s = min(BACKOFF_S_MIN * 2.0 ** min(troubles - 1, 16), BACKOFF_S_MAX)
        return full_s * self._rng.uniform(0.5, 1.0)

    async def _live(self, line: _Line) -> None:
        try:
            with line.scope:
                async with self._sockets.connect(self._url, stale_s=self._stale_s) as socket:
                    await socket.send(self._subscribe)
                    with trio.fail_after(ACK_S_MAX):
                        while not self._hear(await socket.receive()):
                            pass
                    self._begin(line)
                    while True:
                        self._hear(await socket.receive())
        except* (StreamLost, ProtocolChanged) as lost:
            self._why = str(_first(lost))
        except* trio.TooSlowError:
            self._why = f"no acknowledgement within {ACK_S_MAX:g} s"
        self._end(line)

    def _begin(self, line: _Line) -> None:
        self._connects += 1
        self._open.append(line)
        line.up = True
        line.settled.set()
        if len(self._open) == 1:
            self._up()

    def _end(self, line: _Line) -> None:
        line.ended.set()
        line.settled.set()
        if line in self._open:
            self._open.remove(line)
            if not self._open:
                self._losses += 1
                self._down(self._why)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error

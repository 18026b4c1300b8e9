"""Builds the paper exchange of `otod paper` and `otod exchange`: its memory, its market, its listening sockets.

What a state directory was begun with (seed, tape) is written beside the journal: the same market goes on after a
restart, and another one is refused rather than mixed in.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from actors.adapters.lock import DirectoryLock
from actors.adapters.paper import LOOPBACK, PaperServer, addresses, listen, load_recording
from actors.adapters.paper import run as run_paper
from actors.adapters.paper_journal import FileJournal
from actors.errors import ConfigError, IntegrityError, StoreError
from actors.paper.api import Market
from actors.paper.faults import Faults
from actors.paper.listing import demo_listing
from actors.paper.machine import Exchange
from actors.paper.market import SyntheticMarket, Traded
from actors.paper.replay import TapeMarket
from actors.paper.rules import Rules
from actors.ports import Inbox, Started, Wall

DEFAULT_SEED = 1

PACE: dict[str, float] = {"KOGE": 3.0, "LUMI": 1.0}
"""Orders per second of the lively tokens; the ALPHA busiest 5 % trade 3.4 a second (probes § 7)."""

QUIET_PACE = 0.25
"""Of all others: the upper quartile of ALPHA tokens trades 0.29 times a second (probes § 7)."""

AHEAD_MS = 10_000
"""A directory that ran ahead of the clock (--speed) goes on so much later than its journal's last entry: records may be
a little younger than the journal."""


class Begun(Struct, frozen=True, kw_only=True):
    """What a directory was begun with, and when. tape: name and digest of the replayed file."""

    seed: int
    start_ms: int
    tape: str | None = None


class House:
    """An exchange with its memory, of one directory and for this process alone.

    start_ms: the earliest time at which it may go on: later than now if it has been there already (--speed).
    """

    def __init__(
        self,
        directory: Path,
        *,
        now_ms: int,
        seed: int | None = None,
        replay: Path | None = None,
        replay_once: bool = False,
        faults: Faults | None = None,
        rules: Rules | None = None,
    ) -> None:
        """The exchange as it was left, or a new one. seed, replay None: as begun.

        Raises: ConfigError, another seed or tape than it was begun with, or an unreadable tape; IntegrityError, a
        damaged journal; StoreError, an unusable directory.
        """
        self._recording = load_recording(replay) if replay is not None else None
        self._replay_once = replay_once
        self._faults, self._rules = faults or Faults(), rules or Rules()
        self._lock = _locked(directory)
        try:
            self.journal = FileJournal(directory)
            self._begun = _begun(directory, seed, replay, now_ms)
            self._lives = 0
            self.exchange = self._restored(now_ms)
            self.journal.replace(self.exchange.snapshot())  # what was long is short again
        except BaseException:
            self._lock.release()
            raise
        ahead = self.exchange.now_ms > now_ms
        self.start_ms = self.exchange.now_ms + AHEAD_MS if ahead else self.exchange.now_ms

    @property
    def seed(self) -> int:
        return self._begun.seed

    def server(self, wall: Wall) -> PaperServer:
        """For the next incarnation. An exchange that raised may be half changed: its journal is the truth."""
        if self._lives > 0:
            self.exchange = self._restored(wall.now_ms())
        self._lives += 1
        if self.exchange.market is None:
            self.exchange.market = self._market(max(wall.now_ms(), self.exchange.now_ms))
        return PaperServer(self.exchange, wall, self.journal)

    def close(self) -> None:
        """Another process may have the directory."""
        self.journal.close()
        self._lock.release()

    def _restored(self, now_ms: int) -> Exchange:
        return Exchange.restore(
            self.journal.lines(),
            listing=demo_listing(),
            rules=self._rules,
            faults=self._faults,
            rng=random.Random(f"{self._begun.seed}/exchange/{self._lives}"),
            now_ms=now_ms,
        )

    def _market(self, now_ms: int) -> Market:
        if self._recording is None:
            return SyntheticMarket(self._begun.seed, _traded(self.exchange, as_left=True), now_ms)
        start_ms = min(self._begun.start_ms, now_ms)
        traded = _traded(self.exchange, as_left=False)
        return TapeMarket(self._recording, traded, start_ms, once=self._replay_once, from_ms=now_ms)


class Doors(Struct, frozen=True, kw_only=True):
    """Listening sockets, and where they are: rest_base, ws_public, ws_user."""

    http: Sequence[trio.SocketListener]
    ws: Sequence[trio.SocketListener]
    urls: dict[str, str]


async def open_doors(http_port: int = 0, ws_port: int = 0) -> Doors:
    """Raises: Refusal, a port is in use."""
    http = await listen(LOOPBACK, http_port)
    ws = await listen(LOOPBACK, ws_port)
    return Doors(http=http, ws=ws, urls=addresses(http, ws))


def _locked(directory: Path) -> DirectoryLock:
    """The directory, made if it is missing, for this process alone."""
    lock = DirectoryLock(directory / "lock", directory)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.take()
    except OSError as error:
        what = f"cannot use this directory: {error.strerror or error}"
        raise StoreError(what, where=str(directory), do="make it writable, or use another --state-dir") from error
    return lock


async def serve(house: House, doors: Doors, wall: Wall, inbox: Inbox, *, task_status: Started) -> None:
    """The body of the child `paper`: the exchange and the listening sockets outlive its incarnations."""
    await run_paper(inbox, lambda: house.server(wall), doors.http, doors.ws, task_status=task_status)


def token_names() -> tuple[str, ...]:
    """Short names that the paper exchange lists."""
    return tuple(dict.fromkeys(token.ticker for token in demo_listing().tokens))


def _traded(exchange: Exchange, *, as_left: bool) -> list[Traded]:
    """The symbols that have a market; as_left: at their last price, else where they began."""
    listing = exchange.listing
    found = []
    for instrument in listing.instruments:
        token = listing.token_of(instrument.symbol)
        if instrument.status != "TRADING" or instrument.quote_asset != "USDT":
            continue
        last = exchange.last_price(instrument.symbol) if as_left else None
        found.append(
            Traded(
                instrument=instrument,
                price=last if last is not None else token.price,
                anchor=token.price,
                orders_per_s=PACE.get(token.ticker, QUIET_PACE),
            )
        )
    return found


def _begun(directory: Path, seed: int | None, replay: Path | None, now_ms: int) -> Begun:
    """What the directory was begun with; written now if it is new."""
    path = directory / "market.json"
    tape = None if replay is None else f"{replay.name} {hashlib.sha256(replay.read_bytes()).hexdigest()[:16]}"
    if not path.exists():
        begun = Begun(seed=DEFAULT_SEED if seed is None else seed, start_ms=now_ms, tape=tape)
        path.write_bytes(msgspec.json.encode(begun))
        return begun
    try:
        begun = msgspec.json.decode(path.read_bytes(), type=Begun)
    except msgspec.DecodeError as error:
        what = f"the market's note is damaged: {error}"
        raise IntegrityError(what, where=str(path), do="start afresh with --fresh") from None
    if seed is not None and seed != begun.seed:
        what = f"this directory was begun with --seed {begun.seed}, not {seed}"
        raise ConfigError(what, where=str(directory), do="leave --seed out, or start afresh with --fresh")
    if tape != begun.tape and (tape is not None or begun.tape is not None):
        what = f"this directory was begun with {_named(begun.tape)}, not {_named(tape)}"
        raise ConfigError(what, where=str(directory), do="give the same --replay, or start afresh with --fresh")
    return begun


def _named(tape: str | None) -> str:
    return "the synthetic market" if tape is None else f"--replay {tape.split(' ', maxsplit=1)[0]}"

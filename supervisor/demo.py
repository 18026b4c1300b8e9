"""`otod paper`: the whole daemon on the embedded exchange, with users who start trading at once.

Ends when all have reached their target, when nobody unfinished can go on, after a time, or on a signal; then a summary.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TextIO

import trio
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console

from actors.adapters.clock import SpeedClock, WallClock, system_now_ms, watch
from actors.adapters.limits import LOOPBACK
from actors.adapters.lock import DirectoryLock
from actors.adapters.vault import FileVault
from actors.desk import Settings
from actors.domain.day import date_of
from actors.domain.trading import AUTO_RESUMABLE, PAUSE_REASONS, TradingConfig
from actors.errors import ConfigError, StoreError
from actors.messages import LoadUsers, TraderSnapshot, UserRecord
from supervisor import users, view
from supervisor.control.office import Levers
from supervisor.endings import Ending, stuck, until_signal
from supervisor.log import Logging
from supervisor.outside import ControlBody, Limits, Place, real_world
from supervisor.paper_house import Doors, House, open_doors, serve
from supervisor.wiring import Daemon, only

NAMES = ("alice", "bob", "carol")
TOKEN = "KOGE"
TARGET = Decimal(500)
DRAIN_S = 10.0
WATCH_S = 0.25  # between two looks whether everybody is done

EXCHANGE_PATIENCE = Limits(rates=LOOPBACK)


class Options(Struct, frozen=True, kw_only=True):
    """The command line of `otod paper`; None: not given, so that what the directory was begun with stays."""

    state_dir: Path
    users: int = 3
    token: str | None = None
    target: Decimal | None = None
    seed: int | None = None
    replay: Path | None = None
    replay_once: bool = False
    speed: float = 1.0
    for_s: float | None = None
    chaos: float = 0.0
    fresh: bool = False
    accept_lost_records: bool = False
    view: bool = True
    version: str = ""


def run(options: Options, console: Console) -> int:
    """Runs the demo. Returns the exit code of contract § 1. Raises: OtodError, before anything trades."""
    if options.fresh:
        _forget(options.state_dir)
    return trio.run(partial(_run, options, console), clock=SpeedClock(options.speed))


async def _run(options: Options, console: Console) -> int:
    directory = options.state_dir
    doors = await open_doors()
    house = House(
        directory / "paper",
        now_ms=system_now_ms(),
        seed=options.seed,
        replay=options.replay,
        replay_once=options.replay_once,
    )
    follows = options.speed == 1 and house.start_ms <= system_now_ms()
    wall = WallClock.real() if follows else WallClock.speed(house.start_ms)
    showing = options.view and console.is_terminal
    with _log_file(directory) if showing else nullcontext(sys.stderr) as stream:
        logging = Logging(wall, form="console", stream=stream)
        with logging.libraries():
            demo = Demo(options, console, house, doors, wall, logging)
            return await demo.run(showing=showing)


class Demo:
    """One run of `otod paper`."""

    def __init__(
        self, options: Options, console: Console, house: House, doors: Doors, wall: WallClock, logging: Logging
    ) -> None:
        self.options, self.console, self.wall, self.logging = options, console, wall, logging
        self.names = tuple(demo_names(options.users))
        place = Place(
            state_dir=options.state_dir,
            run_dir=options.state_dir / "run",
            identity="paper",
            instance="paper",
            rest_base=doors.urls["rest_base"],
        )
        self.vault = FileVault.at(options.state_dir)
        self.outside = real_world(
            place,
            EXCHANGE_PATIENCE,
            wall=wall,
            vault=self.vault,
            log=logging.log,
            rng=random.Random(f"{house.seed}/daemon"),
            rate=options.speed,
            duck={"accept_lost_records": options.accept_lost_records},
        )
        self.daemon = Daemon(
            self.outside,
            Settings(ws_user=doors.urls["ws_user"], store_slow_s=10.0 * options.speed),
            ws_public=doors.urls["ws_public"],
            mode="paper",
            version=options.version,
            control=ControlBody(place, self.outside),
            paper=partial(serve, house, doors, wall),
            on_stuck=stuck,
        )
        self.token = options.token or TOKEN

    async def run(self, *, showing: bool) -> int:
        ending = Ending()
        self.daemon.levers = Levers(log_level=self.logging.set_level, drain=partial(ending.ask, "drain"))
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(until_signal, ending)
                nursery.start_soon(self._stop_when_asked, ending)
                nursery.start_soon(self._watch, ending)
                if self.options.chaos:
                    nursery.start_soon(self._chaos)
                nursery.start_soon(watch, self.wall, self.outside.bus, self.outside.log)
                if showing:
                    nursery.start_soon(
                        partial(view.watch, self._collect, console=self.console, rate=self.options.speed)
                    )
                await self.daemon.run(self._users_in_place)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = only(group)
            raise error from error.__cause__
        day = date_of(self.wall.now_ms())
        view.summary(self._collect(), self.console, state_dir=self.options.state_dir, day=day)
        return self._verdict(ending)

    async def _stop_when_asked(self, ending: Ending) -> None:
        await ending.asked.wait()
        await self.daemon.stop(DRAIN_S)

    async def _watch(self, ending: Ending) -> None:
        """Asks for the end when there is nothing left to wait for."""
        rate = self.options.speed
        until = trio.current_time() + self.options.for_s * rate if self.options.for_s is not None else None
        while until is None or trio.current_time() < until:
            await trio.sleep(WATCH_S * rate)
            records = self.daemon.records()
            shown = [self.daemon.snapshot(name) for name, record in records.items() if users.can_trade(record)]
            here = [snapshot for snapshot in shown if snapshot is not None]
            if not here or len(here) < len(shown):
                continue
            unfinished = [snapshot for snapshot in here if snapshot.phase != "done"]
            if not unfinished:
                ending.ask("done")
            elif all(_stalled(snapshot, self.options) for snapshot in unfinished):
                why = "; ".join(f"{s.user}: {', '.join(p.reason for p in s.pauses) or s.wanted}" for s in unfinished)
                ending.ask("stalled", why)
        ending.ask("time")

    async def _chaos(self) -> None:
        """--chaos: actors die at random moments; the exchange itself is left alone (contract § 1)."""
        await self.daemon.chaos(self.options.chaos, random.Random(f"{self.options.seed}/chaos"), spare=("paper",))

    async def _users_in_place(self) -> None:
        """Missing demo users are added; options that were given are applied to those that are there (audited)."""
        records: tuple[UserRecord, ...] = await self.daemon.store.ask(LoadUsers())
        known = {record.user.user: record for record in records}
        wishes = [self._wish(name, known.get(name)) for name in self.names]
        wishes += [self._wish(name, record) for name, record in known.items() if name not in self.names]
        now_ms = self.wall.now_ms()
        await users.apply(wishes, store=self.daemon.store, vault=self.vault, who="otod paper", now_ms=now_ms)

    def _wish(self, name: str, record: UserRecord | None) -> users.UserWish:
        options = self.options
        if record is not None and record.config is not None:
            trading = record.config
            if options.token is not None:
                trading = replace(trading, token=options.token)
            if options.target is not None:
                trading = replace(trading, target_volume=options.target, target_points=None)
            return users.UserWish(user=name, trading=trading)
        return users.UserWish(
            user=name,
            display_name=name.capitalize(),
            trading=demo_trading(options.token or TOKEN, options.target or TARGET),
            secrets=users.Secrets(cookies={"paper_account": name}, headers={}),
            wanted="running",
        )

    def _collect(self) -> view.ViewState:
        daemon = self.daemon
        snapshots = daemon.snapshots()
        _, quote = daemon.feed(snapshots[0].token or self.token if snapshots else self.token)
        return view.ViewState(
            mode="paper",
            token=snapshots[0].token or self.token if snapshots else self.token,
            speed=self.options.speed,
            started_ms=daemon.started_ms,
            now_ms=self.wall.now_ms(),
            quote=quote,
            users=snapshots,
            tree=daemon.tree(),
            events=tuple(self.outside.bus.recent),
        )

    def _verdict(self, ending: Ending) -> int:
        if ending.reason == "stalled":
            self.console.print(f"nobody can go on: {ending.text}", style="red", highlight=False)
            self.console.print("otoctl why USER explains; resume them while otod paper runs, or use --fresh")
            return 1
        if ending.reason == "done":
            hint = "All targets of the day are reached; `otod paper --fresh` starts from the beginning."
            self.console.print(hint, soft_wrap=True)
        return 0


def demo_names(count: int) -> Iterator[str]:
    """alice, bob, carol, user4, user5 …"""
    for number in range(1, count + 1):
        yield NAMES[number - 1] if number <= len(NAMES) else f"user{number}"


def demo_trading(token: str, target: Decimal) -> TradingConfig:
    """Of contract § 2: both legs cross the spread at once, so a pair takes seconds."""
    return TradingConfig(
        token=token,
        target_volume=target,
        order_amount=Decimal(50),
        buy_offset=Decimal("0.05"),
        sell_offset=Decimal("-0.05"),
        auto_resume=tuple(reason for reason in PAUSE_REASONS if reason in AUTO_RESUMABLE),
    )


def _stalled(snapshot: TraderSnapshot, options: Options) -> bool:
    """Whether only an operator could make this user go on: its live pair is over and a pause will not end by itself."""
    lasting = any(pause.reason not in AUTO_RESUMABLE for pause in snapshot.pauses)
    return snapshot.pair is None and (lasting or snapshot.wanted == "stopped")


def _forget(directory: Path) -> None:
    """Deletes a demo's state directory, and nothing that does not look like one."""
    if not directory.exists():
        return
    if not (directory / "paper").is_dir():
        raise ConfigError(
            "--fresh would delete a directory that no `otod paper` has made",
            where=str(directory),
            do="choose another --state-dir, or delete it yourself",
        )
    lock = DirectoryLock(directory / "paper" / "lock", directory)
    try:
        lock.take()
        shutil.rmtree(directory)
    except OSError as error:
        what = f"cannot delete it: {error.strerror or error}"
        raise StoreError(what, where=str(directory), do="make it writable, or choose another --state-dir") from error
    finally:
        lock.release()


@contextmanager
def _log_file(directory: Path) -> Iterator[TextIO]:
    """While the picture is on the terminal, log lines go to a file beside the records."""
    with (directory / "otod.log").open("a", encoding="utf-8") as file:
        yield file

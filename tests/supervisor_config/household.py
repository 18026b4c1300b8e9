"""People and keyring over the store actor and a disk in memory, with traders that note what they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from actors import store
from actors.adapters.sim_store import Disk, SimDatabase
from actors.adapters.vault import FileVault
from actors.domain.quotes import Trade
from actors.errors import AskTimeout
from actors.messages import Configure, LoadUsers, StopTrading, UserRecord
from actors.rows import PairRow
from supervisor.bus import EventBus
from supervisor.keyring import Keyring
from supervisor.mailbox import Mailbox
from supervisor.people import People
from tests.adapters.duck_rows import pair
from tests.control.daemon import FEED, QUOTE, FixedWall, QuietLog, TokensBox, Wallets, snapshot


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110  what is waited for is plain data
            await trio.sleep(0.005)


class Trader:
    def __init__(self, house: House, user: str) -> None:
        self.house, self.user = house, user
        self.told: list[Any] = []
        self.wedged = False

    def post(self, message: Any) -> None:
        self.told.append(message)

    async def ask(self, question: Any, *, within_s: float | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        self.told.append(question)
        if self.wedged:
            raise AskTimeout("no answer", where=self.user)
        if isinstance(question, StopTrading):
            self.house.snapshots[self.user] = replace(self.house.snapshots[self.user], wanted="stopped")
        return self.house.snapshots[self.user]


class Public:
    """The newest trade of every symbol, or what asking for it raises."""

    def __init__(self) -> None:
        self.trade: Any = Trade(agg_id=7, price=Decimal("48.0021"), quantity=Decimal(1), time_ms=1, buyer_maker=False)

    async def trades(self, symbol: str, *, start_ms: int | None = None, limit: int = 1000) -> tuple[Any, ...]:
        await trio.lowlevel.checkpoint()
        if isinstance(self.trade, Exception):
            raise self.trade
        return (self.trade,) if self.trade is not None else ()


class House:
    """See people.House: remembers what it is asked to do."""

    rate = 0.05

    def __init__(self, directory: Path) -> None:
        self.wall = FixedWall()
        self.store = Mailbox("store", capacity=64)
        self.disk = Disk()
        self.database = SimDatabase(self.disk, self.wall)
        self.vault = FileVault.at(directory / "state", {})
        self.tokens = TokensBox()
        self.wallets = Wallets()
        self.public = Public()
        self.log = QuietLog()
        self.bus = EventBus(self.wall, boot="b00t")
        self.known: dict[str, UserRecord] = {}
        self.traders: dict[str, Trader] = {}
        self.snapshots: dict[str, Any] = {}
        self.renewed: list[str] = []
        self.on_let_go: Any = None
        self.brought_back: set[str] = set()
        self.new_life()

    def new_life(self) -> None:
        """People and keyring as a restarted daemon would have them."""
        self.people = People(self, self.vault, events=self.bus, log=self.log, boot=str(len(self.renewed)) + "boot")
        self.keyring = Keyring(self.people, self.bus)

    def records(self) -> dict[str, UserRecord]:
        return self.known

    def remember(self, record: UserRecord) -> None:
        self.known[record.user.user] = record

    def take_in(self, record: UserRecord) -> None:
        self.remember(record)
        user = record.user.user
        if record.config is not None and user not in self.traders:
            self.traders[user] = Trader(self, user)
            self.snapshots[user] = snapshot(user, wanted=record.user.wanted, pair=None, phase="idle")

    def renew(self, record: UserRecord) -> None:
        self.take_in(record)
        self.renewed.append(record.user.user)

    async def let_go(self, user: str) -> None:
        await trio.lowlevel.checkpoint()
        self.traders.pop(user, None)
        if self.on_let_go is not None:
            await self.on_let_go()

    async def forget(self, user: str) -> None:
        await trio.lowlevel.checkpoint()
        self.known.pop(user)
        self.snapshots.pop(user, None)

    def trader(self, user: str) -> Trader | None:
        return self.traders.get(user)

    def snapshot(self, user: str) -> Any:
        return self.snapshots.get(user)

    def feed(self, token: str) -> tuple[Any, Any]:
        return FEED, QUOTE if token in ("KOGE", "ALPHA_22USDT") else None

    def exchange(self, user: str) -> Wallets:
        return self.wallets

    async def until_flat(self, user: str) -> None:
        await until(lambda: self.snapshots[user].pair is None)

    async def restart(self, path: str) -> None:
        await trio.lowlevel.checkpoint()
        self.traders[path.partition("/")[2]].wedged = False

    def given_up(self, user: str) -> bool:
        return user in self.known and user not in self.brought_back

    def show_pause(self, user: str, pause: Any) -> None:
        self.snapshots[user] = replace(self.snapshots[user], pauses=(pause,))

    # -- for tests

    async def stored(self) -> dict[str, UserRecord]:
        return {record.user.user: record for record in await self.store.ask(LoadUsers())}

    def rows(self, kind: Any) -> list[Any]:
        return self.disk.all(kind)

    def configured(self, user: str) -> list[Any]:
        return [told for told in self.traders[user].told if isinstance(told, Configure)]

    async def live_pair(self, user: str, *, closed: bool = False) -> PairRow:
        row = pair(1, user, status="closed" if closed else "working", closed_at=self.wall.now_ms() if closed else None)
        await store.StoreRows(self.store).write([row])
        return row


@asynccontextmanager
async def household(directory: Path) -> AsyncIterator[House]:
    house = House(directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(store.run, house.store, house.database, wall=house.wall, log=house.log, events=house.bus)
        )
        await nursery.start(house.people.run)
        house.people.open()
        yield house
        nursery.cancel_scope.cancel()

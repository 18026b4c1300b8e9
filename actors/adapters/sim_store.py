"""The store's database in memory, in the loop: what `DuckDatabase` keeps and answers, without a file.

A `Disk` is what survives: it belongs to the machine, a `SimDatabase` to one life of the daemon on it. A commit takes a
little virtual time and then is on the disk, whole, at one instant. That it keeps and answers exactly what DuckDB does
is held by tests/adapters/test_sim_store.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import trio

from actors import messages, rows
from actors.adapters.duck_loading import OWN_ORDERS_MS, RECENT_MS, RECENT_PAIRS_MAX
from actors.domain.day import beside, date_of
from actors.domain.trading import TradingConfig
from actors.errors import StoreLost, StoreRefused
from actors.ports import Wall
from actors.rows import FillRow, OrderRow, PairRow, RetractFill, Row

R = TypeVar("R")
Key = tuple[Any, ...]


class Disk:
    """All rows, by kind and key, in the order in which their keys were first written."""

    def __init__(self) -> None:
        self._tables: dict[type, dict[Key, Any]] = {}
        self.commits = 0
        self.rows = 0

    def write(self, groups: Iterable[Iterable[Row]]) -> None:
        self.commits += 1
        for group in groups:
            for row in group:
                self._put(row)

    def _put(self, row: Any) -> None:
        self.rows += 1
        key = tuple(getattr(row, name) for name in row.KEY)
        if isinstance(row, RetractFill):
            self._tables.get(FillRow, {}).pop(key, None)
            return
        table = self._tables.setdefault(type(row), {})
        if row.MODE == "upsert" or key not in table:
            table[key] = row

    def all(self, kind: type[R]) -> list[R]:
        return list(self._tables.get(kind, {}).values())

    def of(self, kind: type[R], user: str) -> list[R]:
        return [row for row in self.all(kind) if row.user == user]  # type: ignore[attr-defined]


class SimDatabase:
    """ports.Database over a disk. commit_s: how long a commit takes, seconds."""

    def __init__(self, disk: Disk, wall: Wall, *, commit_s: Callable[[], float] = lambda: 0.001) -> None:
        self._disk, self._wall, self._commit_s = disk, wall, commit_s
        self._open = False
        self.fenced = False  # the process is dead: nothing that it still does reaches the disk

    async def open(self) -> None:
        await trio.lowlevel.checkpoint()
        self._open = True

    async def commit(self, groups: Sequence[Sequence[Row]]) -> tuple[StoreRefused | None, ...]:
        self._check()
        await trio.sleep(self._commit_s())
        self._check()
        self._disk.write(groups)
        return (None,) * len(groups)

    async def query(self, question: Any) -> Any:
        self._check()
        await trio.lowlevel.checkpoint()
        return answer(self._disk, question, self._wall.now_ms())

    @property
    def publish_cpu_s(self) -> float:
        return 0.0

    async def publish(self) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    async def checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self._open = False

    def _check(self) -> None:
        if self.fenced or not self._open:
            raise StoreLost("the database is not open", where="memory", do="open it")


def answer(disk: Disk, question: Any, now_ms: int) -> Any:
    """See duck_queries.answer. Raises: StoreRefused."""
    match question:
        case messages.LoadUsers():
            users = sorted((u for u in disk.all(rows.UserRow) if not u.removed), key=lambda u: u.user)
            return tuple(_user_record(disk, user) for user in users)
        case messages.LoadTraders(users=users, day=day):
            return {user: _trader_or_refusal(disk, messages.LoadTrader(user, day), now_ms) for user in users}
        case messages.LoadTrader():
            return _trader(disk, question, now_ms)
        case messages.LoadTokens():
            tokens = sorted(disk.all(rows.TokenRow), key=lambda row: row.alpha_id)
            return tuple(tokens), tuple(sorted(disk.all(rows.InstrumentRow), key=lambda row: row.symbol))
        case messages.ListOrders():
            orders = [o for o in disk.of(OrderRow, question.user) if _in(question, o.status, o.created_at)]
            orders.sort(key=lambda o: (o.created_at, o.updated_at, o.order_id), reverse=True)
            return _page(orders, question)
        case messages.ListPairs():
            pairs = [p for p in disk.of(PairRow, question.user) if _in(question, p.status, p.intent_at)]
            pairs.sort(key=lambda p: (p.intent_at, p.number), reverse=True)
            return _page(pairs, question)
        case messages.DayTotals(user=user, day=day):
            return _day(disk, user, day)
        case messages.LoadNotices(ids=ids):
            owed = [row for row in disk.all(rows.NoticeRow) if row.ended_at is None or row.notice_id in ids]
            return tuple(sorted(owed, key=lambda row: (row.happened_at, row.notice_id)))
        case _:
            raise StoreRefused(f"the store has no answer to {type(question).__name__}", do="ask one of messages.py")


def _trader_or_refusal(disk: Disk, question: messages.LoadTrader, now_ms: int) -> messages.TraderRecord | StoreRefused:
    try:
        return _trader(disk, question, now_ms)
    except StoreRefused as error:
        return error


def _trader(disk: Disk, question: messages.LoadTrader, now_ms: int) -> messages.TraderRecord:
    user = question.user
    found = [row for row in disk.all(rows.UserRow) if row.user == user]
    if not found:
        raise StoreRefused(f"no user {user!r}", where="users", do="create the user first")
    pairs = disk.of(PairRow, user)
    open_pairs = sorted((p for p in pairs if p.status != "closed"), key=lambda p: (p.intent_at, p.number))
    closed = [(p.closed_at, p.number, p) for p in pairs if p.status == "closed" and p.closed_at is not None]
    recent = sorted((at, number, p) for at, number, p in closed if at >= now_ms - RECENT_MS)[-RECENT_PAIRS_MAX:]
    recent_pairs = [pair for _, _, pair in recent]
    ids = {pair.pair_id for pair in (*open_pairs, *recent_pairs)}
    orders = disk.of(OrderRow, user)
    own = [o for o in orders if o.pair_id is not None and o.created_at >= now_ms - OWN_ORDERS_MS]
    own.sort(key=lambda o: (o.created_at, o.order_id))
    numbers = [change.seq for change in disk.of(rows.StateChangeRow, user)]
    audited = (row.audit_id for row in disk.of(rows.AuditRow, user))
    numbers += [int(each.rpartition("-")[2]) for each in audited if each.startswith(f"traders/{user}-")]
    fills = [fill for fill in disk.of(FillRow, user) if fill.pair_id in ids]
    return messages.TraderRecord(
        record=_user_record(disk, found[0]),
        day=_day(disk, user, question.day),
        open_pairs=tuple(open_pairs),
        recent_pairs=tuple(recent_pairs),
        orders=tuple(sorted((o for o in orders if o.pair_id in ids), key=lambda o: (o.created_at, o.order_id))),
        fills=tuple(sorted(fills, key=lambda f: (f.exchange_time, f.fill_id))),
        own_orders=tuple((o.symbol, o.order_id, o.pair_id) for o in own if o.pair_id is not None),
        near=tuple(_day(disk, user, other) for other in beside(question.day)),
        last_seq=max(numbers, default=0),
    )


def _user_record(disk: Disk, user: rows.UserRow) -> messages.UserRecord:
    configs = sorted(disk.of(rows.ConfigRow, user.user), key=lambda row: row.revision)
    credentials = [row for row in disk.of(rows.CredentialRow, user.user) if row.state != "removed"]
    pauses = [row for row in disk.of(rows.PauseRow, user.user) if row.ended_at is None]
    return messages.UserRecord(
        user=user,
        config=msgspec.json.decode(configs[-1].document, type=TradingConfig) if configs else None,
        revision=configs[-1].revision if configs else 0,
        credentials="none" if not credentials or credentials[0].state == "removed" else credentials[0].state,
        ciphertext=credentials[0].ciphertext if credentials else None,
        sealed=credentials[0] if credentials else None,
        pauses=tuple(sorted(pauses, key=lambda row: (row.since_at, row.reason))),
    )


def _day(disk: Disk, user: str, day: str) -> messages.DayRecord:
    fills = [fill for fill in disk.of(FillRow, user) if date_of(fill.exchange_time) == day]
    bought = [fill for fill in fills if fill.side == "BUY"]
    fees: dict[str, Decimal] = {}
    for fill in fills:
        fees[fill.commission_asset] = fees.get(fill.commission_asset, Decimal(0)) + fill.commission
    pairs = disk.of(PairRow, user)
    closed = [pair for pair in pairs if pair.status == "closed" and date_of(pair.intent_at) == day]
    numbers = [p.number for p in pairs if date_of(p.intent_at) == day or p.pair_id.startswith(f"{user}-{day}-")]
    done = [row.done_at for row in disk.of(rows.UserDayRow, user) if row.day == day]
    return messages.DayRecord(
        day=day,
        volume=sum((fill.quote_quantity for fill in bought), Decimal(0)),
        counted_volume=sum((fill.quote_quantity * fill.mul_point for fill in bought), Decimal(0)),
        pairs=len(closed),
        wear=sum((pair.wear for pair in closed if pair.wear is not None), Decimal(0)),
        closed_volume=sum((pair.buy_quote for pair in closed), Decimal(0)),
        fees=tuple(sorted(fees.items())),
        last_number=max(numbers, default=0),
        done_at=done[0] if done else None,
    )


def _in(question: Any, status: str, at_ms: int) -> bool:
    return (
        (question.status is None or question.status == status)
        and (question.since_ms is None or at_ms >= question.since_ms)
        and (question.until_ms is None or at_ms < question.until_ms)
    )


def _page(found: list[R], question: Any) -> tuple[int, tuple[R, ...]]:
    skipped = (question.page - 1) * question.limit
    return len(found), tuple(found[skipped : skipped + question.limit])

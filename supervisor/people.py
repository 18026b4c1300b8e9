"""Users as operators change them while the daemon runs: every way of changing one goes through here.

A change is durable first (rows with their audit, in one write), then remembered, then told to the running trader, or a
trader is started or stopped. Who changes a user holds that user's lock from reading to telling, so two changers cannot
lose each other's work; trading.start and stop hold it too, because the trader writes the user's row with its wish.

A change that was begun is brought to its end, also if its asker gave up: it runs in a task of this place.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.domain.day import date_of
from actors.domain.trading import Pause, TradingConfig
from actors.errors import AskFailed, OtodError, Refusal, StoreError
from actors.messages import (
    Configure,
    Describe,
    LoadTrader,
    StopTrading,
    TraderRecord,
    TraderSnapshot,
    UserRecord,
)
from actors.ports import Address, Events, Log, Vault, Wall
from actors.rows import Row
from actors.store import StoreRows
from supervisor import crashes, prudence, users
from supervisor.document import Problem, Problems, unknown
from supervisor.life import leaves
from supervisor.userfile import ONE_OF, TRADING, check_trading, check_user, load_users
from supervisor.users import Applied, UserWish

TOLD_S_MAX = 3.0
"""A trader that steps at all takes a configuration in milliseconds; one that does not finds it in its mailbox later."""

FLAT_S_MAX = 7.0
"""How long removing waits for a live pair to end; a request is answered within 10 s."""

BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""A mistake in a change's own code costs its asker an INTERNAL, never the daemon."""

FORCE_S = 10.0
"""For the first answer of an incarnation that replaced a stuck one."""

T = TypeVar("T")


class House(prudence.House, Protocol):
    """What is needed of the rest of the daemon; the wiring is one."""

    store: Address
    wall: Wall

    def remember(self, record: UserRecord) -> None: ...

    def take_in(self, record: UserRecord) -> None:
        """Remembers; a session and, once configured, a trader."""
        ...

    def renew(self, record: UserRecord) -> None:
        """Remembers; new credentials go into the session, keeper and trader hear of it."""
        ...

    async def let_go(self, user: str) -> None:
        """Ends the trader in order. Raises Refusal STUCK."""

    async def forget(self, user: str) -> None: ...

    def trader(self, user: str) -> Address | None: ...

    def snapshot(self, user: str) -> TraderSnapshot | None: ...

    async def until_flat(self, user: str) -> None:
        """Returns when the trader shows no live pair."""

    async def restart(self, path: str) -> object: ...

    def given_up(self, user: str) -> bool: ...

    def show_pause(self, user: str, pause: Pause) -> None: ...


class Changed(Struct, frozen=True, kw_only=True):
    """A user after a change. changed: key → (before, after). warnings: what nobody could check, or should know."""

    record: UserRecord
    changed: Mapping[str, tuple[Any, Any]]
    warnings: tuple[str, ...] = ()


class People:
    """boot: differs with every start, so that audit ids are unique."""

    def __init__(self, house: House, vault: Vault, *, events: Events, log: Log, boot: str) -> None:
        self.house, self.vault, self.events, self.log = house, vault, events, log
        self._locks: dict[str, trio.Lock] = {}
        self._ids = (f"people-{boot}-{number}" for number in itertools.count(1))
        self._nursery: trio.Nursery | None = None
        self._open = trio.Event()

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Never returns. Changes are taken once open() says that all users are known."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def open(self) -> None:
        self._open.set()

    async def whole(self, act: Callable[[], Awaitable[T]]) -> T:
        """Does a change to its end, whatever becomes of its asker. Raises: what it raises."""
        await self._open.wait()
        assert self._nursery is not None, "run() comes before open()"
        results: list[T] = []
        errors: list[BaseException] = []
        done = trio.Event()

        async def run() -> None:
            try:
                results.append(await act())
            except (OtodError, *BUGS) as error:
                errors.append(error)
            except ExceptionGroup as group:  # of a fan-out over several users
                errors.append(leaves(group)[0])
            done.set()

        self._nursery.start_soon(run)
        await done.wait()
        for error in errors:
            raise error
        return results[0]

    @asynccontextmanager
    async def holding(self, names: Collection[str]) -> AsyncIterator[None]:
        """Nobody else changes these users meanwhile. Always in the same order, so that no two wait for each other."""
        async with AsyncExitStack() as stack:
            for name in sorted(set(names)):
                await stack.enter_async_context(self._locks.setdefault(name, trio.Lock()))
            yield

    def everybody(self) -> tuple[str, ...]:
        """Everybody who may be being changed, users that are just being made included."""
        return tuple(self._locks)

    def record(self, user: str) -> UserRecord:
        """As it is now: the wish is the trader's where there is one. Raises: Refusal USER_UNKNOWN."""
        record = self.house.records().get(user)
        if record is None:
            raise Refusal(f"no user '{user}'", code="USER_UNKNOWN", do="see otoctl user list")
        snapshot = self.house.snapshot(user)
        if snapshot is None or snapshot.wanted == record.user.wanted:
            return record
        return replace(record, user=replace(record.user, wanted=snapshot.wanted))

    def next_id(self) -> str:
        return next(self._ids)

    async def write(self, rows: Sequence[Row]) -> None:
        await StoreRows(self.house.store).write(rows)

    # -- users

    async def create(self, user: str, display_name: str | None, email: str | None, who: str) -> Changed:
        return await self.whole(partial(self._create, user, display_name, email, who))

    async def _create(self, user: str, display_name: str | None, email: str | None, who: str) -> Changed:
        wish = _wish(user, {"display_name": display_name, "email": email})
        async with self.holding([user]):
            known = self.house.records().get(user)
            if known is None:
                applied = await self._make([wish], who)
                earlier = self.record(user).config is not None
                warnings = ("there was such a user before: its configuration is in force again",) if earlier else ()
                return Changed(record=self.record(user), changed=applied.differences.get(user, {}), warnings=warnings)
            same = display_name in (None, known.user.display_name) and email in (None, known.user.email)
            if not same:
                raise Refusal(
                    f"there is a user '{user}' already", do=f"user.update changes it: otoctl user show {user}"
                )
            return Changed(record=known, changed={})  # asked again: what was wished is so

    async def update(self, user: str, display_name: str | None, email: str | None, who: str) -> Changed:
        return await self.whole(partial(self._update, user, display_name, email, who))

    async def _update(self, user: str, display_name: str | None, email: str | None, who: str) -> Changed:
        wish = _wish(user, {"display_name": display_name, "email": email})
        async with self.holding([user]):
            self.record(user)
            applied = await self._make([wish], who, action="user.update")
            return Changed(record=self.record(user), changed=applied.differences.get(user, {}))

    async def apply(self, document: Mapping[str, Any], *, force: bool, dry_run: bool, who: str) -> Changes:
        """All users of a document or none. Raises: Problems, all that is wrong at once."""
        wishes = load_users(document, force=force)
        if dry_run:
            wishes, warnings = await self._prudent(wishes, force)
            planned = await self._plan(wishes, who, "user.apply")
            return Changes(applied=planned.applied, warnings=warnings)
        return await self.whole(partial(self._apply, wishes, force, who))

    async def _apply(self, wishes: Sequence[UserWish], force: bool, who: str) -> Changes:
        async with self.holding([wish.user for wish in wishes]):
            wishes, warnings = await self._prudent(wishes, force)
            return Changes(applied=await self._make(wishes, who), warnings=warnings)

    async def _prudent(self, wishes: Sequence[UserWish], force: bool) -> tuple[tuple[UserWish, ...], tuple[str, ...]]:
        """(The wishes with their tokens spelled as the exchange does, warnings).

        Raises: Problems, TokenError: what the documents alone cannot show.
        """
        return await prudence.judge_wishes(self.house, wishes, self.house.records(), force=force)

    # -- configuration

    async def configure(
        self,
        user: str,
        keys: Mapping[str, Any],
        *,
        unset: Collection[str] = (),
        revision: int | None = None,
        force: bool = False,
        who: str,
    ) -> Changed:
        """Changes the keys that are named, and takes those of unset away. revision: what the changer has read.

        Raises: Problems; Refusal STALE_REVISION, USER_UNKNOWN; TokenError.
        """
        return await self.whole(partial(self._configure, user, keys, frozenset(unset), revision, force, who))

    async def _configure(
        self, user: str, keys: Mapping[str, Any], unset: frozenset[str], revision: int | None, force: bool, who: str
    ) -> Changed:
        async with self.holding([user]):
            record = self.record(user)
            if revision is not None and revision != record.revision:
                raise Refusal(
                    f"revision {revision} is not the newest: {record.revision} is",
                    code="STALE_REVISION",
                    where=user,
                    do=f"somebody changed it meanwhile: look with config.show (otoctl config show {user}), then again",
                )
            trading = _merged(record.config, keys, unset, force)
            warnings: tuple[str, ...] = ()
            if trading != record.config:
                judged = await prudence.judge(self.house, {user: trading}, where="trading", force=force)
                trading, warnings = judged.news[user], judged.warnings
            wish = UserWish(user=user, trading=trading)
            applied = await self._make([wish], who, action="config.set")
            return Changed(record=self.record(user), changed=applied.differences.get(user, {}), warnings=warnings)

    # -- making it so

    async def _plan(self, wishes: Sequence[UserWish], who: str, action: str) -> users.Planned:
        known = [self.record(user) for user in self.house.records()]
        names = {record.user.user for record in known}
        now_ms = self.house.wall.now_ms()
        earlier = await users.former(self.house.store, [w.user for w in wishes if w.user not in names], now_ms)
        return users.plan(
            wishes, known, former=earlier, vault=self.vault, who=who, now_ms=now_ms, audit_id=self.next_id(),
            action=action,
        )  # fmt: skip

    async def _make(self, wishes: Sequence[UserWish], who: str, *, action: str = "user.apply") -> Applied:
        """Durable, remembered, told. The caller holds the users."""
        planned = await self._plan(wishes, who, action)
        if planned.rows:
            await self.write(planned.rows)
        before = dict(self.house.records())
        async with trio.open_nursery() as nursery:
            for record in planned.records:
                nursery.start_soon(self._tell, before.get(record.user.user), record, who)
        if planned.records:
            self.log.info("users_changed", who=who, created=planned.applied.created, changed=planned.applied.changed)
            for record in planned.records:
                keys = tuple(planned.applied.differences[record.user.user])
                self.events.emit("system", "user_changed", user=record.user.user, keys=keys, who=who)
        return planned.applied

    async def _tell(self, before: UserRecord | None, after: UserRecord, who: str) -> None:
        user = after.user.user
        address = self.house.trader(user)  # as it was before this change
        self.house.take_in(after)
        if before is not None and before.sealed != after.sealed:
            self.house.renew(after)
        if before is None or address is None or after.config is None:
            return
        named = (before.user.display_name, before.user.email) != (after.user.display_name, after.user.email)
        try:
            if named:
                await self._ask(address, Describe(after.user.display_name, after.user.email))
            if before.config != after.config:
                await self._ask(address, Configure(after.config, after.revision, who))
        except (AskFailed, Refusal, StoreError) as error:
            # It is durable: an incarnation that is yet to come reads it, a slow one has it in its mailbox.
            self.log.warning("trader_not_told", user=user, why=str(error))

    async def _ask(self, address: Address, question: object) -> TraderSnapshot:
        answer: TraderSnapshot = await address.ask(question, within_s=TOLD_S_MAX * self.house.rate)
        return answer

    # -- removal

    async def remove(self, user: str, *, drain: bool, who: str) -> UserRecord:
        """Takes a user out; its records stay. drain: stops it first and waits a moment for its pair to end.

        Raises: Refusal: it has a live pair. STUCK: its trader does not end.
        """
        return await self.whole(partial(self._remove, user, drain, who))

    async def _remove(self, user: str, drain: bool, who: str) -> UserRecord:
        async with self.holding([user]):
            record = self.record(user)
            live = await self._live(user)
            if live and not drain:
                raise _alive(user, live, f"trading.stop {user}, wait until it is flat, and again; or with drain")
            await self._flatten(user, who, wait=bool(live))
            if live := await self._live(user):
                raise _alive(user, live, "it is stopped now: ask again when its pair has ended (otoctl status)")
            await self.house.let_go(user)
            if live := await self._live(user):  # a pair that began while it was being stopped
                self.house.take_in(self.record(user))
                raise _alive(user, live, "it is stopped now: ask again when its pair has ended (otoctl status)")
            now_ms = self.house.wall.now_ms()
            loaded = await self._load(user)
            rows: list[Row] = [replace(loaded.record.user, removed=True, wanted="stopped", updated_at=now_ms)]
            if record.sealed is not None:
                rows.append(replace(record.sealed, state="removed", ciphertext=b"", stored_at=now_ms))
            rows += [replace(pause, ended_at=now_ms, ended_by=who) for pause in loaded.record.pauses]
            rows.append(users.audit_row(self.next_id(), now_ms, who, user, "user.remove", {"removed": (False, True)}))
            await self.write(rows)
            await self.house.forget(user)
            self.log.info("user_removed", user=user, who=who)
            self.events.emit("system", "user_removed", user=user, who=who)
            return replace(record, user=replace(record.user, removed=True, wanted="stopped"), credentials="none")

    async def _flatten(self, user: str, who: str, *, wait: bool) -> None:
        """Asks the trader to stop. One that does not answer is no obstacle: what counts is what is durable."""
        address = self.house.trader(user)
        if address is None:
            return
        try:
            await self._ask(address, StopTrading(who))
        except (AskFailed, Refusal, StoreError) as error:
            self.log.warning("trader_not_told", user=user, why=str(error))
        with trio.move_on_after(FLAT_S_MAX * self.house.rate if wait else 0):
            await self.house.until_flat(user)

    # -- what the supervisor does for a user

    async def force_stop(self, user: str, who: str, *, now: bool = True) -> TraderSnapshot:
        """A trader that does not answer: its wish is stored, its incarnation replaced. now: the next one cancels.

        To the end, whether or not its asker waits so long: a wish that is stored and not told to the trader would be
        heeded with the next start only, and the user trade on until then.
        """
        return await self.whole(partial(self._force_stop, user, who, now))

    async def _force_stop(self, user: str, who: str, now: bool) -> TraderSnapshot:
        house = self.house
        now_ms = house.wall.now_ms()
        stopped = replace(self.record(user).user, wanted="stopped", updated_at=now_ms)
        entry = users.audit_row(self.next_id(), now_ms, who, user, "force_stop", {"wanted": (None, "stopped")})
        await self.write([stopped, entry])
        await house.restart(f"traders/{user}")
        address = house.trader(user)
        if address is None:
            raise Refusal("the trader is gone", where=user, do="see otoctl tree")
        answer: TraderSnapshot = await address.ask(StopTrading(who, now=now), within_s=FORCE_S * house.rate)
        return answer

    async def record_crash(self, user: str, why: str) -> None:
        """See crashes.py."""
        now_ms = self.house.wall.now_ms()
        if user in self.house.records():
            self.house.show_pause(user, crashes.pause(why, now_ms))
        async with self.holding([user]):
            if self.house.given_up(user):  # not removed meanwhile, nor brought back
                await crashes.record(self, user, why, now_ms)

    def given_up(self, user: str) -> bool:
        return self.house.given_up(user)

    async def in_force(self, user: str) -> frozenset[str]:
        """Reasons of the user's pauses, as they are stored."""
        return frozenset(pause.reason for pause in (await self._load(user)).record.pauses)

    async def _live(self, user: str) -> tuple[str, ...]:
        """Pairs that are not closed, as the store knows them."""
        return tuple(pair.pair_id for pair in (await self._load(user)).open_pairs)

    async def _load(self, user: str) -> TraderRecord:
        day = date_of(self.house.wall.now_ms())
        loaded: TraderRecord = await self.house.store.ask(LoadTrader(user, day))
        return loaded


class Changes(Struct, frozen=True, kw_only=True):
    applied: Applied
    warnings: tuple[str, ...]


def _alive(user: str, pairs: Iterable[str], do: str) -> Refusal:
    return Refusal(f"pair {', '.join(pairs)} lives", where=user, do=do)


def _wish(user: str, table: Mapping[str, Any]) -> UserWish:
    """Raises: Problems."""
    wish, problems = check_user(user, table)
    if wish is None:
        raise Problems(problems, where="the request")
    return wish


def _merged(
    config: TradingConfig | None, keys: Mapping[str, Any], unset: Collection[str], force: bool
) -> TradingConfig:
    """The configuration with some keys changed. Of two keys that exclude each other the one that is named stays.

    Raises: Problems.
    """
    if strangers := sorted(key for key in unset if key not in TRADING):
        wrong = [Problem(f"trading.{key}", None, unknown(key, TRADING, {})) for key in strangers]
        raise Problems(wrong, where="what is to be unset")
    document: dict[str, Any] = {} if config is None else msgspec.to_builtins(config)
    for pair in ONE_OF:
        named = [key for key in pair if keys.get(key) is not None]
        if len(named) == 1:
            for key in pair:
                document.pop(key, None)
    for key in unset:
        document.pop(key, None)
    trading, problems = check_trading({**document, **keys}, force=force, where="trading")
    if trading is None:
        raise Problems(problems, where="the request")
    return trading

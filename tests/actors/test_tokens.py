"""The token catalogue actor: memory, single flight, ages, failures, records."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from msgspec.structs import replace

from actors import tokens
from actors.domain.instrument import Token
from actors.errors import MailboxFull, NoReply, NotNow, Refusal, StoreRefused, TokenError
from actors.messages import (
    DropKey,
    ForgetToken,
    ListCatalogue,
    ListTokens,
    LoadTokens,
    RefreshTokens,
    Resolve,
    ShowToken,
)
from actors.ports import Stop
from actors.rows import InstrumentRow, TokenRow
from supervisor.mailbox import Mailbox
from tests.actors.fakes import EPOCH_MS, FakePublic, ListEvents, ListLog, ListRows, VirtualWall, instrument

HOUR_S = 3600


class FakeStore:
    """Answers LoadTokens from what ListRows were given."""

    def __init__(self, rows):
        self.rows = rows

    async def ask(self, question, *, within_s=None):
        await trio.lowlevel.checkpoint()
        assert question == LoadTokens()
        newest = {
            (type(row), row.alpha_id if isinstance(row, TokenRow) else row.symbol): row for row in self.rows.written
        }
        kinds = (TokenRow, InstrumentRow)
        return tuple(tuple(row for (kind, _), row in newest.items() if kind is wanted) for wanted in kinds)


class World:
    def __init__(self, nursery):
        self.nursery = nursery
        self.inbox = Mailbox("tokens", capacity=64)
        self.public = FakePublic()
        self.list("ALPHA_22", "KOGE")
        self.rows = ListRows()
        self.store = FakeStore(self.rows)
        self.log = ListLog()
        self.events = ListEvents()

    def list(self, alpha_id, name, **fields):
        self.public.token_list += (Token(alpha_id=alpha_id, name=name, **{"mul_point": 1, **fields}),)
        self.public.instrument_list += (instrument(alpha_id),)

    async def start(self, nursery=None, **options):
        await (nursery or self.nursery).start(
            partial(
                tokens.run,
                self.inbox,
                store=self.store,
                rows=self.rows,
                public=self.public,
                wall=VirtualWall(),
                log=self.log,
                events=self.events,
                **options,
            )
        )

    async def resolve(self, word="KOGE"):
        return await self.inbox.ask(Resolve(word))

    def reads(self):
        return self.public.count("tokens"), self.public.count("instruments")


@pytest.fixture
def world(nursery):
    return World(nursery)


class TestAnswering:
    async def test_the_lists_are_read_once_for_everybody_who_asks(self, world, autojump_clock):
        world.public.delay_s = 3
        await world.start()
        answers = []

        async def ask():
            answers.append(await world.resolve())

        async with trio.open_nursery() as askers:
            for _ in range(20):
                askers.start_soon(ask)
        assert {(market.token.name, market.instrument.symbol) for market in answers} == {("KOGE", "ALPHA_22USDT")}
        assert world.reads() == (1, 1)

    async def test_answers_come_from_memory(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        world.public.failures = [NoReply("down")] * 99
        assert (await world.resolve("ALPHA_22")).fetched_ms == EPOCH_MS
        assert world.reads() == (1, 1)

    async def test_the_inbox_is_never_deaf(self, world, autojump_clock):
        world.public.delay_s = 30
        await world.start()
        await trio.sleep(1)
        assert await world.inbox.ask(ListTokens(), within_s=0.1) == ()

    async def test_a_name_that_is_missing_has_the_lists_read_again(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        await trio.sleep(120)
        world.list("ALPHA_9", "FRESH")
        assert (await world.resolve("FRESH")).token.alpha_id == "ALPHA_9"
        assert world.reads() == (2, 2)

    async def test_but_not_for_each_typing_error(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        for _ in range(50):
            with pytest.raises(TokenError, match="no token") as caught:
                await world.resolve("KOGA")
            assert "KOGE" in caught.value.do
        assert world.reads() == (1, 1)

    async def test_a_token_that_cannot_be_traded_is_refused_with_the_reason(self, world, autojump_clock):
        world.list("ALPHA_9", "DOWN", offline=True)
        await world.start()
        with pytest.raises(TokenError, match="offline"):
            await world.resolve("DOWN")
        market = await world.inbox.ask(Resolve("DOWN", tradable=False))
        assert "is offline" in market.warnings[0]

    async def test_an_ambiguous_name_reads_nothing_again(self, world, autojump_clock):
        world.list("ALPHA_9", "KOGE")
        await world.start()
        await trio.sleep(100)
        with pytest.raises(TokenError) as caught:
            await world.resolve()
        assert caught.value.code == "TOKEN_AMBIGUOUS"
        assert world.reads() == (1, 1)

    async def test_tokens_asked_for_are_listed(self, world, autojump_clock):
        world.list("ALPHA_9", "FRESH")
        await world.start()
        await world.resolve()
        assert [market.token.name for market in await world.inbox.ask(ListTokens())] == ["KOGE"]

    async def test_equal_alpha_ids_are_merged_with_a_warning(self, world, autojump_clock):
        world.public.token_list += (Token(alpha_id="ALPHA_22", name="KOGE", mul_point=4),)
        await world.start()
        market = await world.resolve()
        assert market.token.mul_point == 1
        assert "more than once" in market.warnings[0]
        assert "token_rows_merged" in world.log.events()

    async def test_other_questions_are_refused_and_other_news_is_noted(self, world, autojump_clock):
        await world.start()
        with pytest.raises(Refusal):
            await world.inbox.ask(LoadTokens())
        world.inbox.post(DropKey("alice"))
        await trio.sleep(1)
        assert "message_ignored" in world.log.events()


class TestAge:
    async def test_lists_are_read_anew_by_the_clock(self, world, autojump_clock):
        await world.start()
        await trio.sleep(24 * HOUR_S + 60)
        tokens_read, instruments_read = world.reads()
        assert tokens_read == 2
        assert 24 <= instruments_read <= 25

    async def test_who_asks_for_an_old_row_waits_for_the_new_one(self, world, autojump_clock, monkeypatch):
        monkeypatch.setattr(tokens, "CHECK_S", 10**9)
        await world.start()
        await world.resolve()
        world.public.instrument_list = (instrument(status="HALT"),)
        await trio.sleep(HOUR_S + 1)
        with pytest.raises(TokenError, match="HALT"):
            await world.resolve()
        assert world.reads() == (1, 2)

    async def test_a_change_of_a_token_in_use_is_told(self, world, autojump_clock):
        world.list("ALPHA_8", "MUL")
        world.list("ALPHA_9", "GONE")
        await world.start()
        for word in ("KOGE", "MUL", "GONE"):
            await world.resolve(word)
        world.public.instrument_list = (
            instrument("ALPHA_22", status="HALT"),
            replace(instrument("ALPHA_8"), price_precision=6),
            instrument("ALPHA_9"),
        )
        world.public.token_list = (
            *world.public.token_list[:2],
            Token(alpha_id="ALPHA_9", name="GONE", mul_point=4),
        )
        await world.inbox.ask(RefreshTokens())
        told = {
            payload["token"]: payload["what"] for _, kind, payload in world.events.emitted if kind == "token_changed"
        }
        assert told == {
            "KOGE": "can no longer be traded",
            "MUL": "has another status, precision or filter",
            "GONE": "has other flags or another mulPoint",
        }
        assert [market.token.name for market in await world.inbox.ask(ListTokens())] == ["MUL", "GONE"]


class TestRefresh:
    async def test_is_answered_when_both_lists_were_read(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        world.public.delay_s = 2
        before_s = trio.current_time()
        assert await world.inbox.ask(RefreshTokens()) is None
        assert trio.current_time() == before_s + 2
        assert world.reads() == (2, 2)

    async def test_is_refused_when_a_list_cannot_be_read(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        world.public.failures = [NoReply("down"), None]
        with pytest.raises(Refusal, match="could not be read: down"):
            await world.inbox.ask(RefreshTokens())

    async def test_as_news_it_answers_many_filter_refusals_with_one_read(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        await trio.sleep(60)
        for _ in range(30):
            world.inbox.post(RefreshTokens())
            await trio.sleep(0.1)
        assert world.reads() == (2, 2)


class TestFailures:
    async def test_a_known_token_is_answered_with_a_warning(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        world.public.failures = [NoReply("down")] * 10**5
        await trio.sleep(30 * HOUR_S)
        market = await world.resolve()
        assert market.token.name == "KOGE"
        assert sorted(warning.partition(" is ")[0] for warning in market.warnings) == [
            "the list of instruments",
            "the list of tokens",
        ]
        assert "30.0 h old" in market.warnings[0]

    async def test_without_any_row_the_answer_says_what_to_do(self, world, autojump_clock):
        world.public.failures = [NoReply("down")] * 99
        await world.start()
        with pytest.raises(NotNow, match="could not be read: down") as caught:
            await world.resolve()
        assert "otoctl token refresh" in caught.value.do

    async def test_a_token_is_not_called_dead_because_exchange_info_could_not_be_read(self, world, autojump_clock):
        async def unread():
            await trio.lowlevel.checkpoint()
            raise NoReply("down")

        world.public.instruments = unread
        await world.start()
        with pytest.raises(NotNow, match="no USDT market; but the list of instruments could not be read"):
            await world.resolve()

    async def test_it_tries_again_at_a_modest_pace_and_recovers(self, world, autojump_clock):
        world.public.failures = [NoReply("down")] * 20
        await world.start()
        for _ in range(300):
            with pytest.raises(NotNow):
                await world.resolve()
            await trio.sleep(1)
        assert 4 <= world.public.count("tokens") <= 7
        await trio.sleep(600)
        assert (await world.resolve()).warnings == ()

    async def test_an_empty_list_is_no_list(self, world, autojump_clock):
        await world.start()
        await world.resolve()
        world.public.token_list = ()
        with pytest.raises(Refusal, match="empty"):
            await world.inbox.ask(RefreshTokens())
        assert (await world.resolve()).token.name == "KOGE"


class TestRecords:
    async def test_what_was_read_is_remembered_by_the_next_start(self, world, autojump_clock):
        async with trio.open_nursery() as first:
            await world.start(first)
            before = await world.resolve()
            await trio.sleep(1)
            first.cancel_scope.cancel()
        world.public.failures = [NoReply("down")] * 99
        await world.start()
        assert await world.resolve() == before
        assert world.reads() == (1, 1)

    async def test_a_row_of_another_shape_is_read_anew(self, world, autojump_clock):
        world.rows.written = [
            TokenRow(alpha_id="ALPHA_22", name="KOGE", mul_point=1, document="{}", fetched_at=EPOCH_MS),
            InstrumentRow(symbol="ALPHA_22USDT", status="TRADING", document="[", fetched_at=EPOCH_MS),
        ]
        await world.start()
        assert (await world.resolve()).token.name == "KOGE"

    async def test_a_slow_store_keeps_nobody_waiting_and_gets_the_newest_rows_only(self, world, autojump_clock):
        world.rows.works = trio.Event()
        await world.start()
        assert (await world.resolve()).token.name == "KOGE"
        await trio.sleep(5 * HOUR_S)
        world.rows.works.set()
        await trio.sleep(1)
        # the first write may hold one list or both, then each row once more
        assert 3 <= len(world.rows.written) <= 4

    async def test_rows_that_the_store_refuses_take_only_their_group_with_them(self, world, autojump_clock):
        for number in range(150):
            world.list(f"ALPHA_1{number}", f"T{number}")
        world.rows.failures = [StoreRefused("no")]
        await world.start()
        await trio.sleep(1)
        assert len(world.rows.written) >= 100
        assert "token_rows_refused" in world.log.events()


async def test_it_returns_when_asked_to_stop(world, autojump_clock):
    with trio.fail_after(1):
        async with trio.open_nursery() as first:
            await world.start(first)
            world.inbox.post(Stop())
    assert first.child_tasks == frozenset()


async def test_an_overflown_mailbox_ends_it(world, autojump_clock):
    with pytest.RaisesGroup(MailboxFull, flatten_subgroups=True):
        async with trio.open_nursery() as first:
            await world.start(first)
            for _ in range(100):
                world.inbox.post(RefreshTokens())


# -- for people


async def test_the_catalogue_is_listed_those_asked_for_or_all(world):
    world.list("ALPHA_9", "AIOT", fully_delisted=True)
    await world.start()
    await world.resolve()
    (koge,) = await world.inbox.ask(ListCatalogue())
    assert (koge.token.name, koge.trouble, koge.asked) == ("KOGE", None, True)
    every = await world.inbox.ask(ListCatalogue(every=True))
    assert [(one.token.name, one.asked) for one in every] == [("AIOT", False), ("KOGE", True)]
    assert [one.token.name for one in await world.inbox.ask(ListCatalogue(find="aio", every=True))] == ["AIOT"]
    assert "delisted" in every[0].trouble


async def test_a_token_is_shown_whether_it_can_be_traded_or_not(world):
    world.list("ALPHA_9", "AIOT", offline=True)
    await world.start()
    await world.resolve()
    assert (await world.inbox.ask(ShowToken("AIOT"))).trouble == "is offline"
    assert (await world.inbox.ask(ShowToken("ALPHA_22"))).instrument.symbol == "ALPHA_22USDT"
    for question in (ShowToken("QQQ"), ForgetToken("QQQ")):
        with pytest.raises(TokenError):
            await world.inbox.ask(question)


async def test_a_token_is_forgotten_once(world):
    await world.start()
    await world.resolve()
    assert await world.inbox.ask(ForgetToken("KOGE")) is True
    assert await world.inbox.ask(ForgetToken("KOGE")) is False
    assert await world.inbox.ask(ListCatalogue()) == ()

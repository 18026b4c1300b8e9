"""What users, accounts, tokens and the levers answer."""

from __future__ import annotations

import json

import pytest
import trio
from msgspec.structs import replace

from actors.domain.orders import OrderView
from actors.errors import AskTimeout, ExchangeTrouble, OtodError, ProtocolChanged, Refusal, TokenError
from actors.messages import ListAudit, ListPrices, RefreshTokens
from supervisor.bus import EventBus
from supervisor.control import table
from supervisor.control.commands import perform
from supervisor.control.office import Levers
from supervisor.control.protocol import encode_reply
from supervisor.document import Problems
from tests.control.daemon import PAIR_ID, TEN_MS, D, FakeDaemon, FixedWall, QuietLog, every_lever, record

DAY_MS = 86_400_000


@pytest.fixture
def office():
    return FakeDaemon()


@pytest.fixture
def ask(office):
    async def ask(cmd, **args):
        data = await perform(
            office, EventBus(FixedWall(), boot="b00t"), cmd, args, who="1000:7", log=QuietLog(), rate=0.01
        )
        told = json.loads(encode_reply(None, data))["data"]
        return told["users"]["alice"] if table.BY_NAME[cmd].on_users or cmd == "user.create" else told

    return ask


async def refused(awaiting):
    with pytest.raises(OtodError) as caught:
        await awaiting
    return caught.value


# -- users and configurations


async def test_a_new_user_is_answered_like_any_other(ask, office):
    told = await ask("user.create", user="alice", display_name="Al")
    assert told["changed"] == {"email": {"before": "", "after": "a@b"}}
    assert office.people.asked == [("alice", "Al", None, "1000:7")]


async def test_update_and_remove_reach_the_place_of_changes(ask, office):
    await ask("user.update", user="alice", email="a@b")
    assert (await ask("user.remove", user="alice", drain=True))["removed"] is True
    assert office.people.asked == [("alice", None, "a@b", "1000:7"), ("alice", True, "1000:7")]


async def test_config_set_hands_on_what_was_named(ask, office):
    told = await ask("config.set", user="alice", order_amount="60", auto_resume=["RATE_LIMITED"], unset="max_wear_usdt",
                     revision=1)  # fmt: skip
    keys = {"order_amount": "60", "auto_resume": ("RATE_LIMITED",)}
    assert office.people.asked == [("alice", keys, ("max_wear_usdt",), 1, False, "1000:7")]
    assert told["order_amount"] == "50"
    assert told["revision"] == 1


async def test_config_show_names_every_key(ask, office):
    told = await ask("config.show", user="alice")
    assert (told["token"], told["target_volume"], told["max_wear_usdt"], told["auto_resume"]) == (
        "KOGE",
        "500",
        None,
        [],
    )
    office.records()["alice"] = record("alice", config=None, revision=0)
    assert (await ask("config.show", user="alice"))["token"] is None


async def test_a_document_is_answered_with_its_differences(ask, office):
    told = await ask("user.apply", document={"users": {}}, dry_run=True)
    assert told["differences"] == {"alice": {"order_amount": {"before": "50", "after": "60"}}}
    assert (told["dry_run"], told["warnings"]) == (True, ["look"])


async def test_a_user_that_cannot_trade_yet_says_what_it_needs(ask, office):
    office.snapshots.pop("alice")
    for config, word in ((None, "no configuration yet"), (record("alice").config, "no credentials yet")):
        office.records()["alice"] = record("alice", config=config, credentials="none")
        assert word in (await refused(ask("trading.start", user="alice"))).what
        assert (await ask("trading.status", user="alice"))["phase"] == "idle"
        assert word in (await ask("trading.why", user="alice"))["because"][0]
        assert (await ask("trading.stop", user="alice", now=True))["pair"] is None
    assert (await ask("system.status"))["users"]["new"] == 1
    assert office.traders["alice"].asked == []


# -- credentials


async def test_credentials_are_answered_with_counts_only(ask, office):
    told = await ask("user.set-credentials", user="alice", cookies={"p20t": "s3cr3t"}, headers={"csrftoken": "t0ken"})
    assert (told["credentials"], told["key_id"], told["cookies"], told["headers"]) == ("valid", "k1", 1, 1)
    assert "s3cr3t" not in json.dumps(told)
    told = await ask("user.set-credentials", user="alice", curl="curl http://x -b a=b -H 'accept: x'")
    assert told["left_out"] == ["accept"]
    assert office.keyring.handed[1] == ("alice", {"a": "b"}, {}, "1000:7")


@pytest.mark.parametrize(
    "args",
    [
        {"user": "alice"},
        {"user": "alice", "curl": "curl http://x -b a=b", "cookies": {"a": "b"}},
        {"users": ["alice", "bob"], "cookies": {"a": "b"}},
        {"all": True, "cookies": {"a": "b"}},
    ],
)
async def test_credentials_belong_to_one_user_and_come_in_one_form(ask, args):
    assert (await refused(ask("user.set-credentials", **args))).code == "BAD_ARGUMENT"


async def test_the_real_exchange_needs_its_token_in_either_form(ask, office):
    office.session_host = "www.binance.com"
    with pytest.raises(Problems, match="csrftoken"):
        await ask("user.set-credentials", user="alice", cookies={"a": "b"})
    await ask("user.set-credentials", user="alice", cookies={"a": "b"}, headers={"CSRFToken": "x"})


async def test_a_probe_is_answered_with_age(ask):
    told = await ask("user.check-credentials", user="alice")
    assert (told["valid"], told["age"], told["checked_at"]) == (True, 61, "2026-11-20T10:00:00.000Z")


# -- accounts


async def test_a_balance_is_told_by_wallet_asset_and_in_total(ask):
    told = await ask("account.balance", user="alice")
    assert told["assets"][0] == {
        "wallet": "funding", "asset": "USDT", "available": "9950", "frozen": "50", "total": "10000",
    }  # fmt: skip
    assert told["totals"] == {"USDT": "10000", "ALPHA_22": "1.5"}
    assert told["spendable"] == "9950"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ExchangeTrouble("expired", trouble="session"), "hand over new credentials"),
        (ExchangeTrouble("verify", trouble="human"), "pass the verification"),
        (ProtocolChanged("no list"), "upgrade otod"),
        (ExchangeTrouble("?", trouble="unknown_code"), "ask again later"),
    ],
)
async def test_the_exchanges_trouble_is_no_fault_of_ours(ask, office, error, says):
    office.wallets.held = error
    refusal = await refused(ask("account.balance", user="alice"))
    assert refusal.code == "REFUSED"
    assert says in refusal.do


async def test_nobody_without_credentials_is_asked_for_at_the_exchange(ask, office, monkeypatch):
    office.records()["alice"] = replace(office.records()["alice"], credentials="none")
    monkeypatch.setattr(office, "exchange", None)
    refusal = await refused(ask("account.balance", user="alice"))
    assert "no credentials yet" in refusal.what
    told = await ask("account.volume", user="alice")
    assert "no credentials yet" in told["exchange"]["error"]
    assert (told["own"]["volume"], told["score"]) == ("480.5", None)


async def test_an_exchange_that_is_silent_is_a_timeout(ask, office, monkeypatch):
    monkeypatch.setattr(office.wallets, "wallets", trio.sleep_forever)
    assert (await refused(ask("account.balance", user="alice"))).code == "TIMEOUT"


async def test_todays_volume_is_the_exchanges_beside_our_own(ask):
    told = await ask("account.volume", user="alice")
    assert told["own"] == {"volume": "480.5", "counted_volume": "961", "trades": 10}
    assert told["exchange"]["counted_volume"] == "1276.2"
    assert (told["points_today"], told["score"]["score"]) == (9, "182")


async def test_earlier_volume_is_that_of_the_exchanges_history(ask, office):
    def view(side, executed, quote):
        return OrderView(
            symbol="S", order_id="1", list_id=None, position=None, side=side, status="FILLED", price=D(2),
            quantity=D(3), executed=D(executed), executed_quote=quote, created_ms=TEN_MS, updated_ms=TEN_MS,
        )  # fmt: skip

    office.wallets.rows = (view("BUY", 3, D("6.1")), view("BUY", 3, None), view("SELL", 3, D(6)), view("BUY", 0, D(0)))
    told = await ask("account.volume", user="alice", since="2026-11-10", until="2026-11-20")
    assert told["exchange"] == {
        "volume": "12.1", "counted_volume": None, "trades": 2, "from": "buy orders of its history",
    }  # fmt: skip
    assert told["points_today"] is None
    assert "31 days" in (await ask("account.volume", user="alice", since="2026-01-01"))["exchange"]["error"]
    assert (
        await refused(ask("account.volume", user="alice", since="2026-11-20", until="2026-11-10"))
    ).code == "BAD_ARGUMENT"


async def test_the_future_has_no_volume(ask):
    refusal = await refused(ask("account.volume", user="alice", since="9999-12-31"))
    assert (refusal.code, "yet to come" in refusal.what) == ("BAD_ARGUMENT", True)


async def test_our_own_figures_do_not_need_the_exchange(ask, office):
    office.wallets.volume = office.wallets.score = ExchangeTrouble("expired", trouble="session")
    told = await ask("account.volume", user="alice")
    assert "expired" in told["exchange"]["error"]
    assert told["score"] is None
    assert told["own"]["volume"] == "480.5"


async def test_a_pair_is_shown_with_all_that_belongs_to_it(ask):
    told = await ask("pair.show", user="alice", pair_id=PAIR_ID)
    assert [len(told[name]) for name in ("orders", "fills", "changes")] == [1, 1, 1]
    assert told["wear"] == "0.02"
    assert (await refused(ask("pair.show", user="alice", pair_id="alice-1"))).code == "PAIR_UNKNOWN"


# -- tokens and prices


async def test_a_status_that_is_misspelt_is_no_empty_list(ask, office, monkeypatch):
    assert (await ask("orders.list", user="alice", status="SOME_NEW_WORD"))["items"]

    async def none(question, *, within_s):
        await trio.lowlevel.checkpoint()
        return 0, ()

    monkeypatch.setattr(office.store, "ask", none)
    refusal = await refused(ask("orders.list", user="alice", status="FILED"))
    assert (refusal.code, refusal.do) == ("BAD_ARGUMENT", "did you mean FILLED?")
    assert (await ask("orders.list", user="alice", status="REJECTED"))["total"] == 0


async def test_tokens_are_listed_and_shown(ask):
    assert [each["token"] for each in (await ask("token.list"))["items"]] == ["KOGE"]
    assert (await ask("token.list", every=True, find="AI"))["total"] == 1
    told = await ask("token.show", token="KOGE")
    assert (told["alpha_id"], told["stream_symbol"], told["tradable"]) == ("ALPHA_22", "alpha_22usdt", True)
    assert told["filters"]["tick_size"] == "0.0001"
    dead = await ask("token.show", token="DEAD")
    assert (dead["tradable"], dead["trouble"], dead["symbol"]) == (False, "is delisted", None)


async def test_a_token_that_is_unknown_or_ambiguous_says_so(ask):
    for cmd in ("token.show", "token.add", "token.remove", "price.show"):
        assert (await refused(ask(cmd, token="QQQ"))).code == "TOKEN_UNKNOWN"
        assert (await refused(ask(cmd, token="TWIN"))).code == "TOKEN_AMBIGUOUS"
    assert (await refused(ask("token.add", token="DEAD"))).code == "REFUSED"


async def test_a_token_in_use_is_not_removed(ask, office):
    refusal = await refused(ask("token.remove", token="KOGE"))
    assert "alice, bob, carol" in refusal.what
    for user, known in office.records().items():  # stored before names were spelled as the exchange does
        office.records()[user] = replace(known, config=replace(known.config, token="koge"))
    assert "alice, bob, carol" in (await refused(ask("token.remove", token="KOGE"))).what
    assert (await ask("token.remove", token="AIOT"))["removed"] is True
    assert office.tokens.forgotten == ["AIOT"]


async def test_refreshing_reads_the_lists_anew(ask, office, monkeypatch):
    assert (await ask("token.refresh", token="KOGE"))["token"] == "KOGE"
    assert any(isinstance(asked, RefreshTokens) for asked in office.tokens.asked)

    async def slow(question, *, within_s):
        await trio.lowlevel.checkpoint()
        raise AskTimeout("late")

    monkeypatch.setattr(office.tokens, "ask", slow)
    assert (await refused(ask("token.refresh"))).code == "TIMEOUT"


async def test_price_history_is_that_of_the_token_by_its_short_name(ask, office):
    told = await ask("price.history", token="KOGE", limit=5)
    assert told["items"][0]["close"] == "48.5"
    assert office.store.asked == [ListPrices(token="KOGE", limit=5)]
    office.feeds.clear()
    await ask("price.history", token="koge", limit=5)
    assert office.store.asked[1:] == [ListPrices(token="KOGE", limit=5)]


async def test_prices_that_nobody_ever_saw_are_no_empty_list_of_an_unknown_token(ask, office, monkeypatch):
    async def none(question, *, within_s):
        await trio.lowlevel.checkpoint()
        return 0, ()

    assert (await ask("price.history", token="OLD"))["items"]  # recorded once, gone from the exchange
    monkeypatch.setattr(office.store, "ask", none)
    assert (await refused(ask("price.history", token="OLD"))).code == "TOKEN_UNKNOWN"


async def test_an_unknown_token_near_one_in_use_is_named(ask, office, monkeypatch):
    async def ask_tokens(question, *, within_s):
        await trio.lowlevel.checkpoint()
        raise TokenError("no token 'KOGEE'")

    monkeypatch.setattr(office.tokens, "ask", ask_tokens)
    assert (await refused(ask("token.add", token="KOGEE"))).do == "did you mean KOGE?"


# -- the system


async def test_streams_tell_ages_of_keys_and_never_the_key(ask, office):
    told = await ask("system.streams")
    assert told["feeds"][0]["token"] == "KOGE"
    assert "s3cr3t" not in json.dumps(told)
    office.listen_key = lambda user: None
    assert await ask("system.streams")


async def test_audit_is_listed(ask, office):
    data = await ask("system.audit", user="alice")
    assert data["items"][0]["action"] == "config.set"
    assert office.store.asked == [ListAudit(user="alice")]


async def test_metrics_name_every_actor(ask):
    told = await ask("system.metrics")
    assert {"store", "traders/alice", "feeds/KOGE"} <= set(told["actors"])


async def test_metrics_count_how_long_streams_took(ask, office):
    for seconds in (0.002, 0.004, 99.0):
        office.tally.orders_s.observe(seconds)
    told = (await ask("system.metrics"))["latency"]["orders"]
    assert told["bounds_ms"][:2] == [1, 2.5]
    assert told["counts"][:3] == [0, 1, 1]
    assert told["counts"][-1] == 1
    assert len(told["counts"]) == len(told["bounds_ms"]) + 1


LEVERS = {"system.log-level": {"level": "debug"}, "system.reload": {}, "system.drain": {}, "notify.test": {}}


@pytest.mark.parametrize("cmd", LEVERS)
async def test_a_lever_is_pulled_or_its_absence_said(ask, office, cmd):
    assert isinstance(await refused(ask(cmd, **LEVERS[cmd])), Refusal)
    office.levers = every_lever()
    assert await ask(cmd, **LEVERS[cmd])


async def test_draining_names_who_asked(ask, office):
    why = []
    office.levers = Levers(drain=why.append)
    assert (await ask("system.drain"))["live_pairs"] == 3
    assert why == ["asked for by 1000:7"]


async def test_a_rotation_is_answered(ask):
    assert (await ask("vault.rotate"))["resealed"] == 3

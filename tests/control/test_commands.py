"""What each command answers. The contract's examples are met to the letter of their shape."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from actors.domain.trading import Pause
from actors.errors import OtodError, Refusal, TokenError
from actors.messages import CancelPair, ListOrders, ListPairs, ResumeTrading, StopTrading, Traded, Waiting
from actors.statistics import OfToken, Statistics
from supervisor.bus import EventBus
from supervisor.control.commands import AllFailed, perform
from supervisor.control.protocol import encode_refusal, encode_reply
from supervisor.lifecycle import Crash
from tests.control.daemon import FEED, PAIR_ID, STATISTICS, TEN_MS, D, FakeDaemon, FixedWall, QuietLog, node, snapshot

TEN = "2026-11-20T10:00:00.000Z"


@pytest.fixture
def office():
    return FakeDaemon()


@pytest.fixture
def log():
    return QuietLog()


@pytest.fixture
def ask(office, log):
    """Asks and gives the data as a client reads it."""

    async def ask(cmd, **args):
        bus = EventBus(FixedWall(), boot="b00t")
        data = await perform(office, bus, cmd, args, who="1000:7", log=log)
        return json.loads(encode_reply(None, data))["data"]

    return ask


# -- the contract's examples


async def test_trading_status_is_the_contracts_example(ask):
    assert await ask("trading.status", user="alice") == json.loads("""
        {"users":{"alice":{"wanted":"running","phase":"partially_filled","waiting":null,"pauses":[],
         "since":"2026-11-20T10:00:00.000Z",
         "pair":{"pair_id":"alice-2026-11-20-7","buy_price":"48.0241","sell_price":"47.9761","quantity":"1.0411",
                 "filled":"0.4"},
         "progress":{"volume":"319.05","target":"500","percent":"63.81","pairs":6,"pairs_to_go":4}}}}""")


async def test_stats_progress_is_the_contracts_example(ask):
    assert await ask("stats.progress", user="alice") == json.loads("""
        {"users":{"alice":{"day":"2026-11-20","volume":"319.05","counted_volume":"319.05","target":"500",
         "percent":"63.81","pairs":6,"pairs_to_go":4,"points":8,"wear":"0.11","wear_bps":"3.7"}}}""")


async def test_orders_list_is_the_contracts_example(ask):
    page = (await ask("orders.list", user="alice"))["users"]["alice"]
    example = json.loads("""
        {"order_id":"51481849","pair_id":"alice-2026-11-20-7","leg":"working","side":"BUY","price":"48.0241",
         "quantity":"1.0411","executed_quantity":"1.0411","status":"FILLED","created_at":"2026-11-20T10:00:00.000Z"}""")
    assert (page["total"], page["page"], page["limit"]) == (12, 1, 50)
    assert {name: page["items"][0][name] for name in example} == example


async def test_price_show_is_the_contracts_example(ask):
    told = await ask("price.show", token="KOGE")
    example = json.loads("""
        {"token":"KOGE","symbol":"ALPHA_22USDT","price":"48.0021","at":"2026-11-20T09:59:59.800Z","age_s":0.2,
         "range_60s_percent":"0.31","connected":true}""")
    assert {name: told[name] for name in example} == example


async def test_system_tree_is_the_contracts_example(ask, office):
    office.root = replace(office.root, children=office.root.children[:1])
    assert await ask("system.tree") == json.loads("""
        {"path":"","state":"running","children":[{"path":"store","state":"running","incarnation":1,"restarts":0,
         "uptime_s":61.2,"mailbox":{"depth":0,"high":14,"capacity":4096},"last_crash":null,"children":[]}]}""")


async def test_an_unknown_user_is_the_contracts_example(ask):
    with pytest.raises(Refusal) as caught:
        await ask("trading.status", user="alcie")
    assert json.loads(encode_refusal("any", caught.value)) == json.loads("""
        {"v":1,"id":"any","ok":false,
         "error":{"code":"USER_UNKNOWN","message":"no user 'alcie'","hint":"did you mean alice?"}}""")


# -- fan-out


async def test_several_users_are_answered_each(ask):
    assert list((await ask("trading.status", users=["bob", "alice"]))["users"]) == ["bob", "alice"]
    assert list((await ask("trading.status", all=True))["users"]) == ["alice", "bob", "carol"]


async def test_one_users_failure_is_its_own(ask):
    users = (await ask("trading.status", users=["alice", "nobody"]))["users"]
    assert users["alice"]["wanted"] == "running"
    assert users["nobody"]["error"]["code"] == "USER_UNKNOWN"


async def test_all_failing_is_a_failure_that_names_each(ask):
    with pytest.raises(AllFailed) as caught:
        await ask("trading.status", users=["x1", "x2"])
    assert caught.value.code == "USER_UNKNOWN"
    assert set(caught.value.data["users"]) == {"x1", "x2"}


async def test_different_failures_of_all_are_refused(ask, office):
    office.snapshots["bob"] = snapshot("bob", pauses=(Pause(reason="OPERATOR", since_ms=TEN_MS, detail=""),))
    with pytest.raises(AllFailed) as caught:
        await ask("trading.start", users=["bob", "nobody"])
    assert caught.value.code == "REFUSED"


async def test_of_many_unknown_users_the_first_are_told_the_nearest():
    """Looking for the nearest of a thousand names takes milliseconds, in which no trader runs."""
    office = FakeDaemon(tuple(f"user{number}" for number in range(1000)))
    names = [f"user{number}" for number in range(998, 3000)]
    data = await perform(
        office, EventBus(FixedWall(), boot="b"), "trading.status", {"users": names}, who="1:1", log=QuietLog()
    )
    hints = [each["error"]["hint"] for each in data["users"].values() if "error" in each]
    assert len(hints) == 2000
    assert sum(hint.startswith("did you mean") for hint in hints) == 5


async def test_all_of_no_users_is_no_failure(ask, office):
    office.names = []
    assert await ask("trading.status", all=True) == {"users": {}}


async def test_a_thousand_users_are_answered(ask):
    office = FakeDaemon(tuple(f"u{n}" for n in range(1000)))
    bus = EventBus(FixedWall(), boot="b")
    data = await perform(office, bus, "trading.pause", {"all": True}, who="1:1", log=QuietLog())
    assert len(data["users"]) == 1000


# -- trading


async def test_start_is_refused_while_paused_with_a_hint(ask, office):
    office.snapshots["bob"] = snapshot("bob", pauses=(Pause(reason="WEAR_LIMIT", since_ms=TEN_MS, detail="5 of 5"),))
    with pytest.raises(Refusal) as caught:
        await ask("trading.start", user="bob")
    assert caught.value.code == "PAUSED"
    assert caught.value.do


async def test_pause_resume_and_start_answer_the_new_status(ask):
    paused = await ask("trading.pause", user="alice", detail="lunch")
    assert paused["users"]["alice"]["pauses"] == [{"reason": "OPERATOR", "since": TEN, "detail": "lunch", "hint": ""}]
    assert (await ask("trading.resume", user="alice"))["users"]["alice"]["pauses"] == []
    assert (await ask("trading.start", user="alice"))["users"]["alice"]["wanted"] == "running"


async def test_who_asked_goes_with_the_message(ask, office):
    await ask("trading.stop", user="alice")
    assert office.traders["alice"].asked == [StopTrading("1000:7")]


async def test_a_wedged_trader_is_a_timeout_and_its_status_can_still_be_seen(ask, office, autojump_clock):
    office.traders["alice"].wedged = True
    with pytest.raises(OtodError) as caught:
        await ask("trading.stop", user="alice")
    assert caught.value.code == "TIMEOUT"
    assert "actor.restart" in caught.value.do
    assert (await ask("trading.status", user="alice"))["users"]["alice"]["phase"] == "partially_filled"


async def test_a_stuck_trader_is_said_to_be_stuck(ask, office, autojump_clock):
    office.traders["alice"].wedged = True
    office.root = node("", kind="group", children=(node("traders/alice", state="stuck"),))
    with pytest.raises(OtodError) as caught:
        await ask("trading.pause", user="alice")
    assert caught.value.code == "STUCK"


async def test_stop_now_asks_the_trader_first(ask, office):
    assert (await ask("trading.stop", user="alice", now=True))["users"]["alice"]["wanted"] == "stopped"
    assert office.traders["alice"].asked == [StopTrading("1000:7", now=True)]
    assert office.forced == []


@pytest.mark.parametrize("trouble", ["wedged", "absent"])
async def test_stop_now_works_without_the_trader(ask, office, autojump_clock, trouble):
    if trouble == "wedged":
        office.traders["alice"].wedged = True
    else:
        office.traders["alice"] = None
    assert (await ask("trading.stop", user="alice", now=True))["users"]["alice"]["wanted"] == "stopped"
    assert office.forced == [("alice", "1000:7")]


async def test_a_trader_that_is_not_running_is_refused_with_what_to_do(ask, office):
    office.traders["alice"] = None
    with pytest.raises(Refusal) as caught:
        await ask("trading.pause", user="alice")
    assert "actor.restart traders/alice" in caught.value.do


async def test_deadlines_stay_real_when_the_clock_is_fast(office, autojump_clock):
    office.traders["alice"].wedged = True
    began = autojump_clock.current_time()
    bus = EventBus(FixedWall(), boot="b")
    with pytest.raises(OtodError):
        await perform(office, bus, "trading.pause", {"user": "alice"}, who="1:1", log=QuietLog(), rate=20.0)
    assert autojump_clock.current_time() - began == pytest.approx(5 * 20)


async def test_before_its_first_snapshot_a_user_shows_what_the_store_knows(ask, office):
    del office.snapshots["alice"]
    told = (await ask("trading.status", user="alice"))["users"]["alice"]
    assert (told["wanted"], told["phase"], told["pair"]) == ("running", "reconciling", None)
    assert told["waiting"]["for"] == "actor_restart"
    why = (await ask("trading.why", user="alice"))["users"]["alice"]
    assert "its trader has not told anything yet" in why["because"]
    assert (await ask("user.show", user="alice"))["users"]["alice"]["phase"] == "reconciling"


async def test_waiting_tells_what_for_and_since_when(ask, office):
    waiting = Waiting(wait="self_trade", since_ms=TEN_MS, detail="bob sells at 48")
    office.snapshots["alice"] = snapshot(phase="idle", pair=None, waiting=waiting)
    told = (await ask("trading.status", user="alice"))["users"]["alice"]
    assert told["waiting"] == {"for": "self_trade", "since": TEN, "detail": "bob sells at 48"}


async def test_target_points_are_told(ask, office):
    progress = replace(office.snapshots["alice"].progress, target_points=9, target=D(512))
    office.snapshots["alice"] = snapshot(progress=progress)
    assert (await ask("trading.status", user="alice"))["users"]["alice"]["progress"]["target_points"] == 9
    assert (await ask("stats.progress", user="alice"))["users"]["alice"]["target_points"] == 9


async def test_cancelling_a_pair_reaches_the_trader(ask, office):
    told = await ask("pair.cancel", user="alice", pair_id=PAIR_ID)
    assert told["users"]["alice"]["phase"] == "cancelling"
    assert office.traders["alice"].asked == [CancelPair(PAIR_ID, "1000:7")]
    with pytest.raises(Refusal) as caught:
        await ask("pair.cancel", user="alice", pair_id="alice-2026-11-20-8")
    assert caught.value.code == "PAIR_UNKNOWN"


# -- users, lists, statistics


async def test_users_are_listed_in_pages(ask):
    page = await ask("user.list", limit=2, page=2)
    assert (page["total"], page["page"], page["limit"]) == (3, 2, 2)
    assert page["items"] == [
        {
            "user": "carol",
            "display_name": "Carol",
            "email": "",
            "token": "KOGE",
            "wanted": "running",
            "phase": "partially_filled",
            "credentials": "valid",
            "revision": 1,
        }
    ]


async def test_no_secret_leaves_with_a_user(ask):
    assert "secret" not in json.dumps(await ask("user.show", all=True))


async def test_list_filters_reach_the_store(ask, office):
    await ask("orders.list", user="alice", status="FILLED", since="2026-11-20", until=TEN, page=2, limit=5)
    await ask("pairs.list", user="bob", status="closed")
    assert office.store.asked == [
        ListOrders(
            user="alice", status="FILLED", since_ms=1_795_132_800_000, until_ms=TEN_MS, page=2, limit=5
        ),
        ListPairs(user="bob", status="closed"),
    ]  # fmt: skip


async def test_pairs_show_their_wear_and_times(ask):
    item = (await ask("pairs.list", user="alice"))["users"]["alice"]["items"][0]
    assert item["pair_id"] == PAIR_ID
    assert (item["outcome"], item["wear"], item["wear_bps"]) == ("completed", "0.02", "4")
    assert item["closed_at"] == "2026-11-20T10:00:00.900Z"


async def test_progress_of_another_day_comes_from_the_store(ask, office):
    told = (await ask("stats.progress", user="alice", since="2026-11-19T12:00:00Z"))["users"]["alice"]
    assert (told["day"], told["volume"], told["target"], told["points"]) == ("2026-11-19", "510", "500", 8)
    assert (told["percent"], told["wear_bps"], told["pairs_to_go"]) == ("102", "4", None)
    assert told["wear_parts"] == {"fee": "0.1", "spread": "0.05", "slippage": "-0.01", "unwind": "0", "dust": "0.06"}
    day_ms = 86_400_000
    start_ms = TEN_MS // day_ms * day_ms - day_ms
    assert office.store.asked == [Statistics(user="alice", since_ms=start_ms, until_ms=start_ms + day_ms)]


async def test_progress_of_a_day_without_records_is_nothing(ask, office, monkeypatch):
    monkeypatch.setattr("tests.control.daemon.STATISTICS", replace(STATISTICS, days=()))
    told = (await ask("stats.progress", user="alice", since="2026-11-18"))["users"]["alice"]
    assert (told["day"], told["volume"], told["target"], told["percent"]) == ("2026-11-18", "0", None, None)


async def test_statistics_tell_all_that_the_requirements_name(ask):
    told = (await ask("stats.show", user="alice", since="2026-11-19"))["users"]["alice"]
    assert (told["since"], told["until"]) == ("2026-11-19T00:00:00.000Z", None)
    assert (told["volume"], told["counted_volume"], told["sold"], told["trades"]) == ("480.5", "961", "431", 19)
    assert (told["average_buy_price"], told["average_sell_price"]) == ("48.05", "47.88888889")
    assert (told["orders"], told["pairs"]) == ({"FILLED": 19, "NEW": 1}, {"completed": 9, "live": 1})
    assert (told["wear"], told["wear_bps"], told["wear_parts"]["spread"]) == ("0.09", "2", "0.05")
    assert told["pair_s"] == {"mean": 2.5, "median": 2.0, "most": 5.0}
    assert (told["points_today"], told["points_15_days"]) == (9, 17)
    assert told["days"][0]["done_at"] == "2026-11-19T17:20:00.000Z"
    assert told["today"]["pairs_to_go"] == 4
    assert (told["fees"], told["last_trade_at"]) == ({"USDT": "0.04"}, "2026-11-20T10:00:00.000Z")


async def test_prices_of_several_tokens_are_told_apart(ask, monkeypatch):
    koge = OfToken(token="KOGE", bought=Traded(fills=1, quantity=D(2), quote=D(96)), sold=Traded())
    cheap = OfToken(token="CHEAP", bought=Traded(fills=1, quantity=D(1000), quote=D("0.5")), sold=Traded())
    monkeypatch.setattr("tests.control.daemon.STATISTICS", replace(STATISTICS, by_token=(cheap, koge)))
    told = (await ask("stats.show", user="alice"))["users"]["alice"]
    assert (told["average_buy_price"], told["average_sell_price"]) == (None, None)
    assert told["tokens"] == {
        "CHEAP": {"volume": "0.5", "sold": "0", "trades": 1, "average_buy_price": "0.0005", "average_sell_price": None},
        "KOGE": {"volume": "96", "sold": "0", "trades": 1, "average_buy_price": "48", "average_sell_price": None},
    }


async def test_a_pair_is_shown_as_a_line_of_time(ask):
    told = (await ask("pair.show", user="alice", pair_id=PAIR_ID))["users"]["alice"]["timeline"]
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)
    assert {event["kind"] for event in told} == {"order", "fill", "state"}
    assert "idle -> placing by Begin" in [event["what"] for event in told]


async def test_wear_of_nothing_has_no_bps(ask, office):
    progress = replace(office.snapshots["alice"].progress, volume=D(0), closed_volume=None, wear=D(0))
    office.snapshots["alice"] = snapshot(progress=progress)
    assert (await ask("stats.progress", user="alice"))["users"]["alice"]["wear_bps"] is None


# -- prices


async def test_an_unknown_token_is_refused_with_those_in_use(ask):
    with pytest.raises(TokenError) as caught:
        await ask("price.show", token="KOGEE")
    assert (caught.value.code, caught.value.do) == ("TOKEN_UNKNOWN", "did you mean KOGE?")


async def test_an_ambiguous_token_keeps_its_own_words(ask, office):
    async def ambiguous(question, *, within_s=None):
        raise TokenError("KO is two tokens", code="TOKEN_AMBIGUOUS", do="name ALPHA_1 or ALPHA_2")

    office.tokens.ask = ambiguous
    with pytest.raises(TokenError) as caught:
        await ask("price.show", token="KO")
    assert (caught.value.code, caught.value.do) == ("TOKEN_AMBIGUOUS", "name ALPHA_1 or ALPHA_2")


async def test_a_token_nobody_trades_has_no_price(ask):
    with pytest.raises(Refusal) as caught:
        await ask("price.show", token="AIOT")
    assert caught.value.code == "REFUSED"
    assert "while a user trades its token" in caught.value.do


async def test_a_feed_without_a_price_yet_says_so(ask, office):
    office.feeds["AIOT"] = (FEED, None)
    with pytest.raises(Refusal, match="no price of AIOT has arrived yet"):
        await ask("price.show", token="AIOT")


# -- the system


async def test_system_status_counts_users_actors_and_events(ask, office):
    office.snapshots["bob"] = snapshot("bob", pauses=(Pause(reason="OPERATOR", since_ms=TEN_MS, detail=""),))
    office.snapshots["carol"] = snapshot("carol", phase="done")
    office.names += ["dave", "eve"]
    office.snapshots["eve"] = snapshot("eve", wanted="stopped", phase="idle")
    told = await ask("system.status")
    assert told["users"] == {"total": 5, "trading": 1, "done": 1, "paused": 1, "stopped": 1, "starting": 1, "new": 0}
    assert told["actors"] == {"total": 5, "restarts": 0, "parked": [], "stuck": []}
    assert (told["boot"], told["mode"], told["version"], told["uptime_s"]) == ("b00t", "paper", "0.1.0", 61.2)
    assert [price["token"] for price in told["prices"]] == ["KOGE"]


async def test_health_is_told_with_its_problems(ask, office):
    assert await ask("system.health") == {"healthy": True, "checked_at": TEN, "problems": []}
    office.root = node("", kind="group", children=(node("store", state="stuck"),))
    told = await ask("system.health")
    assert not told["healthy"]
    assert told["problems"][0]["where"] == "store"


async def test_a_crash_and_a_wait_are_told_in_the_tree(ask, office):
    crash = Crash(at_ms=TEN_MS, type="ValueError", message="boom", place="actors/trader.py:1 run")
    office.root = node(
        "",
        kind="group",
        children=(node("store", last_crash=crash, waiting_for="its turn", uptime_s=None, mailbox=None),),
    )
    child = (await ask("system.tree"))["children"][0]
    assert child["last_crash"] == {
        "at": TEN,
        "type": "ValueError",
        "message": "boom",
        "place": "actors/trader.py:1 run",
    }
    assert (child["waiting_for"], child["uptime_s"], child["mailbox"]) == ("its turn", None, None)


async def test_version_and_commands_tell_of_themselves(ask):
    version = await ask("system.version")
    assert (version["name"], version["protocol"], version["mode"]) == ("otod", 1, "paper")
    commands = {each["cmd"]: each for each in (await ask("system.commands"))["commands"]}
    stop = commands["trading.stop"]
    assert stop["acts"]
    assert [arg["name"] for arg in stop["args"]] == ["user", "users", "all", "now"]
    assert stop["example"]["cmd"] == "trading.stop"
    assert commands["pairs.list"]["args"][3]["choices"][-1] == "closed"
    assert commands["user.list"]["args"][0]["most"] == 1_000_000


async def test_an_actor_is_restarted_by_its_path(ask, office):
    assert await ask("actor.restart", path="traders/bob") == {
        "path": "traders/bob",
        "state": "running",
        "incarnation": 1,
    }
    assert office.restarted == ["traders/bob"]


async def test_an_actor_that_is_gone_after_its_restart_is_stopped(ask, office):
    restart = office.restart

    async def for_good(path):
        office.root = node("", kind="group")
        return await restart(path)

    office.restart = for_good
    assert (await ask("actor.restart", path="store"))["state"] == "stopped"


@pytest.mark.parametrize(("did", "code"), [("failed", "REFUSED"), ("stuck", "STUCK"), ("overruled", "REFUSED")])
async def test_a_restart_that_comes_to_nothing_is_refused(ask, office, did, code):
    office.did = did
    with pytest.raises(Refusal) as caught:
        await ask("actor.restart", path="traders/bob")
    assert (caught.value.code, caught.value.where) == (code, "traders/bob")


async def test_resuming_a_trader_that_was_given_up_brings_it_back(ask, office):
    office.parked = {"alice"}
    await ask("trading.resume", user="alice")
    assert (office.brought_back, office.traders["alice"].asked) == (["alice"], [ResumeTrading("1000:7")])


@pytest.mark.parametrize(("cmd", "more"), [("start", {}), ("pause", {})])
async def test_of_a_trader_that_was_given_up_only_a_resume_or_a_stop_is_wanted(ask, office, cmd, more):
    office.parked = {"alice"}
    with pytest.raises(Refusal) as caught:
        await ask(f"trading.{cmd}", user="alice", **more)
    assert caught.value.code == "PAUSED"
    assert "trading resume alice" in caught.value.do
    assert (office.brought_back, office.traders["alice"].asked) == ([], [])


@pytest.mark.parametrize("now", [False, True])
async def test_stopping_a_trader_that_was_given_up_is_durable_and_ends_what_lives(ask, office, now):
    office.parked = {"alice"}
    assert (await ask("trading.stop", user="alice", now=now))["users"]["alice"]["wanted"] == "stopped"
    assert (office.forced, office.forced_now) == ([("alice", "1000:7")], now)


async def test_an_unknown_actor_is_refused_with_the_nearest(ask):
    with pytest.raises(Refusal) as caught:
        await ask("actor.restart", path="trader/bob")
    assert (caught.value.code, caught.value.do) == ("BAD_ARGUMENT", "did you mean traders/bob?")


# -- mistakes of our own


async def test_a_bug_in_one_command_is_internal_and_logged(ask, office, log):
    office.tree = lambda: 1 / 0
    with pytest.raises(OtodError) as caught:
        await ask("system.tree")
    assert caught.value.code == "INTERNAL"
    assert [(level, event) for level, event, _ in log.lines] == [("error", "command_failed")]


async def test_a_bug_for_one_user_costs_that_user(ask, office, log):
    office.snapshots["bob"] = None  # counts as no snapshot: the record is asked ...
    office.user_record = None  # ... and cannot be
    users = (await ask("trading.status", all=True))["users"]
    assert users["bob"]["error"]["code"] == "INTERNAL"
    assert users["alice"]["wanted"] == "running"
    assert log.lines[0][2]["user"] == "bob"

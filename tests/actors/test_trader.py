"""The trader's loop, message by message: orders of news in which two truths meet."""

from __future__ import annotations

from decimal import Decimal

import pytest
import trio
from msgspec.structs import replace

from actors import desk
from actors.book import PAST_MAX
from actors.domain import gate, oto
from actors.domain.orders import Accepted, Execution, NoAnswer, OrderReport, OrderView, Refused
from actors.domain.pair import new_pair
from actors.known import FOREIGN_MAX, LOADED_MS, Known
from actors.messages import (
    Configure,
    Granted,
    JudgeTwins,
    Over,
    PauseTrading,
    Resting,
    ResumeTrading,
    StartTrading,
    StopTrading,
)
from actors.rows import FillRow, OrderRow
from tests.actors.fakes import EPOCH_MS, market
from tests.actors.traderkit import CONFIG, Kit, quote, record

D = Decimal
JOINED = Resting("alice", ())


@pytest.fixture
async def kit():
    kit = Kit()
    kit.ready()
    kit.funded()
    return kit


def view(order_id="900", **changes):
    made = OrderView(
        symbol="ALPHA_22USDT", order_id=order_id, list_id=None, position=None, side="SELL", status="NEW", price=D(50),
        quantity=D(1), executed=D(0), executed_quote=D(0), created_ms=EPOCH_MS, updated_ms=EPOCH_MS,
    )  # fmt: skip
    return replace(made, **changes)


def report(order_id, **changes):
    made = OrderReport(
        symbol="ALPHA_22USDT", order_id=order_id, list_id="1", position="working", side="BUY", price=D(48),
        quantity=D(1), cumulative=D(0), cumulative_quote=D(0), kind="NEW", status="NEW", created_ms=EPOCH_MS,
        time_ms=EPOCH_MS, sent_ms=EPOCH_MS, event_id="1", execution=None,
    )  # fmt: skip
    return replace(made, **changes)


async def test_a_permitted_pair_is_placed_when_its_intent_is_durable(kit, autojump_clock):
    plan = kit.permitted()
    assert kit.spawned("place") == []
    rows = kit.acked()
    assert [row.pair_id for row in rows if type(row).__name__ == "PairRow"] == [plan.pair_id]
    assert len(kit.spawned("place")) == 1


async def test_a_plan_that_the_market_has_left_behind_is_not_placed(kit, autojump_clock):
    _, plan = kit.spawned("permit")[-1]
    kit.link().quotes.publish(quote("47"))
    kit.say(desk.Permitted(plan, Granted()))
    assert kit.book.live == {}
    assert kit.link().address.posted == [JOINED, Over("alice", plan.pair_id)]
    assert kit.spawned("permit")[-1][1].reference == D(47), "it asks again, with the price of now"


async def test_a_plan_of_the_token_before_is_not_placed_on_the_new_one(kit, autojump_clock):
    _, plan = kit.spawned("permit")[-1]
    kit.ask(Configure(replace(CONFIG, token="LUMI"), 2, "op"))
    kit.say(desk.Resolved("LUMI", market("ALPHA_23", "LUMI")))
    kit.feeds.links["ALPHA_23USDT"].quotes.publish(quote("0.01", "ALPHA_23USDT"))
    kit.funded()
    kit.say(desk.Permitted(plan, Granted()))
    assert kit.book.live == {}
    assert Over("alice", plan.pair_id) in kit.link("ALPHA_22USDT").address.posted, "the feed that noted it is told"


async def test_no_order_leaves_once_its_user_is_paused(kit, autojump_clock):
    plan = kit.permitted()
    kit.ask(PauseTrading("op", ""))
    kit.acked()
    assert kit.spawned("place") == []
    assert kit.book.live == {}
    assert Over("alice", plan.pair_id) in kit.link().address.posted


async def test_no_order_leaves_once_its_user_is_stopped(kit, autojump_clock):
    kit.permitted()
    kit.ask(StopTrading("op"))
    kit.acked()
    assert (kit.spawned("place"), kit.book.live) == ([], {})


async def test_no_order_leaves_whose_intent_was_long_in_becoming_durable(autojump_clock):
    kit = Kit()
    kit.ready()
    kit.funded()
    kit.permitted()
    await trio.sleep(11)
    kit.say(desk.Woke())
    assert [*kit.book.pauses] == ["STORE_UNAVAILABLE"]
    kit.acked()
    assert (kit.spawned("place"), kit.book.live) == ([], {})


async def test_a_resumed_user_has_his_balance_read_anew(autojump_clock):
    kit = Kit()
    kit.ready()
    kit.funded(1)
    kit.acked()
    await trio.sleep(11)
    kit.say(desk.Woke())
    kit.funded(1)
    assert [*kit.book.pauses] == ["INSUFFICIENT_BALANCE"]
    reply = kit.ask(ResumeTrading("op"))
    kit.link().quotes.publish(quote())
    kit.looked()
    kit.acked()
    assert reply.error is None
    kit.funded(10_000)
    assert [*kit.book.pauses] == []
    assert kit.spawned("permit")


async def test_what_the_look_of_a_resume_finds_is_not_lifted_by_it(kit, autojump_clock):
    kit.ask(PauseTrading("op", ""))
    reply = kit.ask(ResumeTrading("op"))
    kit.looked(view())
    kit.acked()
    assert "EXTERNAL_ORDER" in kit.book.pauses
    assert reply.value is not None
    assert "OPERATOR" not in kit.book.pauses


async def test_a_second_foreign_order_pauses_again_after_the_first_was_resumed(kit, autojump_clock):
    kit.looked(view("900"))
    kit.ask(ResumeTrading("op"))
    kit.looked(view("900"), view("901"))
    assert "901" in kit.book.pauses["EXTERNAL_ORDER"].detail


async def test_a_pause_that_came_after_the_resume_was_asked_for_stays(kit, autojump_clock):
    kit.ask(PauseTrading("op", ""))
    reply = kit.ask(ResumeTrading("op"))
    kit.say(desk.Broken("LEDGER_MISMATCH", "sums differ"))
    kit.looked()
    kit.acked()
    assert "LEDGER_MISMATCH" in kit.book.pauses
    assert "LEDGER_MISMATCH" in str(reply.error)


async def test_a_look_that_closes_a_pair_with_a_full_memory_harms_nobody(kit, autojump_clock):
    plan = kit.permitted()
    kit.acked()
    kit.say(desk.PairNews(plan.pair_id, oto.PlaceEnded(Accepted(order_ids=("1", "2")))))
    rules = kit.book.live[plan.pair_id].live.pair.rules
    for number in range(PAST_MAX):
        other = new_pair(replace(plan, pair_id=f"old-{number}"), rules)
        kit.book._past[f"old-{number}"] = oto.Closed(pair=other, outcome="cancelled")
    dead = {"position": None, "list_id": "7", "status": "CANCELED", "quantity": plan.quantity}
    kit.trader.outlook.want_look()
    kit.looked(
        view("1", side="BUY", price=plan.buy_price, **dead),
        view("2", side="SELL", price=plan.sell_price, **{**dead, "quantity": D(0)}),
    )
    assert kit.book.live == {}
    assert len(kit.book._past) == PAST_MAX
    assert plan.pair_id in kit.book._past


async def test_a_report_of_a_forgotten_pair_is_not_of_somebody_else(kit, autojump_clock):
    kit.book.known._owners["ALPHA_22USDT", "77"] = ("alice-2026-09-21-1", EPOCH_MS)
    kit.say(desk.Heard(report("77")))
    assert [*kit.book.pauses] == []
    assert [row for row in kit.acked() if isinstance(row, OrderRow)] == []


async def test_reports_before_the_open_pairs_are_known_are_left_to_the_look(kit, autojump_clock):
    plan = kit.permitted()
    rows = [row for row in kit.acked() if type(row).__name__ == "PairRow"]
    later = Kit(open_pairs=(rows[-1],), day=replace(record().day, last_number=1))
    later.say(desk.Resolved("KOGE", market()))
    later.say(desk.StreamUp())
    later.say(desk.Heard(report("1", price=plan.buy_price, quantity=plan.quantity)))
    assert [*later.book.pauses] == []
    assert [row for row in later.acked() if isinstance(row, OrderRow)] == []


async def test_a_pair_of_the_token_before_is_followed_on_its_own_feed_after_a_restart(kit, autojump_clock):
    kit.permitted()
    rows = [row for row in kit.acked() if type(row).__name__ == "PairRow"]
    changed = replace(record().record, config=replace(CONFIG, token="LUMI"))
    later = Kit(open_pairs=(rows[-1],), record=changed)
    later.say(desk.Resolved("LUMI", market("ALPHA_23", "LUMI")))
    later.say(desk.Resolved("ALPHA_22", market()))
    later.say(desk.Woke())
    assert later.trader.markets.link is later.feeds.links["ALPHA_22USDT"]


async def test_a_permit_without_an_answer_is_taken_back(kit, autojump_clock):
    _, plan = kit.spawned("permit")[-1]
    kit.say(desk.PermitFailed("no answer", plan.pair_id))
    assert kit.link().address.posted == [JOINED, Over("alice", plan.pair_id)]


async def test_a_sale_permitted_too_late_is_taken_back(kit, autojump_clock):
    kit.say(desk.SalePermitted("alice-2026-09-20-3", oto.Priced(D(48)), Granted()))
    assert Over("alice", "alice-2026-09-20-3") in kit.link().address.posted


async def test_what_falls_due_while_a_turn_runs_rings_at_once(kit, autojump_clock, monkeypatch):
    kit.permitted()
    kit.acked()
    trader, real = kit.trader, kit.trader.now
    moments = iter(range(1000))
    monkeypatch.setattr(trader, "now", lambda: replace(real(), mono_ms=real().mono_ms + next(moments)))
    trader.outlook.retry_due = real().mono_ms + 2
    trader.after()
    assert trader._alarm_scope.deadline <= trio.current_time() + 0.1


async def test_the_price_of_another_token_is_no_price(kit, autojump_clock):
    facts = kit.trader.facts()
    other = replace(facts, quote=quote("48", "ALPHA_23USDT"))
    assert isinstance(gate.decide(other), gate.Wait)


async def test_an_intent_that_the_store_refuses_leaves_no_pair(kit, autojump_clock):
    plan = kit.permitted()
    kit.trader.tasks._rows.clear()
    kit.say(desk.RowsRefused("bad row", (desk.PairNews(plan.pair_id, oto.Durable("intent")),)))
    assert [*kit.book.pauses] == ["STORE_UNAVAILABLE"]
    assert (kit.spawned("place"), kit.book.live) == ([], {})


async def test_a_command_whose_rows_are_refused_is_refused(kit, autojump_clock):
    reply = kit.ask(PauseTrading("op", ""))
    (_, then) = kit.trader.tasks._rows[-1]
    kit.say(desk.RowsRefused("bad row", then))
    assert "bad row" in str(reply.error)


async def test_start_asks_for_a_new_look(kit, autojump_clock):
    kit.ask(StopTrading("op"))
    kit.acked()
    kit.ask(StartTrading("op"))
    assert kit.trader.outlook.reconciled is False


async def test_stop_now_reaches_a_pair_that_is_found_after_it(kit, autojump_clock):
    kit.permitted()
    rows = [row for row in kit.acked() if type(row).__name__ == "PairRow"]
    later = Kit(open_pairs=(rows[-1],))
    later.ask(StopTrading("op", now=True))
    later.say(desk.Resolved("KOGE", market()))
    later.say(desk.Resolved("ALPHA_22", market()))
    (state,) = later.book.live.values()
    assert state.live.pair.cancel_cause == "stop"


async def test_fills_of_the_token_before_count_as_that_token_counts(kit, autojump_clock):
    plan = kit.permitted()
    kit.acked()
    kit.say(desk.PairNews(plan.pair_id, oto.PlaceEnded(Accepted(order_ids=("1", "2")))))
    kit.ask(Configure(replace(CONFIG, token="LUMI"), 2, "op"))
    other = market("ALPHA_23", "LUMI")
    kit.say(desk.Resolved("LUMI", replace(other, token=replace(other.token, mul_point=4))))
    kit.acked()
    fill = Execution(
        fill_id="5", trade_id="5", price=plan.buy_price, quantity=D("0.5"), quote=plan.buy_price / 2, commission=D(0),
        commission_asset="ALPHA_22", time_ms=EPOCH_MS, source="stream",
    )  # fmt: skip
    told = {"cumulative": D("0.5"), "cumulative_quote": fill.quote, "kind": "TRADE", "status": "PARTIALLY_FILLED"}
    of = {"price": plan.buy_price, "quantity": plan.quantity, "execution": fill}
    kit.say(desk.Heard(report("1", **told, **of)))
    (row,) = [row for row in kit.acked() if isinstance(row, FillRow)]
    assert (row.token, row.mul_point) == ("KOGE", 1)


async def test_a_foreign_order_that_the_stream_tells_pauses_at_once_and_once(kit, autojump_clock):
    born = kit.book.born_ms
    kit.say(desk.Heard(report("900", created_ms=born, list_id=None, position=None)))
    assert "EXTERNAL_ORDER" in kit.book.pauses
    kit.ask(ResumeTrading("op"))
    kit.looked()
    kit.say(desk.Heard(report("900", created_ms=born, list_id=None, position=None)))
    assert [*kit.book.pauses] == []


async def test_old_frames_of_a_foreign_order_that_is_over_pause_nobody(kit, autojump_clock):
    old = kit.book.born_ms - 60_000
    looks = len(kit.spawned("survey"))
    kit.say(desk.Heard(report("900", created_ms=old, list_id=None, position=None)))
    kit.looked(view("900", status="CANCELED", created_ms=old))
    assert [*kit.book.pauses] == []
    assert len(kit.spawned("survey")) == looks + 1, "a look has judged it"


async def test_news_of_a_pair_that_is_forgotten_harm_nobody(kit, autojump_clock):
    kit.say(desk.PairNews("alice-2026-09-21-1", oto.ExecutionsRead("77", ())))
    assert kit.book.live == {}


async def test_a_pause_that_is_asked_for_again_while_a_resume_is_under_way_is_not_lifted_by_it(kit, autojump_clock):
    kit.ask(PauseTrading("op", "first"))
    kit.acked()
    resumed = kit.ask(ResumeTrading("op"))
    kit.ask(PauseTrading("other", "second"))
    kit.looked()
    kit.acked()
    assert [*kit.book.pauses] == ["OPERATOR"]
    assert "still there" in str(resumed.error)


async def test_a_target_that_is_raised_is_not_reached_any_more_and_is_dated_anew(kit, autojump_clock):
    kit.book.done(EPOCH_MS)
    kit.acked()
    kit.ask(Configure(replace(CONFIG, target_volume=D(900)), 2, "op"))
    rows = [row for row in kit.acked() if type(row).__name__ == "UserDayRow"]
    assert [row.done_at for row in rows] == [None]
    kit.book.done(EPOCH_MS + 5)
    assert kit.book.day.done_ms == EPOCH_MS + 5


async def test_nothing_begins_from_the_moment_at_which_the_daemon_is_to_stop(autojump_clock):
    kit = Kit(draining=lambda: True)
    kit.ready()
    kit.funded()
    assert kit.spawned("permit") == []


def test_own_orders_that_were_forgotten_are_nobodys():
    known = Known([("S", "1", "alice-1")], EPOCH_MS)
    old = EPOCH_MS - LOADED_MS - 1
    over = [view(order_id="2", status="FILLED", created_ms=old), view(order_id="3", status="FILLED")]
    assert [found.order_id for found, _ in known.foreign([*over, view(order_id="4", created_ms=old)])] == ["3", "4"]
    assert known.foreign(over) == [], "each status of an order is told once"


def test_f15_late_frames_take_no_foreign_order_back():
    known = Known([], EPOCH_MS)
    told = [
        known.tidings(view(order_id="1", status=status, executed=D(executed)))
        for status, executed in (
            ("NEW", 0), ("NEW", 0), ("PARTIALLY_FILLED", 1), ("PARTIALLY_FILLED", 2), ("PARTIALLY_FILLED", 1),
            ("NEW", 0), ("CANCELED", 2), ("PARTIALLY_FILLED", 2), ("FILLED", 5), ("CANCELED", 2), ("FILLED", 5),
        )
    ]  # fmt: skip
    status, more = "another status", "more executed"
    assert told == [status, None, status, more, None, None, status, None, status, None, None]


def test_what_is_told_of_others_is_bounded():
    known = Known([], EPOCH_MS)
    for number in range(FOREIGN_MAX + 10):
        assert known.tidings(view(order_id=str(number)))
    assert known.tidings(view(order_id="1")), "forgotten"
    assert not known.tidings(view(order_id=str(FOREIGN_MAX)))


async def test_a_trader_that_joins_a_feed_says_what_of_it_may_rest(autojump_clock):
    """What an earlier incarnation was permitted and never began is over then (F46)."""
    kit = Kit()
    kit.ready()
    kit.funded()
    assert kit.link().address.posted == [JOINED]


async def test_a_ghost_of_the_token_before_gets_the_feed_that_its_sale_needs(kit, autojump_clock):
    plan = kit.permitted()
    kit.acked()
    kit.say(desk.PairNews(plan.pair_id, oto.PlaceEnded(Refused("481004", "no"))))
    kit.ask(Configure(replace(CONFIG, token="LUMI"), 2, "op"))
    kit.say(desk.Resolved("LUMI", market("ALPHA_23", "LUMI")))
    assert kit.trader.markets.link is kit.link("ALPHA_23USDT")
    ghost = report("77", price=plan.buy_price, quantity=plan.quantity, created_ms=plan.intent_ms)
    kit.say(desk.Heard(ghost))
    assert [*kit.book.live] == [plan.pair_id]
    assert kit.trader.markets.link is kit.link("ALPHA_22USDT")
    (told,) = [said for said in kit.link().address.posted if isinstance(said, Resting) and said.pairs]
    assert [pair.pair_id for pair in told.pairs] == [plan.pair_id]


async def test_f78_an_operator_says_which_of_twins_is_the_pairs(kit, autojump_clock):
    plan = kit.permitted()
    kit.acked()
    kit.say(desk.PairNews(plan.pair_id, oto.PlaceEnded(NoAnswer("no_reply", "timed out"))))
    alike = [
        view(
            order_id=order_id, list_id=order_id, side="BUY", position="working", price=plan.buy_price,
            quantity=plan.quantity, created_ms=plan.intent_ms,
        )
        for order_id in ("77", "78")
    ]  # fmt: skip
    refused = kit.ask(JudgeTwins(plan.pair_id, "77", "op"))
    assert "has no" in str(refused.error)
    kit.looked(*alike)
    assert [*kit.book.pauses] == ["ORDER_UNRESOLVED"]
    refused = kit.ask(JudgeTwins(plan.pair_id, "99", "op"))
    assert "77, 78" in str(refused.error)
    told = kit.ask(JudgeTwins(plan.pair_id, "78", "op"))
    rows = kit.acked()
    assert told.value is not None
    assert kit.book.live[plan.pair_id].live.pair.working.order_id == "78"
    assert [row.action for row in rows if type(row).__name__ == "AuditRow"][-1] == "pair.adopt"

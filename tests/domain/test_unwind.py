"""Unwinding: the ladder to the floor, sales by intent and proof, and never more than the pair's own (design § 4)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.domain import oto, unwind
from actors.domain.orders import Accepted, NoAnswer, Refused
from actors.errors import IllegalEvent
from tests.domain.cells import (
    DEAD_PART,
    DEAD_PENDING,
    NO_ANSWER,
    SALE,
    cancelling,
    unwinding,
    unwinding_air,
    unwinding_cancelling,
    unwinding_intent,
    unwinding_open,
    unwinding_unresolved,
)
from tests.domain.pairkit import (
    ALL_SOLD,
    BOUGHT,
    FILLED,
    MARKET,
    MONO_MS,
    PART_SOLD,
    PENDING,
    RELEASED,
    SOLD_1,
    SOLD_2,
    WALL_MS,
    D,
    accepted,
    at,
    execution,
    part,
    recovered,
    report,
    rules,
    sale_report,
    sale_view,
    selling,
    view,
)

DOWN = D("0.22")  # a market far below the average buy price of 0.2269…
FLOOR = D("0.22236660")  # 2 % below the average buy price, up to the tick
LEFT = "869.473044"


def offered(story, price=MARKET, order_id=SALE):
    """One sale from its price to its rest in the book."""
    number = len(story.pair.sales) + 1
    story.tell(oto.Priced(price)).tell(oto.Durable(f"sale:{number}"))
    return story.tell(oto.SaleEnded(number, Accepted((order_id,))))


def withdrawn(story, sold=None):
    """The resting sale leaves its rung, after it sold so much."""
    story.wait(5_000)
    order_id = story.wished(oto.CancelOrder)[0].order_id
    sale = story.pair.sales[-1].leg
    story.tell(oto.CancelEnded(order_id, Accepted()))
    return story.tell(sale_report(order_id, sale.quantity, sale.price, "CANCELED"))


# -- the ladder


def test_a_sale_is_durable_before_it_leaves_and_leaves_once():
    story = unwinding_intent()
    assert story.last == [oto.Persist("sale:1")]
    assert story.tell(oto.Durable("sale:1")).last == [oto.PlaceSale(1)]
    with pytest.raises(IllegalEvent):
        story.tell(oto.Durable("sale:1"))


def test_the_pairs_own_leftover_is_offered_at_the_market():
    sale = unwinding_intent().pair.sales[0].leg
    assert (sale.side, sale.quantity, sale.price) == ("SELL", RELEASED, MARKET)


def test_what_the_pending_leg_sold_is_not_offered_again():
    dead = report("pending", "CANCELED", upto=200, upto_quote=SOLD_1.quote)
    story = selling().tell(PART_SOLD, oto.Cancel("stop"), oto.Durable("cancel"), dead, oto.Priced(MARKET))
    assert story.pair.sales[0].leg.quantity == D("669.47")


def test_a_pair_wants_a_price_only_when_it_may_sell():
    story = unwinding()
    assert unwind.wants_price(story.state, MONO_MS + story.ms)
    assert not unwind.wants_price(unwinding_air().state, MONO_MS + story.ms)
    assert not unwind.wants_price(accepted().state, MONO_MS + story.ms)
    story.tell(PART_SOLD, report("pending", "CANCELED", upto=300, upto_quote="68.07"))
    assert not unwind.wants_price(story.state, MONO_MS + story.ms), "fills are owed: what is left is not known"
    assert story.tell(oto.Priced(MARKET)).last == []


def test_each_rung_is_a_step_below_the_market_of_its_time():
    story = unwinding()
    prices = []
    for number in range(1, 4):
        offered(story, order_id=f"10{number}")
        prices.append(story.pair.sales[-1].leg.price)
        withdrawn(story)
    assert prices == [MARKET, MARKET * D("0.999"), MARKET * D("0.998")]


def test_a_sale_rests_its_step_and_is_then_withdrawn():
    story = unwinding_open()
    assert story.wait(4_999).wished(oto.CancelOrder) == []
    assert story.wait(1).wished(oto.CancelOrder) == [oto.CancelOrder(SALE)]
    assert story.wait(60_000).wished(oto.CancelOrder) == [], "its cancel is in the air"


def test_a_rung_that_sold_a_part_offers_the_rest_on_the_next():
    story = unwinding_open().tell(
        sale_report(SALE, RELEASED, MARKET, "PARTIALLY_FILLED", fill=execution("9", "500", MARKET, side="SELL"))
    )
    story.wait(5_000).tell(oto.CancelEnded(SALE, Accepted()))
    story.tell(sale_report(SALE, RELEASED, MARKET, "CANCELED", upto=500, upto_quote="113.45"))
    assert offered(story, order_id="102").pair.sales[-1].leg.quantity == D("369.47")


def test_a_sale_that_is_filled_closes_the_pair():
    sold = execution("9", RELEASED, MARKET, side="SELL")
    story = unwinding_open().tell(sale_report(SALE, RELEASED, MARKET, "FILLED", fill=sold))
    assert (story.outcome, story.pauses()) == ("unwound", [])
    assert story.wear.dust_quantity == D("0.003044")
    assert story.wear.unwind == RELEASED * (story.pair.plan.sell_price - MARKET)


def test_a_filled_sale_below_the_rest_goes_on_from_the_same_rung():
    """The first sale was as large as the filters allow; the rest is offered at the market again."""
    filters = replace(accepted().pair.rules.instrument.filters, max_quantity=D(500))
    instrument = replace(accepted().pair.rules.instrument, filters=filters)
    story = unwinding()
    the_rules = replace(story.pair.rules, instrument=instrument)
    story.state = replace(story.state, live=replace(story.state.live, pair=replace(story.pair, rules=the_rules)))
    offered(story).tell(sale_report(SALE, 500, MARKET, "FILLED", fill=execution("9", 500, MARKET, side="SELL")))
    assert offered(story, order_id="102").pair.sales[-1].leg.price == MARKET
    assert story.pair.sales[-1].leg.quantity == D("369.47")


def test_the_floor_is_never_undercut_and_resting_there_is_the_last_try():
    story = offered(unwinding(), DOWN)
    assert story.pair.sales[0].leg.price == FLOOR
    withdrawn(story).tell(oto.Priced(DOWN))
    assert (story.outcome, story.pauses()) == ("inventory_left", ["INVENTORY_LEFT"])
    detail = story.wished(oto.AskPause)[0].detail
    assert "869.47 ALPHA_373" in detail
    assert str(FLOOR) in detail


def test_a_market_that_recovers_after_the_floor_is_sold_into():
    story = withdrawn(offered(unwinding(), DOWN))
    assert offered(story, D("0.23"), order_id="102").kind == "Unwinding"


def test_dust_is_not_offered():
    story = cancelling(part("0.3")).tell(report("working", "CANCELED", upto="0.3", upto_quote="0.06807"), DEAD_PENDING)
    assert story.outcome == "unwound", "0.29 at 0.2269 is below the minimum of 0.1 USDT"
    assert story.wear.dust_quantity == D("0.29997")


def test_what_is_dust_at_the_market_alone_is_not_offered():
    """0.45 are worth 0.102 at the reference, but the market has fallen."""
    story = accepted(the_rules=rules(config={"unwind_floor_percent": D(10)})).tell(part("0.46"))
    story.tell(report("working", "CANCELED", upto="0.46", upto_quote="0.104374"), DEAD_PENDING)
    assert story.kind == "Unwinding"
    assert story.tell(oto.Priced(D("0.2221"))).outcome == "external"
    assert story.wear.dust_quantity == D("0.459954")


# -- sales without an answer


def test_a_sale_without_an_answer_is_left_by_a_proof_only():
    story = unwinding_unresolved()
    assert story.wished(oto.TakeLook)
    for price in (MARKET, DOWN):
        assert story.tell(oto.Priced(price)).last == []
    for _ in range(4):
        assert story.pair.sales[0].state == "unresolved"
        story.look(after=7_000)
    assert story.pair.sales[0].state == "absent"
    assert offered(story, order_id="102").pair.sales[1].leg.quantity == RELEASED


@pytest.mark.parametrize("outcome", [NO_ANSWER, Accepted(()), Accepted(("1", "2"))])
def test_whatever_is_no_single_id_is_no_answer(outcome):
    assert unwinding_air().tell(oto.SaleEnded(1, outcome)).pair.sales[0].state == "unresolved"


def test_trouble_with_a_sale_pauses_as_it_deserves():
    assert unwinding_air().tell(oto.SaleEnded(1, NoAnswer("session", "login"))).pauses() == ["AUTH_FAILED"]


@pytest.mark.parametrize("source", ["stream", "open orders", "early"])
def test_a_sale_without_an_answer_is_adopted(source):
    sold = sale_report(SALE, RELEASED, MARKET)
    if source == "early":
        story = unwinding_air().tell(sold).tell(oto.SaleEnded(1, NO_ANSWER))
    elif source == "stream":
        story = unwinding_unresolved().tell(sold)
    else:
        story = unwinding_unresolved().look(sale_view(SALE, RELEASED, MARKET), after=100)
    assert (story.pair.sales[0].state, story.pair.sales[0].leg.order_id) == ("open", SALE)


def test_f78_twin_sales_are_never_chosen_between():
    twins = [sale_view(order_id, RELEASED, MARKET) for order_id in ("101", "102")]
    story = unwinding_unresolved().look(*twins, after=100)
    assert story.pauses() == ["ORDER_UNRESOLVED"]
    for _ in range(8):
        story.look(twins[0], after=7_000)
    assert story.pair.sales[0].state == "unresolved"
    story.look(*(replace(row, status="CANCELED") for row in twins), after=100)
    assert story.pair.sales[0].state == "over", "both are dead and sold nothing"
    story.look(*(replace(row, status="CANCELED") for row in twins), after=100)
    assert story.pauses() == ["ORDER_UNRESOLVED"]


def test_f67_a_sale_is_not_proven_absent_while_one_like_it_is_only_too_old():
    story = unwinding_unresolved()
    for _ in range(8):
        story.look(sale_view(SALE, RELEASED, MARKET, created_ms=WALL_MS - 3_600_000), after=7_000)
    assert (story.pair.sales[0].state, story.pauses()) == ("unresolved", ["ORDER_UNRESOLVED"])
    story.look(sale_view(SALE, RELEASED, MARKET, created_ms=WALL_MS - 3_600_000), after=7_000, skew_ms=-7_200_000)
    assert story.pair.sales[0].leg.order_id == SALE


# -- refused sales


def test_a_refused_sale_is_tried_again_because_credits_lag():
    story = unwinding_air().tell(oto.SaleEnded(1, Refused("481020", "insufficient balance")))
    assert (story.pair.sales[0].state, story.pauses()) == ("refused", [])
    assert not unwind.wants_price(story.state, MONO_MS + story.ms + 1_999)
    assert unwind.wants_price(story.state, MONO_MS + story.ms + 2_000)
    assert story.state.rung == 0


def test_a_sale_that_is_refused_again_and_again_is_left_to_a_human():
    story = unwinding()
    for number in range(1, 6):
        assert story.kind == "Unwinding"
        story.tell(oto.Priced(MARKET), oto.Durable(f"sale:{number}"))
        story.tell(oto.SaleEnded(number, Refused("481020", "insufficient balance")))
        story.ms += 2_000
    assert (story.outcome, story.pauses()) == ("inventory_left", ["INVENTORY_LEFT"])
    assert "481020: insufficient balance" in story.wished(oto.AskPause)[0].detail


def test_a_sale_that_was_never_sent_may_be_tried_for_ever():
    story = unwinding()
    for number in range(1, 20):
        story.tell(oto.Priced(MARKET), oto.Durable(f"sale:{number}"))
        story.tell(oto.SaleEnded(number, Refused("NOT_SENT", "no route", "not_sent")))
        story.ms += 2_000
    assert (story.kind, story.pauses()) == ("Unwinding", [])


def test_a_refusal_is_not_believed_when_an_order_like_the_sale_was_reported():
    story = unwinding_air().tell(sale_report(SALE, RELEASED, MARKET))
    story.tell(oto.SaleEnded(1, Refused("000002", "illegal")))
    assert (story.pair.sales[0].state, len(story.wished(oto.Alarm))) == ("open", 1)


def test_sales_that_the_book_rejects_count_as_refused():
    story = unwinding()
    for number in range(1, 6):
        offered(story, order_id=f"10{number}").tell(sale_report(f"10{number}", RELEASED, MARKET, "REJECTED"))
        for sale in story.pair.sales[-1:]:
            assert sale.state == "over"
        story.ms += 2_000
    assert (story.outcome, story.pauses()) == ("inventory_left", ["INVENTORY_LEFT"])


def test_f36_a_sale_cancelled_by_somebody_else_is_told_and_followed_by_the_next():
    story = unwinding_open().tell(sale_report(SALE, RELEASED, MARKET, "CANCELED"))
    assert (story.kind, story.pauses()) == ("Unwinding", ["EXTERNAL_ORDER"])
    assert unwind.wants_price(story.state, MONO_MS + story.ms)


# -- never more than the pair's own


def test_a_late_fill_of_the_pending_leg_takes_back_a_sale_that_has_not_left():
    story = unwinding_intent().tell(PART_SOLD, oto.Durable("sale:1"))
    assert story.wished(oto.PlaceSale, ever=True) == []
    assert offered(story, order_id="102").pair.sales[-1].leg.quantity == D("669.47")


def test_late_fills_that_leave_nothing_to_sell_close_the_pair():
    story = unwinding().tell(PART_SOLD, ALL_SOLD)
    assert story.tell(oto.Priced(MARKET)).outcome == "unwound"
    assert story.wished(oto.PlaceSale, ever=True) == []
    assert story.accounts.sold == SOLD_1.quantity + SOLD_2.quantity


def test_a_commission_paid_from_other_tokens_leaves_less_than_nothing_to_sell():
    """wire § 7.4: with free tokens in the wallet the pending leg may sell all that was bought."""
    sold = execution("1005", "869.56", MARKET, side="SELL")
    story = unwinding().tell(report("pending", "FILLED", fill=sold, quantity=D("869.56")))
    assert story.accounts.leftover < 0
    assert story.tell(oto.Priced(MARKET)).outcome == "unwound"
    assert story.pauses() == []


def test_fills_that_are_owed_take_back_a_sale_that_has_not_left():
    story = unwinding_intent().look(view("pending", "CANCELED", 200, SOLD_1.quote), after=1)
    story.tell(oto.Durable("sale:1"))
    assert story.wished(oto.PlaceSale, ever=True) == []


def test_the_next_sale_waits_for_the_fills_of_the_one_before():
    story = unwinding_cancelling().tell(oto.CancelEnded(SALE, Accepted()))
    story.look(sale_view(SALE, RELEASED, MARKET, "CANCELED", executed=500, executed_quote=D("113.45")), after=100)
    assert story.wished(oto.ReadExecutions) == [oto.ReadExecutions(SALE)]
    assert not unwind.wants_price(story.state, MONO_MS + story.ms + 60_000)
    assert story.wait(60_000).wished(oto.CancelOrder) == []
    story.read(SALE, execution("9", 500, MARKET, side="SELL"))
    assert offered(story, order_id="102").pair.sales[-1].leg.quantity == D("369.47")


def test_selling_more_than_was_bought_is_told():
    sold = execution("9", RELEASED, MARKET, side="SELL")
    story = unwinding_open().tell(PART_SOLD, sale_report(SALE, RELEASED, MARKET, "FILLED", fill=sold))
    assert story.outcome == "unwound"
    assert story.pauses() == ["LEDGER_MISMATCH"]


# -- a sale that was taken for absent (a ghost)


def ghost_story():
    """Sale 1 was proven absent; sale 2 rests."""
    story = unwinding_unresolved()
    for _ in range(4):
        story.look(after=7_000)
    return offered(story, D("0.2268"), order_id="102")


def test_a_ghost_of_a_sale_pauses_and_is_cancelled_at_once():
    story = ghost_story().tell(sale_report(SALE, RELEASED, MARKET))
    assert story.pauses() == ["ORDER_UNRESOLVED"]
    assert {effect.order_id for effect in story.wait(0).wished(oto.CancelOrder)} == {SALE, "102"}
    assert [sale.number for sale in unwind.living(story.pair)] == [1, 2]
    assert unwind.current(story.pair).number == 2


def test_a_ghost_of_a_sale_is_found_by_a_look_too_and_its_fills_are_booked():
    story = ghost_story().look(sale_view(SALE, RELEASED, MARKET, "PARTIALLY_FILLED", 100, executed_quote=D("22.69")))
    assert story.wished(oto.ReadExecutions) == [oto.ReadExecutions(SALE)]
    story.read(SALE, execution("9", 100, MARKET, side="SELL"))
    assert story.accounts.sold == 100


def test_nothing_is_offered_while_a_ghost_lives():
    story = ghost_story().tell(sale_report(SALE, RELEASED, MARKET), oto.Tick())
    story.tell(oto.CancelEnded("102", Accepted()), sale_report("102", RELEASED, D("0.2268"), "CANCELED"))
    assert not unwind.wants_price(story.state, MONO_MS + story.ms + 60_000)
    story.tell(oto.CancelEnded(SALE, Accepted()), sale_report(SALE, RELEASED, MARKET, "CANCELED"))
    assert unwind.wants_price(story.state, MONO_MS + story.ms + 60_000)


def test_the_report_of_a_sale_in_the_air_is_not_taken_for_an_earlier_one_like_it():
    """Sale 1 was refused; sale 2 is its equal, and its frame outruns its reply."""
    story = unwinding_air().tell(oto.SaleEnded(1, Refused("481020", "balance")))
    story.ms += 2_000
    born = {"created_ms": WALL_MS + story.ms}
    story.tell(oto.Priced(MARKET), oto.Durable("sale:2"), sale_report("102", RELEASED, MARKET, **born))
    assert story.pauses() == []
    story.look(sale_view("102", RELEASED, MARKET, **born)).tell(oto.SaleEnded(2, Accepted(("102",))))
    assert [sale.leg.order_id for sale in story.pair.sales] == [None, "102"]
    story.tell(sale_report("102", RELEASED, MARKET, **born)).look(sale_view("102", RELEASED, MARKET, **born))
    assert [sale.leg.order_id for sale in story.pair.sales] == [None, "102"]


# -- over a restart


def test_f53_a_sale_that_may_have_left_is_unresolved_after_a_restart():
    for before in (unwinding_intent(), unwinding_air(), unwinding_unresolved()):
        story = recovered(before.pair).look(after=10)
        assert (story.kind, story.pair.sales[0].state) == ("Unwinding", "unresolved")
        for _ in range(4):
            story.look(after=7_000)
        assert story.pair.sales[0].state == "absent"


def test_f53_a_sale_that_may_have_left_is_found_before_the_first_look_is_over():
    story = recovered(unwinding_intent().pair).tell(sale_report(SALE, RELEASED, MARKET)).look(after=10)
    assert story.pair.sales[0].leg.order_id == SALE


def test_f53_a_resting_sale_goes_on_after_a_restart():
    story = recovered(unwinding_open().pair).look(sale_view(SALE, RELEASED, MARKET), after=10)
    assert (story.kind, story.pair.sales[0].state) == ("Unwinding", "open")
    assert story.wait(0).wished(oto.CancelOrder) == [oto.CancelOrder(SALE)]


def test_f53_a_sale_that_ended_while_we_were_away_may_have_been_ended_by_us():
    story = recovered(unwinding_open().pair).look(sale_view(SALE, RELEASED, MARKET, "CANCELED"), after=10)
    assert (story.pair.sales[0].state, story.pauses()) == ("over", [])


def test_f53_a_pair_that_had_begun_to_unwind_begins_again():
    story = cancelling(part()).tell(DEAD_PART, DEAD_PENDING)
    story = recovered(story.pair).look(view("working", "CANCELED", 400, "90.76"), after=10)
    assert story.kind == "Unwinding"
    assert unwind.wants_price(story.state, at(story.ms).mono_ms)


def test_a_stop_does_not_disturb_an_unwinding():
    story = unwinding_open()
    assert story.tell(oto.Cancel("stop")).last == []
    assert story.pair.cancel_cause == "operator"


def test_the_outcome_of_a_pair_that_somebody_ended_stays_external():
    story = selling().tell(report("pending", "CANCELED"))
    sold = execution("9", RELEASED, MARKET, side="SELL")
    offered(story).tell(sale_report(SALE, RELEASED, MARKET, "FILLED", fill=sold))
    assert story.outcome == "external"
    assert (BOUGHT, FILLED.execution, PENDING) == (FILLED.execution, BOUGHT, story.pair.pending.order_id)


def test_a_sale_whose_intent_can_never_be_durable_is_not_sent_and_the_next_is_tried():
    story = unwinding_intent().tell(oto.SaleEnded(1, oto.NOT_DURABLE))
    assert (story.wished(oto.PlaceSale, ever=True), story.pair.sales[0].state) == ([], "refused")
    story.wait(60_000).tell(oto.Priced(MARKET))
    assert story.last == [oto.Persist("sale:2")]


@pytest.mark.parametrize("ours", [SALE, None])
def test_f78_a_human_says_which_of_two_sales_is_ours(ours):
    story = unwinding_unresolved().look(
        sale_view(SALE, RELEASED, MARKET), sale_view("51481852", RELEASED, MARKET), after=100
    )
    assert story.state.twins == (SALE, "51481852")
    story.tell(oto.Judged(ours))
    assert (story.state.twins, story.pair.sales[-1].leg.order_id) == ((), ours)
    for _ in range(4):
        story.look(sale_view(SALE, RELEASED, MARKET), sale_view("51481852", RELEASED, MARKET), after=7_000)
    assert story.pair.sales[0].state == ("absent" if ours is None else "open")

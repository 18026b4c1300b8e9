"""Closed pairs: late fills are booked, ghosts open them again, old news is no news (design § 4, 6)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.domain import ghosts, oto, unwind
from actors.domain.orders import Accepted, NoAnswer
from actors.errors import IllegalEvent
from tests.domain.cells import (
    DEAD_PART,
    DEAD_PENDING,
    DEAD_RELEASED,
    DEAD_WORKING,
    NO_ANSWER,
    SALE,
    SALE_FILL,
    STATES,
    TWIN,
    closed,
    unseen,
)
from tests.domain.pairkit import (
    ALL_SOLD,
    BOUGHT,
    FILLED,
    HELD,
    LIST,
    MARKET,
    MONO_MS,
    PART_SOLD,
    PENDING,
    PLACED,
    RELEASE,
    RELEASED,
    ROUND_TRIP,
    SOLD_1,
    SOLD_2,
    WALL_MS,
    WORKING,
    D,
    accepted,
    at,
    begun,
    execution,
    report,
    sale_report,
    sale_view,
    selling,
    view,
)


def absent():
    return closed("absent")


# -- old news is no news


def test_f14_frames_of_a_completed_pair_that_come_again_change_nothing():
    story = closed("completed")
    for frame in ROUND_TRIP:
        assert story.tell(frame).last == []
    assert story.outcome == "completed"
    assert story.accounts.sold == RELEASED


def test_the_late_word_that_an_unheard_leg_has_ended_is_noted_quietly():
    story = unseen()
    while story.kind != "Closed":
        story.look(after=7_000)
    assert story.tell(HELD, after=60_000).last == []
    assert story.tell(DEAD_PENDING).last == []
    assert (story.pair.pending.status, story.outcome) == ("CANCELED", "cancelled")


def test_a_pending_leg_that_is_heard_of_at_last_is_no_ghost_while_it_is_held():
    story = unseen()
    while story.kind != "Closed":
        story.look(after=7_000)
    story.state = replace(story.state, pair=replace(story.pair, pending=replace(story.pair.pending, order_id=None)))
    assert ghosts.may_claim(story.state, HELD)
    assert story.tell(HELD).last == []
    assert story.pair.pending.order_id == PENDING
    assert story.tell(RELEASE).kind != "Closed", "in the book it lives"


def test_another_date_of_the_last_change_is_not_worth_a_row():
    story = closed("completed")
    before = story.state
    story.look(view("working", "FILLED", "869.56", BOUGHT.quote, updated_ms=WALL_MS + 9_999_999), after=10)
    assert story.state is before


# -- late fills


def test_a_late_fill_is_booked_to_its_old_pair_and_told():
    """Both legs were over by their words; a fill that no total had named comes after them."""
    story = closed("cancelled").tell(FILLED)
    assert (story.accounts.bought, story.pauses()) == (BOUGHT.quantity, ["LEDGER_MISMATCH"])
    assert story.kind == "Unwinding", "and what it bought is sold"
    assert story.pair.closed_ms is None


def test_totals_that_grow_after_the_end_open_the_pair_until_their_fills_are_read():
    story = closed("cancelled").look(view("working", "CANCELED", 400, "90.76"), after=1_000)
    assert (story.kind, story.pauses()) == ("Cancelling", ["ORDER_UNRESOLVED"])
    assert oto.ReadExecutions(WORKING) in story.last
    assert story.read("working", execution("1", 400)).kind == "Unwinding"


def test_more_sold_than_bought_after_the_end_is_told():
    story = closed("cancelled").tell(PART_SOLD)
    assert (story.outcome, set(story.pauses())) == ("cancelled", {"LEDGER_MISMATCH"})


# -- ghosts


@pytest.mark.parametrize("source", ["stream", "look"])
def test_a_ghost_pauses_at_once_and_is_followed(source):
    story = absent()
    if source == "stream":
        assert ghosts.may_claim(story.state, PLACED)
        story.tell(PLACED)
    else:
        story.look(view(), view("pending", "PENDING"), after=60_000)
    assert (story.kind, story.pauses()) == ("Open", ["ORDER_UNRESOLVED"])
    story.tell(HELD, FILLED, RELEASE, PART_SOLD, ALL_SOLD)
    assert story.outcome == "completed"
    assert len(story.wished(oto.Place, ever=True)) == 1


def test_a_ghost_has_its_own_time():
    story = absent().tell(PLACED, after=1_000_000)
    assert story.wait(299_000).kind == "Open"
    assert story.wait(1_000).kind == "TimedOut"


def test_a_ghost_of_a_pair_that_was_to_end_is_cancelled_at_once():
    story = absent()
    story.state = replace(story.state, pair=replace(story.pair, cancel_cause="stop"))
    assert oto.CancelOrder(WORKING) in story.tell(PLACED).last


def test_a_ghost_of_a_refused_pair_is_followed_too():
    assert closed("refused").tell(PLACED).kind == "Open"


def test_a_ghost_that_is_dead_pauses_all_the_same():
    """The settle time is too short for this exchange: a human should know."""
    story = absent().tell(DEAD_WORKING)
    assert story.pauses()[0] == "ORDER_UNRESOLVED"
    story.look(view("working", "CANCELED"), view("pending", "CANCELED", quantity=D(0)), after=100)
    assert story.outcome == "external"


def test_a_ghost_that_is_filled_is_booked():
    story = absent().tell(FILLED)
    assert (story.kind, story.pauses(), story.accounts.bought) == ("Open", ["ORDER_UNRESOLVED"], BOUGHT.quantity)


def test_two_that_may_be_the_ghost_are_told_once_and_neither_is_followed():
    story = absent().look(view(), TWIN, after=100)
    assert (story.outcome, story.pauses()) == ("absent", ["ORDER_UNRESOLVED"])
    assert story.look(view(), TWIN, after=100).last == []
    assert story.look(view(), after=100).last == []
    assert [type(effect).__name__ for effect in story.tell(PLACED).last] == ["Unclaimed"]


def test_a_pair_that_was_never_sent_claims_nothing():
    story = begun().tell(oto.Cancel("stop"), oto.Durable("intent"))
    assert story.outcome == "cancelled"
    assert not ghosts.may_claim(story.state, PLACED)
    assert story.look(view(), after=10).last == []
    assert story.tell(PLACED).last == [oto.Unclaimed(PLACED)]


def test_what_a_closed_pair_cannot_claim_is_not_its_own():
    complete = closed("completed")
    assert not ghosts.may_claim(complete.state, report(order_id="5", list_id="6"))
    assert ghosts.may_claim(complete.state, ALL_SOLD), "its own order"
    assert not ghosts.may_claim(absent().state, replace(PLACED, price=D("0.24")))
    assert not ghosts.may_claim(absent().state, replace(PLACED, symbol="ALPHA_22USDT"))


def test_a_report_that_is_not_claimed_is_handed_back():
    other = report(order_id="5", list_id="6")
    assert closed("completed").tell(other).last == [oto.Unclaimed(other)]


# -- ghosts of sales


def given_up():
    return closed("inventory_left")


def test_a_ghost_of_a_sale_is_claimed_cancelled_and_booked():
    frame = sale_report(SALE, RELEASED, MARKET)
    story = given_up()
    assert ghosts.may_claim(story.state, frame)
    story.tell(frame)
    assert (story.kind, story.pauses()) == ("Unwinding", ["INVENTORY_LEFT", "ORDER_UNRESOLVED"])
    assert story.wait(0).wished(oto.CancelOrder) == [oto.CancelOrder(SALE)]
    part_sold = execution("9", 100, MARKET, side="SELL")
    story.tell(oto.CancelEnded(SALE, Accepted()))
    story.tell(sale_report(SALE, RELEASED, MARKET, "CANCELED", fill=part_sold))
    assert story.accounts.sold == 100


def test_what_was_given_up_is_not_sold_again_behind_a_humans_back():
    story = given_up().tell(sale_report(SALE, RELEASED, MARKET)).wait(0)
    story.tell(oto.CancelEnded(SALE, Accepted()), sale_report(SALE, RELEASED, MARKET, "CANCELED"))
    assert story.outcome == "inventory_left"
    assert story.wished(oto.AskPause)[-1].reason == "INVENTORY_LEFT"
    assert story.wished(oto.PlaceSale, ever=True)[5:] == []


def test_a_late_fill_of_what_was_given_up_is_booked_and_nothing_is_sold():
    story = given_up().tell(replace(PART_SOLD, status="CANCELED", kind="TRADE"))
    assert (story.outcome, story.accounts.sold) == ("inventory_left", 200)
    assert not unwind.wants_price(story.state, MONO_MS + story.ms + 60_000)


def test_a_ghost_of_a_sale_that_sold_everything_closes_the_pair_as_unwound():
    story = given_up().tell(sale_report(SALE, RELEASED, MARKET, "FILLED", fill=SALE_FILL))
    assert (story.outcome, story.accounts.sold) == ("unwound", RELEASED)


def test_a_ghost_of_a_sale_is_found_by_a_look():
    assert given_up().look(sale_view(SALE, RELEASED, MARKET), after=100).kind == "Unwinding"


# -- invented fills after the end


def closed_with_invented_fills():
    """The fills could not be read for so long that they were booked from the totals."""
    story = selling().look(view("pending", "FILLED", RELEASED, SOLD_1.quote + SOLD_2.quote), after=10)
    while story.kind != "Closed":
        story.tell(oto.ExecutionsFailed(PENDING, "timed out")).wait()
    assert story.ms > 30_000
    return story


def test_invented_fills_are_still_wanted_after_the_end():
    story = closed_with_invented_fills()
    assert (story.outcome, story.pair.pending.synthetic) == ("completed", True)
    assert story.look(after=1_000).last == [oto.ReadExecutions(PENDING)]
    story.read("pending", SOLD_1)
    assert story.pair.pending.synthetic, "a read that lags heals nothing"
    story.read("pending", SOLD_1, SOLD_2)
    assert (story.pair.pending.synthetic, story.outcome) == (False, "completed")
    assert "LEDGER_MISMATCH" not in story.pauses()
    assert story.look(after=1_000).last == []


def test_real_fills_that_differ_from_the_invented_ones_are_told():
    story = closed_with_invented_fills()
    story.read("pending", SOLD_1, replace(SOLD_2, quote=SOLD_2.quote - 1))
    assert "LEDGER_MISMATCH" in story.pauses()
    assert story.accounts.sell_quote == SOLD_1.quote + SOLD_2.quote - 1


# -- contradictions


def test_f40_a_contradiction_after_the_end_is_told_when_it_comes_and_not_with_every_look():
    story = closed("completed").tell(report("working", "FILLED", fill=replace(BOUGHT, quote=D(1))))
    assert (story.outcome, story.pauses()) == ("completed", ["LEDGER_MISMATCH"])
    assert story.look(view("working", "FILLED", "869.56", "1"), after=10).last == []


# -- what we send to a closed pair


@pytest.mark.parametrize(
    "event",
    [
        oto.PlaceEnded(NO_ANSWER), oto.PlaceEnded(Accepted((WORKING, PENDING))), oto.SaleEnded(1, NO_ANSWER),
        oto.Durable("intent"), oto.Durable("sale:1"), oto.Cancel("stop"),
    ],
)  # fmt: skip
def test_endings_of_requests_that_a_closed_pair_cannot_have_had_are_bugs(event):
    with pytest.raises(IllegalEvent):
        absent().tell(event)


@pytest.mark.parametrize(
    "event",
    [
        oto.Durable("cancel"), oto.CancelEnded(WORKING, Accepted()), oto.LookFailed("no_reply", ""), oto.Tick(),
        oto.Priced(MARKET), oto.ExecutionsFailed(WORKING, ""), oto.ExecutionsRead("77", ()),
    ],
)  # fmt: skip
def test_what_was_in_the_air_at_the_end_lands_softly(event):
    story = closed("cancelled")
    before = story.state
    assert story.tell(event).last == []
    assert story.state == before


def test_trouble_with_the_cancel_of_a_closed_pair_pauses_still():
    story = closed("cancelled").tell(oto.CancelEnded(WORKING, NoAnswer("session", "login expired")))
    assert story.pauses() == ["AUTH_FAILED"]


# -- wants_unknown


def test_a_pair_listens_for_unknown_orders_as_long_as_a_request_of_it_has_no_id():
    assert oto.wants_unknown(absent().state)
    assert not oto.wants_unknown(closed("completed").state)
    assert oto.wants_unknown(given_up().state)
    assert not oto.wants_unknown(accepted().state)
    lone = replace(accepted().pair, pending=replace(accepted().pair.pending, order_id=None))
    assert oto.wants_unknown(oto.Closed(pair=lone, outcome="external"))


def test_f37_an_order_unlike_all_that_a_pair_has_asked_for_is_never_its_own():
    asked = absent().state
    plan = oto.pair_of(asked).plan
    like = view(order_id="901", side="BUY", price=plan.buy_price, quantity=plan.quantity)
    assert oto.may_be_of(asked, like)
    assert not oto.may_be_of(asked, replace(like, price=plan.buy_price / 2))
    assert not oto.may_be_of(asked, replace(like, symbol="ALPHA_1USDT"))
    assert not oto.may_be_of(closed("completed").state, like)


def test_f72_a_pair_is_in_doubt_while_the_outcome_of_a_request_is_unknown():
    doubtful = {name for name, make in STATES.items() if oto.in_doubt(make().state)}
    assert doubtful == {"unresolved", "unresolved_twins", "unwinding_unresolved"}


def test_a_ghost_of_the_pending_leg_is_known_by_its_list():
    lone = replace(closed("cancelled").pair, pending=replace(accepted().pair.pending, order_id=None))
    state = oto.Closed(pair=lone, outcome="cancelled")
    assert lone.working.list_id == LIST
    assert ghosts.may_claim(state, replace(RELEASE, order_id="777"))
    assert not ghosts.may_claim(state, replace(RELEASE, order_id="777", list_id="8"))
    assert ghosts.heard(state, oto.Reported(DEAD_RELEASED), at(0))[2] is None
    assert ghosts.heard(state, oto.Reported(DEAD_PART), at(0))[2] is not None


def test_f78_a_human_says_which_of_two_is_the_ghost_and_it_is_followed():
    story = closed("absent").look(view(), TWIN)
    assert story.state.twins
    story.tell(oto.Judged(WORKING))
    assert (story.kind, story.pair.working.order_id) == ("Open", WORKING)


def test_f78_a_human_says_that_neither_is_a_ghost_and_nothing_is_heard_of_them_again():
    story = closed("absent").look(view(), TWIN).tell(oto.Judged(None))
    assert (story.outcome, story.state.twins) == ("absent", ())
    assert story.look(view(), TWIN).last == []

"""From the intent to known orders: one request, three endings, proofs (design § 4)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.domain import oto
from actors.domain.absorb import EARLY_MAX
from actors.domain.legs import Leg
from actors.domain.orders import Accepted, NoAnswer, Refused
from actors.domain.pair import Sale
from actors.domain.turn import since_of
from actors.errors import IllegalEvent
from tests.domain.cells import NO_ANSWER, TWIN, unresolved
from tests.domain.pairkit import (
    ALL_SOLD,
    FILLED,
    HELD,
    LIST,
    PART_SOLD,
    PENDING,
    PLACED,
    RELEASE,
    ROUND_TRIP,
    SOLD_1,
    SOLD_2,
    WALL_MS,
    WORKING,
    D,
    accepted,
    begun,
    in_air,
    recovered,
    report,
    view,
)

BOTH = (view(), view("pending", "PENDING"))
IDS = Accepted((WORKING, PENDING))


# -- the request


def test_the_request_leaves_once_and_only_when_its_intent_is_durable():
    story = begun()
    assert story.last == [oto.Persist("intent")]
    assert story.tell(oto.Durable("intent")).last == [oto.Place()]
    with pytest.raises(IllegalEvent):
        story.tell(oto.Durable("intent"))


@pytest.mark.parametrize("cause", ["operator", "stop"])
def test_a_stop_while_the_intent_is_not_durable_sends_nothing(cause):
    story = begun().tell(oto.Cancel(cause), oto.Durable("intent"))
    assert (story.outcome, story.wished(oto.Place, ever=True)) == ("cancelled", [])


def test_a_stop_while_the_request_is_in_the_air_ends_the_pair_when_it_is_known():
    story = in_air().tell(oto.Cancel("stop")).tell(oto.PlaceEnded(IDS))
    assert story.kind == "TimedOut"
    assert story.tell(oto.Durable("cancel")).last == [oto.CancelOrder(WORKING)]


def test_an_accepted_pair_has_its_time_from_the_acceptance():
    story = in_air().tell(oto.PlaceEnded(IDS), after=70)
    assert story.pair.placed_ms == WALL_MS + 70
    story.wait(300_000 - 1)
    assert story.kind == "Open"
    story.wait(1)
    assert story.kind == "TimedOut"


def test_partial_progress_does_not_extend_the_time():
    story = accepted().tell(report("working", "PARTIALLY_FILLED", upto=1, upto_quote="0.2269"), after=299_000)
    assert story.wait(1_000).kind == "TimedOut"


# -- frames and reply race each other (wire § 13)


def test_f15_a_reply_after_all_frames_finds_the_pair_complete():
    story = in_air().tell(*ROUND_TRIP)
    assert story.kind == "Placing"
    story.tell(oto.PlaceEnded(IDS))
    assert (story.outcome, story.pauses()) == ("completed", [])
    assert story.wear.total == D("0.0401588")


def test_f31_a_reply_after_the_first_leg_has_filled_finds_the_other_held():
    story = in_air().tell(PLACED, HELD, FILLED).tell(oto.PlaceEnded(IDS))
    assert story.kind == "Open"
    assert story.tell(RELEASE, PART_SOLD, ALL_SOLD).outcome == "completed"


def test_reports_of_others_that_came_meanwhile_are_handed_back():
    other = report(order_id="5", list_id="6", price=D("0.2"))
    story = in_air().tell(other, PLACED).tell(oto.PlaceEnded(IDS))
    assert story.wished(oto.Unclaimed) == [oto.Unclaimed(other)]


def test_f83_a_report_of_another_symbol_is_never_kept():
    other = replace(PLACED, symbol="ALPHA_22USDT")
    assert in_air().tell(other).last == [oto.Unclaimed(other)]


def test_f83_an_order_of_equal_id_on_another_symbol_is_not_ours():
    """Order ids are unique within a symbol only (wire § 8.2)."""
    story = accepted().tell(replace(FILLED, symbol="ALPHA_22USDT")).look(view(symbol="ALPHA_22USDT", status="FILLED"))
    assert (story.pair.working.told, story.pair.working.status) == (0, "NEW")


def test_only_so_many_unknown_reports_are_kept():
    story = in_air()
    for number in range(EARLY_MAX + 1):
        story.tell(report(order_id=f"9{number}", price=D("0.2")))
    assert len(story.state.live.early) == EARLY_MAX
    assert len(story.wished(oto.Unclaimed)) == 1


# -- refused


def test_f22_a_refusal_for_balance_ends_the_pair_and_pauses():
    story = in_air().tell(oto.PlaceEnded(Refused("481020", "insufficient balance")))
    assert (story.outcome, story.pauses()) == ("refused", ["INSUFFICIENT_BALANCE"])


def test_f23_any_other_refusal_pauses_for_the_configuration():
    story = in_air().tell(oto.PlaceEnded(Refused("481013", "Total must be greater than 0.1")))
    assert (story.outcome, story.pauses()) == ("refused", ["ORDER_REJECTED"])


def test_f1_what_was_never_sent_ends_the_pair_without_a_pause_of_its_own():
    story = in_air().tell(oto.PlaceEnded(Refused("NOT_SENT", "no route", "not_sent")))
    assert (story.outcome, story.pauses()) == ("refused", [])


def test_a_refusal_is_not_believed_when_an_order_like_ours_was_reported():
    story = in_air().tell(PLACED).tell(oto.PlaceEnded(Refused("000002", "illegal")))
    assert (story.kind, story.pair.working.order_id) == ("Open", WORKING)
    assert story.wished(oto.Alarm)


# -- no answer


@pytest.mark.parametrize(
    ("trouble", "pause"),
    [
        ("no_reply", None), ("system", None), ("unreadable", None), ("unknown_code", None),
        ("session", "AUTH_FAILED"), ("human", "VERIFICATION_REQUIRED"), ("blocked", "VERIFICATION_REQUIRED"),
        ("throttled", "RATE_LIMITED"), ("clock", "CLOCK_SKEW"),
    ],
)  # fmt: skip
def test_f3_f4_f7_f25_f26_without_an_answer_there_is_doubt_and_the_pause_that_it_deserves(trouble, pause):
    story = in_air().tell(oto.PlaceEnded(NoAnswer(trouble, "text")))
    assert story.kind == "Unresolved"
    assert story.pauses() == ([pause] if pause else [])
    assert story.wished(oto.TakeLook) == [oto.TakeLook(WALL_MS - 60_000)], "well before the intent"


def test_a_reply_with_a_wrong_number_of_ids_is_no_answer():
    assert in_air().tell(oto.PlaceEnded(Accepted((WORKING,)))).kind == "Unresolved"


def test_f5_a_lost_reply_is_adopted_from_the_stream():
    story = unresolved().tell(PLACED)
    assert (story.kind, story.pair.pending.order_id) == ("Open", None)
    story.tell(HELD, FILLED, RELEASE, PART_SOLD, ALL_SOLD)
    assert story.outcome == "completed"


def test_f5_a_lost_reply_is_adopted_from_frames_that_outran_it():
    story = in_air().tell(*ROUND_TRIP).tell(oto.PlaceEnded(NO_ANSWER))
    assert (story.outcome, story.pauses()) == ("completed", [])


def test_f5_a_lost_reply_is_adopted_from_open_orders():
    story = unresolved().look(*BOTH, after=200)
    assert (story.kind, story.pair.working.order_id, story.pair.pending.order_id) == ("Open", WORKING, PENDING)


def test_f5_a_lost_reply_is_adopted_from_history_and_its_fills_are_read():
    rows = (view("working", "FILLED", "869.56", "197.30724223"), view("pending", "FILLED", "869.47", "197.28681211"))
    story = unresolved().look(*rows, after=200)
    assert story.wished(oto.ReadExecutions) == [oto.ReadExecutions(WORKING), oto.ReadExecutions(PENDING)]
    story.read("working", FILLED.execution).read("pending", SOLD_1, SOLD_2)
    assert (story.outcome, story.pauses()) == ("completed", [])


def test_rows_without_list_words_are_adopted_by_what_they_are():
    """The server of 2025 named no list (wire § 4.1): the other leg is the SELL at our price, born with ours."""
    bare = {"list_id": None, "position": None}
    story = unresolved().look(view(**bare), view("pending", "PENDING", created_ms=None, **bare), after=200)
    assert (story.pair.working.order_id, story.pair.pending.order_id) == (WORKING, PENDING)


@pytest.mark.parametrize(
    "change",
    [
        {"price": D("0.2")}, {"side": "BUY"}, {"created_ms": WALL_MS + 60_000}, {"position": "working"},
        {"list_id": "77", "position": None},
    ],
)  # fmt: skip
def test_a_sale_that_is_not_like_the_other_leg_is_not_taken_for_it(change):
    other = replace(view("pending", "NEW", order_id="5", list_id=None, position=None), **change)
    story = unresolved().look(view(list_id=None, position=None), after=200).look(other, after=1_000)
    assert story.pair.pending.order_id is None


def test_the_other_leg_is_known_by_the_list_and_not_by_its_number():
    story = unresolved().look(view(), after=200)
    assert story.wished(oto.TakeLook), "the list tells the other"
    story.look(
        view("pending", "PENDING", order_id="777"), view("pending", "PENDING", order_id="8", list_id="9"), after=9
    )
    assert story.pair.pending.order_id == "777"


def test_the_other_leg_is_known_from_the_stream_where_the_row_named_no_list():
    story = unresolved().look(view(list_id=None, position=None), after=200).tell(HELD)
    assert (story.pair.pending.order_id, story.pair.pending.list_id) == (PENDING, LIST)


# -- absence


def until_closed(story, gap=7_000, **keys):
    looks = 0
    while story.kind != "Closed" and looks < 50:
        story.look(after=gap, **keys)
        looks += 1
    return story


def test_f28_absence_needs_looks_over_the_settle_time():
    """`looks` (4) looks, the last at least `settle_s` (20) after the doubt."""
    story = until_closed(unresolved())
    assert (story.outcome, story.pauses()) == ("absent", [])
    assert story.ms == 100 + 4 * 7_000
    assert until_closed(unresolved(), gap=1_000).ms == 100 + 20_000


def test_f30_looks_that_are_short_failed_or_early_do_not_count():
    story = unresolved()
    for _ in range(10):
        story.look(after=7_000, since_ms=WALL_MS + 1)
        story.look(started=99)
        story.tell(oto.LookFailed("no_reply", "timed out"))
    assert story.kind == "Unresolved"
    assert story.state.absence.clean == 0


def test_looks_are_asked_for_until_there_is_a_proof():
    story = unresolved()
    for _ in range(100):
        if story.kind == "Closed":
            break
        if story.wished(oto.TakeLook):
            story.look(after=100)
        else:
            story.wait()
    assert story.outcome == "absent"
    assert len(story.wished(oto.TakeLook, ever=True)) <= 5


def test_a_failed_look_is_taken_again_soon():
    story = unresolved().tell(oto.LookFailed("no_reply", "timed out")).wait()
    assert story.ms == 100 + 3_000
    assert story.wished(oto.TakeLook)


def test_an_order_that_appears_before_the_proof_is_adopted():
    story = unresolved()
    for _ in range(3):
        story.look(after=7_000)
    assert story.look(*BOTH, after=7_000).kind == "Open"


# -- clocks (F67)

OLD = {"created_ms": WALL_MS - 3_600_000}


def test_f67_absence_is_not_proven_while_an_order_like_ours_is_only_too_old():
    story = unresolved()
    for _ in range(8):
        story.look(view(**OLD), view("pending", "PENDING", **OLD), after=7_000)
    assert (story.kind, story.pauses()) == ("Unresolved", ["ORDER_UNRESOLVED"])
    assert "clocks" in story.wished(oto.AskPause)[0].detail
    assert until_closed(story).outcome == "absent", "it is gone, so it was not ours"


def test_f67_a_clock_that_is_known_to_be_ahead_widens_the_window():
    """Our clock was an hour ahead when the intent was written."""
    story = unresolved()
    assert since_of(story.pair) == WALL_MS - 60_000
    story.look(view(**OLD), view("pending", "PENDING", **OLD), after=7_000, skew_ms=-3_600_000)
    assert (story.kind, story.pair.working.order_id) == ("Open", WORKING)
    assert since_of(story.pair) == WALL_MS - 3_660_000


def test_f67_looks_reach_back_to_a_sale_from_before_its_pair_by_a_clock_that_was_set_back():
    """Else no look reached far enough to count, and the sale stayed unresolved for ever (simulation, seed 7)."""
    pair = unresolved().pair
    leg = Leg(name="unwind", side="SELL", price=pair.working.price, quantity=pair.working.quantity)
    sale = Sale(number=1, intent_ms=WALL_MS - 3_600_000, state="unresolved", leg=leg)
    assert since_of(replace(pair, sales=(sale,))) == WALL_MS - 3_660_000


def test_f67_looks_that_do_not_reach_back_far_enough_by_the_exchanges_clock_prove_nothing():
    story = unresolved()
    for _ in range(8):
        story.look(after=7_000, skew_ms=-3_600_000)
    assert story.kind == "Unresolved"
    assert until_closed(story, since_ms=WALL_MS - 3_660_000).outcome == "absent"


def test_a_clock_that_is_behind_changes_nothing():
    story = unresolved().look(after=7_000, skew_ms=5_000)
    assert (story.pair.ahead_ms, story.state.absence.clean) == (0, 1)


# -- twins


def test_f78_twins_are_never_chosen_between():
    story = unresolved().look(*BOTH, TWIN, after=100)
    assert (story.kind, story.pauses()) == ("Unresolved", ["ORDER_UNRESOLVED"])
    assert all(order_id in story.wished(oto.AskPause)[0].detail for order_id in (WORKING, "777"))
    for seen in (BOTH, (TWIN,), ()):
        for _ in range(6):
            story.look(*seen, after=7_000)
    story.tell(PLACED)
    assert story.kind == "Unresolved", "not even when one of them is missing from a look"


def test_twins_are_noticed_on_the_stream():
    story = in_air().tell(PLACED, replace(PLACED, order_id="777", list_id="8")).tell(oto.PlaceEnded(NO_ANSWER))
    assert (story.kind, story.pauses()) == ("Unresolved", ["ORDER_UNRESOLVED"])


def test_twins_that_are_both_dead_and_empty_end_the_pair():
    """Whichever was ours: a human has cancelled both, and nothing was bought."""
    story = unresolved().look(*BOTH, TWIN, after=100)
    dead, other = view("working", "CANCELED"), replace(TWIN, status="CANCELED")
    assert story.look(dead, TWIN, after=100).kind == "Unresolved"
    assert story.look(dead, replace(other, executed=D(1)), after=100).kind == "Unresolved"
    assert story.look(dead, after=100).kind == "Unresolved"
    assert story.look(dead, other, after=100).outcome == "cancelled"
    assert story.look(dead, other, after=100).look(dead, after=100).outcome == "cancelled"
    assert story.pauses() == ["ORDER_UNRESOLVED"], "told once"


# -- after a restart


def test_f53_a_pair_whose_request_may_have_left_is_found_or_proven_absent():
    story = recovered(begun().pair)
    assert story.last == [oto.TakeLook(WALL_MS - 60_000)]
    assert story.look(*BOTH, after=300).kind == "Open"
    story = recovered(begun().pair)
    assert until_closed(story).outcome == "absent"
    assert story.wished(oto.Place, ever=True) == []


def test_the_time_of_an_open_pair_goes_on_over_a_restart():
    story = recovered(accepted().pair, ms=200_000).look(*BOTH, after=50)
    assert story.wait(99_000).kind == "Open"
    assert story.wait(1_000).kind == "TimedOut"


def test_the_time_of_a_released_leg_is_counted_from_its_release():
    sold_out = accepted().tell(replace(FILLED, time_ms=WALL_MS + 250_000)).tell(RELEASE).pair
    story = recovered(sold_out, ms=400_000).look(after=50)
    assert story.wait(100_000).kind == "Open"
    assert story.wait(50_000).kind == "TimedOut"


def test_nothing_is_decided_before_the_exchange_was_heard():
    story = recovered(accepted().tell(oto.Cancel("operator")).pair)
    story.tell(FILLED, oto.Tick(), oto.LookFailed("no_reply", "timed out"), after=1_000)
    assert story.kind == "Reconciling"
    assert story.wished(oto.CancelOrder, ever=True) == []


def test_reports_that_come_before_the_first_look_are_taken_in():
    story = recovered(begun().pair).tell(PLACED, HELD, FILLED)
    assert story.kind == "Reconciling"
    assert story.look(after=100).kind == "Open"
    assert story.pair.working.filled


def test_a_doubt_that_no_look_can_end_is_told_after_several_times_the_patience():
    story = unresolved().tell(oto.LookFailed("no_reply", "timed out"), after=60_000)
    assert "ORDER_UNRESOLVED" not in story.pauses()
    story.tell(oto.LookFailed("no_reply", "timed out"), after=60_000)
    assert "ORDER_UNRESOLVED" in story.pauses()
    assert story.kind == "Unresolved", "still nothing is known"


# -- a human says which of twins is ours (F78)


def twins():
    return unresolved().look(view(), TWIN, after=100)


def test_f78_the_twin_that_a_human_names_is_adopted_and_the_other_never():
    story = twins().tell(oto.Judged(WORKING))
    assert (story.kind, story.pair.working.order_id) == ("Open", WORKING)
    story.tell(*ROUND_TRIP)
    assert story.outcome == "completed"
    assert story.look(TWIN).outcome == "completed", "the other one is no ghost of it"


def test_f78_where_a_human_says_that_no_twin_is_ours_the_proof_goes_on_without_them():
    story = twins().tell(oto.Judged(None))
    assert story.kind == "Unresolved"
    for _ in range(4):
        story.look(view(), TWIN, after=7_000)
    assert story.outcome == "absent"
    assert story.look(view(), TWIN).outcome == "absent"


def test_f78_nobody_may_name_an_order_that_is_no_twin():
    with pytest.raises(IllegalEvent):
        twins().tell(oto.Judged("12345"))
    with pytest.raises(IllegalEvent):
        unresolved().tell(oto.Judged(None))

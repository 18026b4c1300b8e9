"""Time-outs, cancels and their races; who else may end a leg; when both legs are over (requirements, "OTO cycle")."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from actors.domain import oto
from actors.domain.orders import Accepted, Refused
from tests.domain.cells import (
    DEAD_PART,
    DEAD_PENDING,
    DEAD_RELEASED,
    DEAD_WORKING,
    NO_ANSWER,
    beaten,
    cancelling,
    cancelling_pending,
    sorry,
    timed_out,
    unresolved,
    unseen,
)
from tests.domain.pairkit import (
    ALL_SOLD,
    FILLED,
    MARKET,
    PART_SOLD,
    PENDING,
    RELEASE,
    WALL_MS,
    WORKING,
    D,
    accepted,
    execution,
    part,
    recovered,
    report,
    selling,
    view,
)

HOLDS = {"quantity": D(0)}


def proof(story, *views, gap=7_000):
    """Looks that show these rows, until the pair is something else."""
    kind = story.kind
    for _ in range(20):
        if story.kind == kind:
            story.look(*views, after=gap)
    return story


# -- the time is up


def test_a_time_out_is_durable_before_its_cancel_leaves():
    story = accepted().wait(300_000)
    assert (story.kind, story.wished(oto.Persist)) == ("TimedOut", [oto.Persist("cancel")])
    assert story.wished(oto.CancelOrder, ever=True) == []
    assert story.tell(oto.Durable("cancel")).last == [oto.CancelOrder(WORKING)]


def test_f60_a_cancel_does_not_wait_for_a_slow_disk_for_ever():
    story = timed_out()
    story.wait()
    assert story.ms == 50 + 5_000
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(WORKING)]


def test_timed_out_unfilled_the_pair_ends_with_nothing_bought():
    story = cancelling(cause="timeout").tell(DEAD_WORKING, DEAD_PENDING)
    assert (story.outcome, story.pauses(), story.wear.total) == ("cancelled", [], 0)


def test_timed_out_partly_filled_the_pair_unwinds_what_was_bought():
    story = cancelling(part(), cause="timeout").tell(DEAD_PART, DEAD_PENDING)
    assert (story.kind, story.accounts.leftover) == ("Unwinding", D("399.96"))


def test_timed_out_filled_with_the_pending_leg_open_it_is_cancelled_and_unwound():
    story = selling().wait(300_000).tell(oto.Durable("cancel"))
    assert story.last == [oto.CancelOrder(PENDING)]
    assert story.tell(DEAD_RELEASED).kind == "Unwinding"


def test_timed_out_filled_with_the_pending_leg_still_held_it_is_cancelled_and_unwound():
    story = accepted().tell(FILLED).wait(300_000).tell(oto.Durable("cancel"))
    assert story.last == [oto.CancelOrder(PENDING)]
    assert story.tell(DEAD_PENDING).kind == "Unwinding"


def test_the_time_begins_again_when_the_pending_leg_is_released():
    story = accepted().tell(FILLED, RELEASE, after=100_000)
    assert story.wait(299_000).kind == "Open"
    assert story.wait(1_000).kind == "TimedOut"


def test_a_release_in_the_turn_of_a_stop_does_not_hide_the_stop():
    story = accepted().tell(oto.Cancel("stop"))
    assert story.kind == "TimedOut"
    story = accepted().tell(FILLED)
    story = recovered(story.tell(oto.Cancel("stop")).pair).look(view("pending", "NEW"), after=10)
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(PENDING)]


# -- races


def test_f34_fill_beats_cancel_and_the_pair_lives_on_with_a_fresh_time():
    story = cancelling(cause="timeout").tell(FILLED, RELEASE)
    assert (story.kind, story.pair.cancel_cause) == ("Open", None)
    story.tell(oto.CancelEnded(WORKING, Refused("481099", "no such order")))
    assert story.wait(299_000).kind == "Open"
    assert story.tell(PART_SOLD, ALL_SOLD).outcome == "completed"
    assert story.pauses() == []


def test_f34_a_fill_between_the_decision_and_its_cancel_wins_too():
    story = accepted().wait(300_000)
    assert story.tell(FILLED, RELEASE).kind == "Open"
    assert story.tell(oto.Durable("cancel")).kind == "Open", "the row comes too late to matter"


def test_fill_wins_waits_for_the_release_that_is_on_its_way():
    """The released leg is told up to two seconds after the fill (wire § 7.3): it is not cancelled in between."""
    story = beaten().tell(oto.CancelEnded(WORKING, Refused("481099", "no such order"))).look(after=100)
    story.wait()
    story.look(view("pending", "PENDING"), after=10)
    assert story.wished(oto.CancelOrder, ever=True) == [oto.CancelOrder(WORKING)]
    assert story.tell(RELEASE).kind == "Open"


def test_a_release_that_never_comes_is_cancelled_after_the_settle_time():
    story = sorry(beaten())
    while not story.wished(oto.CancelOrder):
        story.wait() if not story.state.live.looking else story.look(view("pending", "PENDING"), after=100)
        assert story.ms < 400_000
    assert story.last == [oto.CancelOrder(PENDING)]
    assert story.ms - 300_050 >= 20_000
    assert story.tell(DEAD_PENDING).kind == "Unwinding"


def test_a_release_that_never_comes_and_is_seen_nowhere_is_cancelled_before_anything_is_sold():
    """Neither open orders nor history show the held leg: it is cancelled, and proven absent after that."""
    story = proof(sorry(beaten()), gap=1_500)
    assert story.kind == "Cancelling", "20 looks over 30 s: the first proof has led to a cancel only"
    assert oto.CancelOrder(PENDING) in story.wished(oto.CancelOrder, ever=True)
    story.tell(oto.CancelEnded(PENDING, Refused("481099", "no such order")))
    assert proof(story).kind == "Unwinding"


def test_an_operators_stop_is_not_beaten_by_a_fill():
    story = cancelling(cause="stop").tell(FILLED, RELEASE)
    assert story.kind == "Cancelling"
    story.wait()
    assert story.tell(oto.CancelEnded(WORKING, Accepted())).kind == "Cancelling"
    while not (cancels := story.wished(oto.CancelOrder)):
        story.wait() if not story.state.live.looking else story.look(after=100)
    assert cancels == [oto.CancelOrder(PENDING)]


def test_a_stop_takes_over_a_cancel_that_waits_for_a_release():
    story = sorry(beaten()).tell(oto.Cancel("stop")).wait()
    assert oto.CancelOrder(PENDING) in story.last


def test_cancel_beats_fill_and_nothing_is_sold():
    story = cancelling(cause="timeout").tell(DEAD_WORKING, DEAD_PENDING)
    assert story.outcome == "cancelled"


def test_both_legs_filled_against_the_cancel_complete_the_pair():
    story = cancelling_pending().tell(PART_SOLD, ALL_SOLD)
    assert (story.outcome, story.pauses()) == ("completed", [])
    story = timed_out().tell(FILLED, RELEASE, PART_SOLD, ALL_SOLD)
    assert story.outcome == "completed"


# -- the outcome of a cancel is unknown


@pytest.mark.parametrize("outcome", [NO_ANSWER, Refused("481099", "no such order"), Accepted()])
def test_f35_whatever_a_cancel_is_answered_the_state_is_read(outcome):
    story = cancelling().tell(oto.CancelEnded(WORKING, outcome))
    if not story.wished(oto.TakeLook):
        story.wait()
        assert story.ms <= 50 + 2_000
    assert story.state.live.looking
    story.look(view("working", "CANCELED"), view("pending", "CANCELED", **HOLDS), after=100)
    assert story.outcome == "cancelled"


def test_a_cancel_whose_leg_is_still_open_is_sent_again_and_ever_more_rarely():
    story, sent = cancelling(), [50]
    story.tell(oto.CancelEnded(WORKING, Accepted()))
    while len(sent) < 7:
        if story.state.live.looking:
            story.look(view(), view("pending", "PENDING"), after=50)
        else:
            story.wait()
        if story.wished(oto.CancelOrder):
            sent.append(story.ms)
            story.tell(oto.CancelEnded(WORKING, Accepted()), after=30)
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert gaps[0] < 5_000
    assert gaps == sorted(gaps)
    assert max(gaps) <= 15_000


def test_an_order_that_cannot_be_cancelled_or_found_is_told():
    story = cancelling()
    while not story.pauses():
        if story.state.in_air:
            story.tell(oto.CancelEnded(WORKING, Refused("481099", "no such order")), after=30)
        elif story.state.live.looking:
            story.look(after=50)
        else:
            story.wait()
    assert story.pauses() == ["ORDER_UNRESOLVED"]
    assert 30_000 < story.ms < 120_000
    assert WORKING in story.wished(oto.AskPause)[0].detail


def test_a_cancel_in_the_air_is_not_sent_twice():
    story = cancelling()
    for _ in range(10):
        story.wait(5_000)
    assert len(story.wished(oto.CancelOrder, ever=True)) == 1


# -- a pending leg of which nothing is heard


def test_a_pending_leg_that_was_never_released_is_over_when_looks_prove_it():
    story = unseen()
    began = story.ms
    proof(story)
    assert (story.outcome, story.pauses()) == ("cancelled", [])
    assert story.ms - began >= 20_000


def test_one_sighting_of_it_starts_the_proof_anew():
    story = unseen()
    for _ in range(4):
        story.look(after=4_000)
    story.look(view("pending", "PENDING"), after=100)
    for _ in range(3):
        story.look(after=4_000)
    assert story.kind == "Cancelling"
    assert story.look(after=4_000).outcome == "cancelled"


def test_failed_and_short_looks_prove_nothing():
    story = unseen()
    for _ in range(10):
        story.tell(oto.LookFailed("no_reply", "timed out"), after=3_000).look(after=3_000, since_ms=WALL_MS + 1)
    assert story.kind == "Cancelling"


def test_a_partly_filled_pair_unwinds_after_the_proof():
    story = sorry(cancelling(part()).tell(DEAD_PART))
    assert proof(story).kind == "Unwinding"


# -- both ways an OTO may treat a partial working leg (wire § 7.3)


def test_a_pending_leg_released_on_each_partial_fill_is_cancelled_after_the_working_leg():
    released = report("pending", "NEW", quantity=D("399.96"))
    story = accepted().tell(part(), released).tell(oto.Cancel("stop"), oto.Durable("cancel"))
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(WORKING)]
    story.tell(oto.CancelEnded(WORKING, Accepted()), DEAD_PART, after=100)
    while not story.wished(oto.CancelOrder):
        story.wait() if not story.state.live.looking else story.look(after=10)
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(PENDING)]
    assert story.tell(report("pending", "CANCELED", quantity=D("399.96"))).kind == "Unwinding"


def test_a_held_leg_released_by_the_cancel_of_its_working_leg_is_cancelled_too():
    story = unseen_part().tell(report("pending", "NEW", quantity=D("399.96")))
    story.wait()
    assert oto.CancelOrder(PENDING) in story.wished(oto.CancelOrder, ever=True)


def unseen_part():
    return sorry(cancelling(part()).tell(DEAD_PART))


def test_a_growing_pending_leg_that_was_sold_out_is_not_the_end():
    """Released with the first part and sold; the last release is late: closing now would leave it unsold."""
    first = execution("1003", "399.96", MARKET, side="SELL")
    small = report("pending", "FILLED", fill=first, quantity=D("399.96"))
    rest = execution("1008", "469.56", MARKET)
    bought = replace(part(), cumulative_quote=D("90.76"))
    total = report("working", "FILLED", fill=rest, upto="869.56", upto_quote=bought.execution.quote + rest.quote)
    story = accepted().tell(bought, report("pending", "NEW", quantity=D("399.96")), small, total)
    assert story.kind == "Open"
    late = execution("1010", "469.51", MARKET, side="SELL")
    story.tell(report("pending", "PARTIALLY_FILLED", upto="399.96", upto_quote=first.quote, quantity=D("869.47")))
    story.tell(report("pending", "FILLED", fill=late, upto="869.47", upto_quote=first.quote + late.quote))
    assert (story.outcome, story.pauses()) == ("completed", [])


def test_a_leftover_of_two_filled_legs_is_unwound_after_the_time_and_a_proof():
    sold = execution("1006", D("769.47"), MARKET, side="SELL")
    small = report("pending", "FILLED", fill=sold, quantity=D("769.47"))
    story = accepted().tell(FILLED, report("pending", "NEW", quantity=D("769.47")), small)
    assert story.kind == "Open"
    story.wait(300_000).tell(oto.Durable("cancel"))
    assert (story.kind, story.wished(oto.CancelOrder, ever=True)) == ("Cancelling", [])
    assert proof(story).kind == "Unwinding"
    assert story.accounts.leftover == D("100.003044")


# -- ended by somebody else, or by the exchange


@pytest.mark.parametrize("word", ["CANCELED", "EXPIRED", "REJECTED"])
def test_f36_a_working_leg_ended_by_somebody_else_pauses_and_ends_the_pair(word):
    story = accepted().tell(report("working", word), DEAD_PENDING)
    assert (story.outcome, story.pauses()) == ("external", ["EXTERNAL_ORDER"])


def test_f33_a_working_leg_ended_after_a_partial_fill_is_unwound():
    story = accepted().tell(part(), DEAD_PART, DEAD_PENDING)
    assert (story.kind, story.pauses()) == ("Unwinding", ["EXTERNAL_ORDER"])


def test_f36_a_released_leg_ended_by_somebody_else_is_unwound():
    story = selling().tell(PART_SOLD, report("pending", "CANCELED", upto=200, upto_quote=PART_SOLD.cumulative_quote))
    assert (story.kind, story.pauses()) == ("Unwinding", ["EXTERNAL_ORDER"])
    assert story.accounts.leftover == D("669.473044")


@pytest.mark.parametrize("word", ["REJECTED", "EXPIRED"])
def test_f32_a_pending_leg_refused_at_its_release_pauses_and_is_unwound(word):
    story = accepted().tell(FILLED, report("pending", word))
    assert (story.kind, story.pauses()) == ("Unwinding", ["INVENTORY_LEFT"])
    assert PENDING in story.wished(oto.AskPause, ever=True)[0].detail


def test_a_held_leg_that_expires_before_anything_was_bought_was_ended_by_somebody():
    story = accepted().tell(report("pending", "EXPIRED", **HOLDS))
    assert story.pauses() == ["EXTERNAL_ORDER"]
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(WORKING)]


def test_f10_the_end_of_a_leg_that_no_event_told_is_found_by_polling():
    story = accepted().wait()
    assert story.wished(oto.TakeLook)
    assert story.ms == 50 + 15_000
    story.look(view("working", "CANCELED"), view("pending", "CANCELED", **HOLDS), after=100)
    assert story.outcome == "external"


# -- the operator, in every phase


def test_a_second_cancel_changes_nothing():
    story = timed_out()
    assert story.tell(oto.Cancel("stop")).last == []
    assert story.pair.cancel_cause == "operator"


def test_a_cancel_of_an_unresolved_pair_waits_for_the_proof():
    story = unresolved().tell(oto.Cancel("stop"))
    assert (story.kind, story.last) == ("Unresolved", [])
    story.look(view(), view("pending", "PENDING"), after=100)
    assert (story.kind, story.wished(oto.Persist)) == ("TimedOut", [oto.Persist("cancel")])


def test_a_cancel_during_reconciling_is_done_after_it():
    story = recovered(accepted().pair).tell(oto.Cancel("stop")).look(view(), view("pending", "PENDING"), after=10)
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(WORKING)]


def test_f53_a_pair_that_was_being_cancelled_is_cancelled_after_a_restart():
    story = recovered(cancelling(part()).pair).look(view("working", "PARTIALLY_FILLED", "400"), after=10)
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(WORKING)]
    story = recovered(cancelling_pending().pair).look(view("pending", "NEW"), after=10)
    assert story.wished(oto.CancelOrder) == [oto.CancelOrder(PENDING)]


def test_trouble_with_a_cancel_pauses_as_it_deserves():
    story = cancelling().tell(oto.CancelEnded(WORKING, replace(NO_ANSWER, trouble="human")))
    assert story.pauses() == ["VERIFICATION_REQUIRED"]

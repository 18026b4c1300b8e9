"""What REST tells that the stream did not: fills that are read, a stream that is silent, polls (design § 3, § 5)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.domain import oto
from actors.domain.turn import next_due
from tests.domain.cells import DEAD_PENDING
from tests.domain.pairkit import (
    ALL_SOLD,
    BOUGHT,
    FILLED,
    MONO_MS,
    PART_SOLD,
    PENDING,
    RELEASE,
    RELEASED,
    SOLD_1,
    SOLD_2,
    WORKING,
    D,
    accepted,
    execution,
    part,
    report,
    rules,
    selling,
    view,
)

SOLD_QUOTE = SOLD_1.quote + SOLD_2.quote
BOUGHT_ROW = view("working", "FILLED", "869.56", BOUGHT.quote)
SOLD_ROW = view("pending", "FILLED", RELEASED, SOLD_QUOTE)


# -- polling


def test_open_orders_are_polled_while_own_orders_live():
    story = accepted().wait()
    assert (story.ms, story.last) == (50 + 15_000, [oto.TakeLook(story.pair.plan.intent_ms - 60_000)])
    assert story.wait(1_000).last == [], "one look at a time"
    assert next_due(story.look(after=100).state) == MONO_MS + story.ms + 15_000


def test_f10_a_fill_that_no_event_told_is_found_by_polling_and_read():
    story = accepted().look(BOUGHT_ROW, view("pending", "NEW"), after=15_000)
    assert story.last == [oto.ReadExecutions(WORKING)]
    story.read("working", BOUGHT)
    assert (story.accounts.buy_quote, story.pair.working.filled) == (BOUGHT.quote, True)


def test_f10_a_stream_that_stays_silent_about_a_fill_is_told():
    story = accepted().look(BOUGHT_ROW, after=15_000).read("working", BOUGHT)
    assert story.wait(4_999).pauses() == []
    assert story.wait(1).pauses() == ["ORDERS_DISCONNECTED"]
    assert WORKING in story.wished(oto.AskPause)[0].detail
    story.wait(10_000)
    assert len(story.wished(oto.AskPause, ever=True)) == 1, "told once"


def test_a_stream_that_speaks_in_time_is_not_silent():
    story = accepted().look(BOUGHT_ROW, after=15_000).tell(FILLED, after=300)
    assert story.wait(30_000).pauses() == []


def test_a_look_after_a_gap_of_the_stream_says_nothing_against_it():
    """It was not connected all the time: it need not have told what the look shows."""
    story = accepted().look(BOUGHT_ROW, after=15_000, baseline=True).read("working", BOUGHT)
    assert story.wait(30_000).pauses() == []


def test_a_fill_told_after_the_gap_counts_again():
    story = accepted().look(BOUGHT_ROW, view("pending", "NEW"), after=15_000, baseline=True).read("working", BOUGHT)
    story.look(SOLD_ROW, after=15_000)
    assert story.wait(6_000).pauses() == ["ORDERS_DISCONNECTED"]


# -- reading


def test_f15_fills_missing_between_frames_are_read():
    story = selling().tell(ALL_SOLD)
    assert story.last == [oto.ReadExecutions(PENDING)]
    assert story.read("pending", SOLD_1, SOLD_2).outcome == "completed"


def test_the_missing_frame_may_come_first_and_the_read_after_the_end():
    story = selling().tell(ALL_SOLD, PART_SOLD)
    assert story.outcome == "completed"
    assert story.read("pending", SOLD_1, SOLD_2).last == []


def test_a_read_that_lags_is_repeated_and_ever_more_rarely():
    story = selling().tell(ALL_SOLD)
    asked = [story.ms]
    while story.ms < 28_000:
        story.tell(oto.ExecutionsFailed(PENDING, "timed out"))
        while not story.wished(oto.ReadExecutions):
            if story.state.live.looking:
                story.look(after=0)
            else:
                story.wait()
        asked.append(story.ms)
    assert asked[1] - asked[0] == 1_000
    assert len(asked) < 15


def test_several_orders_are_read_side_by_side():
    story = accepted().look(BOUGHT_ROW, SOLD_ROW, after=100)
    assert story.last == [oto.ReadExecutions(WORKING), oto.ReadExecutions(PENDING)]
    assert story.tell(oto.Tick()).last == []
    story.read("pending", SOLD_1, SOLD_2).read("working", BOUGHT)
    assert story.outcome == "completed"


def test_a_read_of_an_order_that_is_not_ours_changes_nothing():
    story = accepted()
    assert story.read("555", BOUGHT).last == []
    assert story.accounts.bought == 0


# -- what cannot be read


def unreadable(story, ms=31_000):
    """Nothing can be read for so long."""
    until = story.ms + ms
    while story.ms < until and story.kind != "Closed":
        story.tell(oto.ExecutionsFailed(PENDING, "timed out"), oto.ExecutionsFailed(WORKING, "timed out")).wait()
        if story.kind != "Closed" and story.state.live.looking:
            story.tell(oto.LookFailed("no_reply", "timed out"))
    return story


def test_fills_that_cannot_be_read_are_booked_from_the_totals_after_a_while():
    story = unreadable(selling().tell(ALL_SOLD), 29_000)
    assert (story.accounts.sold, story.kind) == (SOLD_2.quantity, "Open")
    unreadable(story, 5_000)
    assert (story.accounts.sell_quote, story.outcome) == (SOLD_QUOTE, "completed")
    assert story.accounts.quote_commission == SOLD_1.commission + SOLD_2.commission


def test_a_fill_invented_for_one_leg_does_not_hasten_that_of_another():
    story = unreadable(accepted().look(BOUGHT_ROW, view("pending", "NEW"), after=10))
    assert story.pair.working.synthetic
    story.tell(ALL_SOLD)
    unreadable(story, 20_000)
    assert not story.pair.pending.synthetic
    unreadable(story, 12_000)
    assert story.pair.pending.synthetic


def test_invented_fills_are_replaced_when_the_real_ones_come():
    story = unreadable(accepted().look(BOUGHT_ROW, view("pending", "NEW"), after=10))
    volume = story.accounts.buy_quote
    story.read("working", BOUGHT)
    assert (story.accounts.buy_quote, story.pair.working.synthetic) == (volume, False)
    assert story.accounts.base_commission == BOUGHT.commission


def test_fills_without_a_total_are_for_a_human_to_say():
    """The server of 2025 named no cumQuote (wire § 4.1)."""
    story = accepted().look(replace(BOUGHT_ROW, executed_quote=None), after=10)
    unreadable(story)
    assert (story.accounts.bought, "LEDGER_MISMATCH" in story.pauses()) == (0, True)


def test_f41_an_overfill_is_told_and_not_invented():
    story = unreadable(accepted().look(view("working", "FILLED", "900", "204.21"), after=10))
    assert (story.accounts.bought, "LEDGER_MISMATCH" in story.pauses()) == (0, True)


# -- words


@pytest.mark.parametrize("news", ["stream", "look"])
def test_f82_an_unknown_status_word_is_told_and_not_final(news):
    story = accepted()
    if news == "stream":
        story.tell(report("working", "SLEEPING"))
    else:
        story.look(view("working", "SLEEPING"), after=10)
    assert (story.kind, story.pauses()) == ("Open", ["PROTOCOL_CHANGED"])
    assert "SLEEPING" in story.wished(oto.AskPause, ever=True)[0].detail
    assert story.tell(FILLED, RELEASE, PART_SOLD, ALL_SOLD).outcome == "completed"


def test_f38_a_fill_of_nothing_is_told_and_read():
    story = accepted().tell(report("working", "FILLED", fill=replace(BOUGHT, price=D(0))))
    assert story.pauses() == ["LEDGER_MISMATCH"]
    assert story.wished(oto.ReadExecutions) == [oto.ReadExecutions(WORKING)]
    assert story.read("working", BOUGHT).accounts.buy_quote == BOUGHT.quote


def test_after_the_pair_its_sums_are_compared_with_the_exchanges():
    """Design § 5: a difference is LEDGER_MISMATCH, never silently corrected."""
    wrong = replace(ALL_SOLD, cumulative_quote=SOLD_QUOTE - D("0.00000001"))
    story = selling().tell(PART_SOLD, wrong)
    assert (story.outcome, story.pauses()) == ("completed", ["LEDGER_MISMATCH"])
    assert str(SOLD_QUOTE) in story.wished(oto.AskPause)[0].detail


# -- time


def test_a_tick_always_moves_what_was_due():
    """No busy loop: after a tick at its due time a state wants the next one later, or waits for what is in the air."""
    stories = [
        accepted(), selling(), accepted().tell(part()), selling().tell(ALL_SOLD), accepted().tell(oto.Cancel("stop")),
        accepted().tell(oto.Cancel("stop"), oto.Durable("cancel")), accepted().look(BOUGHT_ROW, after=9),
        selling().tell(report("pending", "CANCELED")), selling().tell(report("pending", "CANCELED"), DEAD_PENDING),
    ]  # fmt: skip
    for story in stories:
        for _ in range(50):
            due = next_due(story.state)
            if due is None:
                break
            story.wait()
            later = next_due(story.state)
            assert later is None or later > MONO_MS + story.ms, story.state


def test_a_patience_of_nothing_is_patience_all_the_same():
    story = accepted(the_rules=rules(poll_ms=0, settle_ms=0, looks=1))
    assert story.wait().wished(oto.TakeLook)
    assert story.look(after=1).kind == "Open"
    assert rules(looks=1).look_gap_ms == 20_000
    assert rules(settle_ms=0).look_gap_ms == 1


def test_executions_are_booked_to_the_leg_they_were_read_for():
    story = selling().read("working", replace(BOUGHT, fill_id="77"))
    assert story.accounts.bought == BOUGHT.quantity
    story.tell(oto.ExecutionsRead(PENDING, (execution("5", 10, side="SELL", source="rest"),)))
    assert story.accounts.sold == 10

"""Rows out of pairs and back: nothing is lost on the way through the database (design § 4, § 5)."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from actors.domain import oto
from actors.domain.legs import Fill
from actors.domain.orders import Accepted
from actors.domain.pair import accounts
from actors.records import Owner, changes, fill_row, foreign_row, pair_row, restored, still_sellable
from actors.rows import FillRow, OrderRow, PairRow, RetractFill, StateChangeRow
from tests.domain.cells import DEAD_PENDING, STATES, closed, unwinding_open
from tests.domain.pairkit import (
    ALL_SOLD,
    BOUGHT,
    FILLED,
    PART_SOLD,
    PENDING,
    PLAN,
    RELEASED,
    RULES,
    SOLD_1,
    SOLD_2,
    WALL_MS,
    WORKING,
    D,
    accepted,
    begun,
    execution,
    recovered,
    report,
    selling,
    view,
)

OWNER = Owner(user="alice", token="KOGE", mul_point=D(4))


def written(story):
    """All rows of a story, step by step."""
    return [
        row
        for number, (before, after, event, ms) in enumerate(story.steps)
        for row in changes(OWNER, before, after, event, now_ms=WALL_MS + ms, seq=number)
    ]


def stored(rows):
    """What the database holds after these rows: the newest by key, fills once, retracted ones gone."""
    tables = {}
    for row in rows:
        key = (row.TABLE, *(getattr(row, name) for name in row.KEY))
        if isinstance(row, RetractFill):
            tables.pop(key, None)
        elif row.MODE == "upsert" or key not in tables:
            tables[key] = row
    return list(tables.values())


def of(kind, rows):
    return [row for row in rows if isinstance(row, kind)]


def back(story, *, rows=None, the_rules=RULES):
    held = stored(written(story) if rows is None else rows)
    (row,) = of(PairRow, held)
    return restored(row, of(OrderRow, held), of(FillRow, held), the_rules)


def essence(pair):
    """A pair without what rows do not hold: what the stream alone told, the list of an unheard leg, guessed places."""

    def gist(leg):
        fills = tuple(sorted((fill.execution for fill in leg.fills), key=lambda e: e.fill_id))
        status = leg.status or ("PENDING" if leg.name == "pending" else "NEW")
        known = (status, leg.told, leg.told_quote or D(0)) if leg.order_id is not None else ()
        return leg.name, leg.side, leg.price, leg.quantity, leg.order_id, known, fills

    sales = tuple((sale.number, sale.intent_ms, sale.state, gist(sale.leg)) for sale in pair.sales)
    times = (pair.placed_ms, pair.closed_ms, pair.cancel_cause)
    return pair.plan, gist(pair.working), gist(pair.pending), sales, times


FROM_BIRTH = [name for name, make in STATES.items() if make().steps[0][2] == "Begin" and "reconciling" not in name]


@pytest.mark.parametrize("state", FROM_BIRTH)
def test_f53_a_pair_in_any_phase_comes_back_from_its_rows(state):
    story = STATES[state]()
    assert essence(back(story)) == essence(story.pair)


@pytest.mark.parametrize("state", FROM_BIRTH)
def test_rows_that_are_written_twice_change_nothing(state):
    rows = written(STATES[state]())
    assert stored([*rows, *rows]) == stored(rows)


@pytest.mark.parametrize("state", FROM_BIRTH)
def test_every_prefix_of_the_rows_of_a_pair_is_a_pair(state):
    """A kill may fall between any two writes; rows of one step are one write."""
    story = STATES[state]()
    rows = []
    for number, (before, after, event, ms) in enumerate(story.steps):
        rows += changes(OWNER, before, after, event, now_ms=WALL_MS + ms, seq=number)
        assert essence(back(story, rows=rows)) == essence(oto.pair_of(after))


@pytest.mark.parametrize("state", [name for name in FROM_BIRTH if not name.startswith("closed")])
def test_a_pair_that_came_back_goes_on_like_the_one_that_never_left(state):
    """Both hear the same rows in their next looks, and end with the same accounts."""
    story = STATES[state]()
    rows = [
        view("working", "FILLED", "869.56", BOUGHT.quote),
        view("pending", "FILLED", RELEASED, ALL_SOLD.cumulative_quote),
    ]
    ends = []
    for again in (recovered(story.pair, story.ms), recovered(back(story), story.ms)):
        again.look(*rows, after=100)
        again.read("working", BOUGHT).read("pending", SOLD_1, SOLD_2)
        ends.append((again.kind, again.outcome, accounts(again.pair), again.pauses()))
    assert ends[0] == ends[1]


# -- what is written when


def test_the_first_row_is_the_intent():
    (row, change) = written(begun())
    assert isinstance(row, PairRow)
    assert (row.status, row.outcome, row.working_order_id, row.placed_at) == ("placing", None, None, None)
    assert (row.reference_price, row.bid_at_intent, row.ask_at_intent) == (PLAN.reference, PLAN.bid, PLAN.ask)
    assert isinstance(change, StateChangeRow)
    assert (change.from_phase, change.event, change.to_phase) == ("idle", "Begin", "placing")


def test_a_pair_keeps_the_token_it_was_planned_with():
    """A configuration may name another one while the pair lives, or before it is taken up again."""
    other = replace(OWNER, token="LUMI")
    story = accepted()
    rows = changes(other, story.state, story.tell(FILLED).state, "Reported", now_ms=0, seq=1)
    assert {row.token for row in rows if hasattr(row, "token")} == {"KOGE"}
    assert pair_row(other, oto.Closed(pair=back(story), outcome="external")).token == "KOGE"


def test_a_step_that_changes_nothing_writes_nothing():
    story = accepted()
    assert changes(OWNER, story.state, story.state, "Tick", now_ms=0, seq=1) == ()
    before = story.state
    story.tell(oto.Tick())
    assert changes(OWNER, before, story.state, "Tick", now_ms=0, seq=1) == ()


def test_a_fill_is_written_once_with_its_order_and_its_pair():
    story = accepted()
    before = story.state
    rows = changes(OWNER, before, story.tell(FILLED).state, "Reported", now_ms=WALL_MS + 9, seq=3)
    assert [type(row) for row in rows] == [OrderRow, FillRow, PairRow, StateChangeRow]
    order, fill, pair, change = rows
    assert (order.status, order.executed_quantity, order.executed_quote) == ("FILLED", BOUGHT.quantity, BOUGHT.quote)
    assert (fill.fill_id, fill.quote_quantity, fill.commission) == ("1003", BOUGHT.quote, BOUGHT.commission)
    assert (fill.mul_point, fill.source, fill.leg, fill.recorded_at) == (4, "stream", "working", WALL_MS + 9)
    assert (pair.status, pair.buy_quote, pair.counted_volume) == ("selling", BOUGHT.quote, BOUGHT.quote * 4)
    assert (change.from_phase, change.to_phase) == ("working", "selling")
    before = story.state
    again = changes(OWNER, before, story.tell(FILLED).state, "Reported", now_ms=WALL_MS + 9, seq=4)
    assert again == ()


def test_invented_fills_are_taken_back_in_the_write_of_the_real_ones():
    story = selling().look(view("pending", "FILLED", RELEASED, ALL_SOLD.cumulative_quote), after=10)
    while not story.pair.pending.synthetic:
        story.tell(oto.ExecutionsFailed(PENDING, "timed out")).wait()
    assert of(FillRow, written(story))[-1].source == "synthetic"
    story.read("pending", SOLD_1, SOLD_2)
    rows = changes(OWNER, story.steps[-2][1], story.state, "ExecutionsRead", now_ms=0, seq=1)
    assert [row.fill_id for row in of(RetractFill, rows)] == [f"synthetic-{PENDING}-0-869.47"]
    assert [row.fill_id for row in of(FillRow, rows)] == ["page-1005", "page-1006"]
    held = of(FillRow, stored(written(story)))
    assert sum(row.quote_quantity for row in held if row.side == "SELL") == ALL_SOLD.cumulative_quote


def test_retractions_are_written_in_one_order():
    """One history is one sequence of rows, whatever the hash seed."""
    story = selling()
    fills = [replace(execution(f"synthetic-{n}", n, side="SELL"), source="synthetic") for n in (3, 1, 2)]
    leg = story.pair.pending
    booked = [report("pending", fill=fill, upto=upto).execution for fill, upto in zip(fills, (3, 4, 6), strict=True)]
    full = replace(leg, fills=tuple(Fill(execution=e, upto=D(u)) for e, u in zip(booked, (3, 4, 6), strict=True)))
    before = replace(story.state, live=replace(story.state.live, pair=replace(story.pair, pending=full)))
    rows = changes(OWNER, before, story.state, "x", now_ms=0, seq=1)
    assert [row.fill_id for row in of(RetractFill, rows)] == ["synthetic-1", "synthetic-2", "synthetic-3"]


def test_why_a_pair_is_cancelled_is_written():
    rows = written(accepted().tell(oto.Cancel("stop")))
    assert of(PairRow, rows)[-1].cancel_cause == "stop"
    assert of(StateChangeRow, rows)[-1].detail == "cancel: stop"


def test_a_closed_pair_is_written_with_its_wear():
    story = closed("completed")
    row = pair_row(OWNER, story.state)
    assert (row.status, row.outcome, row.closed_at) == ("closed", "completed", WALL_MS + story.ms)
    assert (row.wear, row.dust_quantity) == (D("0.0401588"), D("0.003044"))
    assert row.wear_fee + row.wear_spread + row.wear_slippage + row.wear_unwind + row.wear_dust == row.wear
    assert of(StateChangeRow, written(story))[-1].to_phase == "closed completed"


def test_a_live_pair_has_no_wear_yet():
    assert pair_row(OWNER, selling().state).wear is None


def test_sales_are_written_with_what_a_restart_needs():
    row = pair_row(OWNER, unwinding_open().state)
    (sale,) = msgspec.json.decode(row.sales)
    assert (sale["state"], sale["order_id"], D(sale["quantity"])) == ("open", "51481851", RELEASED)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("inventory_left", RELEASED), ("external", RELEASED), ("unwound", 0), ("completed", 0)],
)
def test_only_inventory_that_was_left_counts_as_sellable(outcome, expected):
    assert still_sellable(closed("inventory_left").pair, outcome) == expected


def test_inventory_without_a_sale_is_valued_at_the_reference():
    pair = accepted().tell(FILLED).pair
    assert still_sellable(pair, "external") == RELEASED


def test_sellable_leftovers_are_shown_and_are_not_yet_wear():
    row = pair_row(OWNER, closed("inventory_left").state)
    assert row.wear < D("0.03"), "commission and dust only"
    assert row.buy_quote > 197


# -- what the exchange did not say


def test_a_total_that_was_never_named_is_not_restored_as_one():
    """Else fills would be invented at a price of nothing."""
    story = accepted().look(view("working", "PARTIALLY_FILLED", 400), after=10)
    nameless = replace(story.pair, working=replace(story.pair.working, told_quote=None))
    story.state = replace(story.state, live=replace(story.state.live, pair=nameless))
    held = stored(changes(OWNER, None, story.state, "x", now_ms=0, seq=1))
    pair = restored(of(PairRow, held)[0], of(OrderRow, held), of(FillRow, held), RULES)
    assert (pair.working.told, pair.working.told_quote) == (400, None)


def test_an_order_row_that_is_missing_leaves_what_the_fills_say():
    held = stored(written(selling().tell(PART_SOLD)))
    pair = restored(of(PairRow, held)[0], [], of(FillRow, held), RULES)
    assert (pair.working.told, pair.pending.told, pair.pending.booked) == (BOUGHT.quantity, 200, 200)
    assert (pair.pending.status, pair.working.order_id) == ("", WORKING)


def test_rows_of_other_pairs_are_left_alone():
    held = stored(written(selling()))
    stranger = replace(of(OrderRow, held)[0], pair_id="alice-2026-11-20-8", executed_quantity=D(1))
    fill = replace(of(FillRow, held)[0], pair_id="alice-2026-11-20-8", fill_id="77")
    pair = restored(of(PairRow, held)[0], [*of(OrderRow, held), stranger], [*of(FillRow, held), fill], RULES)
    assert essence(pair) == essence(selling().pair)


def test_places_of_fills_are_guessed_after_a_restart_and_old_frames_do_not_contradict_them():
    """Ids of REST and of the stream need not be in one order (wire § 8.2)."""
    first = replace(SOLD_1, fill_id="9000000", source="rest")
    story = selling().tell(ALL_SOLD).tell(oto.ExecutionsRead(PENDING, (first,)))
    assert story.outcome == "completed"
    pair = back(story)
    assert [fill.execution.fill_id for fill in pair.pending.fills] == ["1006", "page-9000000"], "the wrong way round"
    again = recovered(pair).tell(PART_SOLD, ALL_SOLD)
    assert (again.pauses(), again.accounts.sold) == ([], RELEASED)
    again.read("pending", replace(SOLD_1, fill_id="9000000"), SOLD_2)
    assert [fill.execution.fill_id for fill in again.pair.pending.fills] == ["page-9000000", "1006"]


def test_a_new_frame_after_a_restart_is_booked_behind_what_is_known():
    pair = back(selling().tell(PART_SOLD))
    assert recovered(pair).tell(ALL_SOLD).accounts.sold == RELEASED


# -- foreign orders


def test_a_foreign_order_is_written_without_a_pair():
    frame = report("working", "PARTIALLY_FILLED", fill=execution("1", 5), order_id="777")
    for row in (foreign_row(OWNER, frame, 1), foreign_row(OWNER, view("working", "PARTIALLY_FILLED", 5), 1)):
        assert (row.pair_id, row.leg, row.user, row.executed_quantity) == (None, None, "alice", 5)


def test_a_foreign_row_without_times_is_dated_now():
    row = foreign_row(OWNER, view(created_ms=None, updated_ms=None, executed_quote=None), 123)
    assert (row.created_at, row.updated_at) == (123, 123)


def test_a_leg_that_nobody_has_heard_of_is_written_as_it_was_asked_for():
    story = begun().tell(oto.Durable("intent"))
    story.tell(oto.PlaceEnded(Accepted((WORKING, PENDING))))
    working, pending = of(OrderRow, written(story))
    assert (working.status, pending.status, pending.quantity) == ("NEW", "PENDING", 0)
    assert working.created_at == working.updated_at == story.pair.placed_ms


def test_the_fill_row_of_an_order_without_an_id_is_a_bug():
    story = accepted().tell(FILLED)
    leg = replace(story.pair.working, order_id=None)
    with pytest.raises(AssertionError):
        fill_row(OWNER, story.pair, leg, leg.fills[0], 0)


def test_a_pair_that_ended_by_others_says_so():
    row = pair_row(OWNER, accepted().tell(report("working", "CANCELED"), DEAD_PENDING).state)
    assert (row.outcome, row.cancel_cause) == ("external", "external")

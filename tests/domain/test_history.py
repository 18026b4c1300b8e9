"""Histories of a pair against a small exchange (venue.py, world.py): whatever happens, the ledger is the exchange's.

Every history asserts with every step: one `Place` ever, no sale above what is ours and free, bought never above the
exchange's total and never shrinking, phases along the declared graph, no closing while an order lives, no tick that
changes nothing, no report of ours called foreign. After the faults are over it must end, with the exchange's fills in
memory and in the rows, each once. The last part plants bugs and shows that these histories find them.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.domain import absorb, legs, oto, proof, unwind
from tests.domain.venue import Rules
from tests.domain.world import GRAPH, World

CHANCE = st.sampled_from((0.0, 0.0, 0.1, 0.3, 0.6))

HOW = st.builds(
    Rules,
    release_on=st.sampled_from(("full", "full", "partial")),
    partial_cancel=st.sampled_from(("end", "release")),
    held_end=st.sampled_from(("CANCELED", "EXPIRED", "silent", "gone")),
    held_listed=st.booleans(),
    refuse_release=st.sampled_from((False, False, False, True)),
    rest_ids_differ=st.booleans(),
    third_asset=st.sampled_from((False, False, False, True)),
    drop=CHANCE,
    repeat=CHANCE,
    delay=CHANCE,
    delay_ms=st.sampled_from((500, 3_000, 15_000)),
    lag_ms=st.sampled_from((0, 1_000, 6_000)),
    look_fails=CHANCE,
    read_fails=CHANCE,
    read_short=CHANCE,
    no_answer=CHANCE,
    late_ms=st.sampled_from((0, 3_000, 6_000)),
    refused=st.sampled_from((0.0, 0.0, 0.3)),
    store_ms=st.sampled_from((20, 500, 8_000)),
    cancels=st.sampled_from((0, 0, 1, 3)),
    crashes=st.sampled_from((0, 0, 1, 3)),
    fills_fast=st.sampled_from((0.03, 0.1, 0.3, 0.7)),
    sells=st.sampled_from((True, True, True, False)),
)

STORM = Rules(
    drop=0.3, repeat=0.3, delay=0.3, lag_ms=6_000, look_fails=0.2, read_fails=0.2, read_short=0.3, no_answer=0.3,
    late_ms=6_000, store_ms=500, cancels=1, crashes=2, fills_fast=0.2, rest_ids_differ=True,
)  # fmt: skip


@settings(max_examples=250, deadline=None, derandomize=True)
@given(HOW, st.integers(0, 2**32))
def test_any_history_ends_with_the_exchanges_own_ledger(how, seed):
    World(how, seed).run().verify()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_a_storm_ends_with_the_exchanges_own_ledger(seed):
    World(STORM, seed).run().verify()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.sampled_from(("full", "partial")))
def test_a_calm_exchange_gives_no_reason_to_pause(seed, release_on):
    world = World(Rules(release_on=release_on), seed).run().verify()
    assert not world.pauses
    assert world.state.outcome in ("completed", "unwound", "cancelled")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_the_order_and_repetition_of_frames_alone_give_no_reason_to_pause(seed):
    assert not World(Rules(repeat=0.6, delay=0.6, delay_ms=4_000), seed).run().verify().pauses


def test_one_seed_is_one_history():
    def told(seed):
        world = World(STORM, seed).run()
        return world.phases, world.state, world.committed

    assert told(7) == told(7)
    assert told(7) != told(8)


def test_the_graph_is_declared_for_every_state():
    kinds = {"Placing", "Unresolved", "Open", "TimedOut", "Cancelling", "Unwinding", "Reconciling", "Closed"}
    assert GRAPH.keys() == kinds
    assert all("Placing" not in after for after in GRAPH.values()), "there is no way back to a placement"


# -- planted bugs (reliability § 2.6): each must be found


def one_look_is_enough(patch):
    patch.setattr(proof, "proven", lambda absence, *, looks, settle_ms: absence.clean >= 1)
    for module in ("opening", "ending", "unwind"):
        patch.setattr(f"actors.domain.{module}.proven", proof.proven)


def no_answer_is_a_refusal(patch):
    patch.setattr("actors.domain.opening._doubt", lambda turn: turn.close("refused"))


def fills_are_known_by_their_trade_id(patch):
    real = legs._with_fill

    def with_fill(leg, execution, upto):
        if any(fill.execution.trade_id == execution.trade_id for fill in leg.fills):
            return legs.Absorbed(leg)
        return real(leg, execution, upto)

    patch.setattr(legs, "_with_fill", with_fill)
    patch.setattr(legs, "with_executions", lambda leg, rows: legs.Absorbed(leg))


def a_final_word_completes_a_leg(patch):
    patch.setattr(legs.Leg, "complete", property(lambda leg: leg.terminal))


def frames_before_the_reply_are_dropped(patch):
    patch.setattr(absorb.Turn, "_unknown", lambda turn, report: None)
    patch.setattr(legs, "with_executions", lambda leg, rows: legs.Absorbed(leg))


def a_restart_forgets_sales_in_the_air(patch):
    def as_found(pair):
        kept = tuple(replace(s, state="absent") if s.leg.order_id is None else s for s in pair.sales)
        return replace(pair, sales=kept)

    patch.setattr(unwind, "as_found", as_found)


def sales_do_not_wait_for_fills(patch):
    patch.setattr(unwind, "_owed", lambda pair: False)
    patch.setattr("actors.domain.legs.Leg.complete", property(lambda leg: leg.terminal))


def a_cancel_that_was_answered_is_an_end(patch):
    def cancel_ended(turn, state, event):
        turn.close("cancelled")

    patch.setattr("actors.domain.ending.cancel_ended", cancel_ended)


def fills_are_known_by_their_id_alone(patch):
    """Which differs between stream and REST (wire § 8.2)."""
    patch.setattr(legs, "_matched", lambda rows, booked: ({}, []))
    patch.setattr(legs, "_overlap", lambda one, other: False)


BUGS = {
    one_look_is_enough: Rules(no_answer=0.6, lag_ms=6_000, late_ms=6_000, drop=0.6),
    no_answer_is_a_refusal: Rules(no_answer=0.6),
    fills_are_known_by_their_trade_id: Rules(),
    a_final_word_completes_a_leg: Rules(drop=0.3),
    frames_before_the_reply_are_dropped: Rules(fills_fast=0.7, no_answer=0.3),
    a_restart_forgets_sales_in_the_air: Rules(crashes=3, fills_fast=0.1, cancels=1, no_answer=0.3, late_ms=6_000),
    sales_do_not_wait_for_fills: Rules(drop=0.6, cancels=2, fills_fast=0.2),
    a_cancel_that_was_answered_is_an_end: Rules(cancels=2, fills_fast=0.1),
    fills_are_known_by_their_id_alone: Rules(drop=0.3, read_short=0.6, rest_ids_differ=True),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug, monkeypatch):
    """Within 300 histories; most within the first few."""
    bug(monkeypatch)
    for seed in range(300):
        try:
            World(BUGS[bug], seed).run().verify()
        except AssertionError:
            return
    raise AssertionError("these histories would not have noticed")


def test_histories_reach_every_state_and_outcome():
    """Else the other tests say less than they seem to."""
    reached, outcomes = set(), set()
    for seed in range(60):
        world = World(replace(STORM, sells=seed % 5 > 0, refused=0.2 * (seed % 3 == 0)), Random(seed).randrange(10**6))
        reached |= set(world.run().phases)
        if isinstance(world.state, oto.Closed):
            outcomes.add(world.state.outcome)
    assert reached == GRAPH.keys()
    assert outcomes >= {"completed", "cancelled", "unwound", "inventory_left", "refused", "absent"}

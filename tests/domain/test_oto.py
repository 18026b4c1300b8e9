"""The pair machine as a whole: what every state answers to every event, and the words that it shows outside.

The table is cells.txt; how its answers read is said in cells.py. Its claims are told as stories in test_opening,
test_ending, test_unwind and test_ghosts; histories that nobody listed are played in test_history.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from actors.domain import oto
from actors.domain.trading import Phase
from tests.domain.cells import EVENTS, STATES, answer, read, render
from tests.domain.pairkit import FILLED, RELEASE, Story, accepted, part

TABLE = read((Path(__file__).parent / "cells.txt").read_text())


@pytest.mark.parametrize("state", STATES)
def test_every_cell_of_a_state_answers_as_the_table_says(state):
    """A cell that the table lacks fails, too: `None` is no answer."""
    wrong = {
        event: (said, wanted)
        for event in EVENTS
        if (said := answer(state, event)) != (wanted := TABLE.get((state, event)))
    }
    assert not wrong, "(answer, table)"


def test_the_table_has_no_cell_that_does_not_exist():
    assert TABLE.keys() == {(state, event) for state in STATES for event in EVENTS}


def test_the_table_is_written_as_it_is_rendered():
    assert render() == (Path(__file__).parent / "cells.txt").read_text()


def test_every_kind_of_state_event_and_effect_is_in_the_table():
    kinds = {type(make().state).__name__ for make in STATES.values()}
    assert kinds == {kind.__name__ for kind in get_args(oto.State)}
    told = {type(make(0)).__name__ for _, make in EVENTS.values()}
    assert told == {kind.__name__ for kind in get_args(oto.Event)}
    sale_states = {sale.state for make in STATES.values() for sale in make().pair.sales}
    assert sale_states >= {"intent", "air", "unresolved", "open", "cancelling", "over", "refused"}


def test_only_what_we_send_can_be_illegal():
    illegal = {event for (_, event), reply in TABLE.items() if reply == "illegal"}
    assert all(re.match("durable|judged|place|sale_|cancel$", event) for event in illegal), illegal


def test_the_request_leaves_in_one_cell_only():
    """A placement is no transition that exists anywhere else (design § 4)."""
    assert [cell for cell, reply in TABLE.items() if "+place" in reply.split()] == [("placing", "durable_intent")]


def test_a_sale_leaves_only_when_its_intent_is_durable():
    assert {cell for cell, reply in TABLE.items() if "+sell" in reply} == {("unwinding_intent", "durable_sale")}


def test_no_cell_closes_an_unresolved_pair_without_a_proof():
    """Only its own order, found dead, ends it at once; absence needs looks (test_opening)."""
    closing = {cell for cell, reply in TABLE.items() if cell[0].startswith("unresolved") and "Closed" in reply}
    assert closing == {("unresolved", "look_dead")}


@pytest.mark.parametrize(
    ("story", "phase"),
    [
        (accepted(), "working"),
        (accepted().tell(part()), "partially_filled"),
        (accepted().tell(FILLED), "selling"),
        (accepted().tell(FILLED, RELEASE), "selling"),
    ],
)
def test_an_open_pair_shows_how_far_it_is(story: Story, phase):
    assert oto.phase_of(story.state) == phase


def test_every_living_state_has_a_phase_of_the_contract():
    shown = {oto.phase_of(s) for make in STATES.values() if not isinstance(s := make().state, oto.Closed)}
    assert shown == set(get_args(Phase)) - {"idle", "done"}

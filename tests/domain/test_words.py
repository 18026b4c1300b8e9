"""What `otoctl why` says of a live pair."""

from __future__ import annotations

import re

import pytest

from actors.domain.words import doing, plain
from tests.domain.cells import STATES
from tests.domain.pairkit import D, at

SAYS = {
    "Placing": "its intent is being made durable|its request is in the air",
    "Unresolved": r"\d of 4 clean looks show nothing of it, absence is proven at \d\d:\d\d|could all be its request",
    "Open": r"bought [\d.]+, sold [\d.]+; its time is up at \d\d:\d\d:\d\d",
    "TimedOut": "the cancel is being made durable",
    "Cancelling": r"leg to be cancelled, \d+ tries(, the next at|; \d of 4 clean looks)",
    "Unwinding": "what is left is sold",
    "Reconciling": "the exchange is heard before anything is decided",
}


@pytest.mark.parametrize("name", [name for name in STATES if not name.startswith("closed")])
def test_every_living_state_says_what_it_does_and_waits_for(name):
    story = STATES[name]()
    told = doing(story.state, at(story.ms))
    assert re.match(r"pair \d+: buy [\d.]+ at [\d.]+, sell at [\d.]+, planned at [\d.]+; ", told)
    assert re.search(SAYS[story.kind], told), told


def test_amounts_are_told_without_empty_zeros():
    assert [plain(D(amount)) for amount in ("48.0200", "100", "1E+2", "0.0")] == ["48.02", "100", "100", "0"]

"""The bugs that must never come back are caught in small worlds that have just the trouble they need; the whole list,
and how many drawn seeds each one takes: python -m tests.sim.planted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from actors.paper.faults import Fault
from tests.sim.menu import OTO
from tests.sim.options import Options, calm_options
from tests.sim.planted import PLANTS, planted
from tests.sim.run import simulate

LOST = Fault(kind="lost_reply", path=OTO, share=0.8)
DEAF = Fault(kind="drop_frame", stream="alpha@", share=0.9)
LAGGING = Fault(kind="read_lag", seconds=6, share=0.9)
WORLDS: dict[str, dict[str, Any]] = {
    "the request leaves before its intent is durable": {},
    "a placement without an answer is sent again": {"faults": (LOST,)},
    "one look proves absence": {"faults": (LOST, LAGGING, DEAF)},
    "fills are told apart by trade id": {"rules": {"split_fill_share": 0.9}},
}


def world(name: str) -> Options:
    """Of users whose orders rest a while, if something is to be overlooked."""
    options = replace(calm_options(3, users=2, minutes=1, target=400), **WORLDS[name])
    if LAGGING not in options.faults:
        return options
    offsets = {"buy_offset": Decimal("-0.1"), "sell_offset": Decimal("0.1")}
    users = (replace(user, trading=replace(user.trading, **offsets)) for user in options.users)
    return replace(options, users=tuple(users))


@pytest.mark.parametrize("name", WORLDS)
def test_the_bug_is_caught_and_its_absence_is_not(name):
    plant = next(plant for plant in PLANTS if plant.name == name)
    with planted(plant):
        assert simulate(3, options=world(name)).violations
    assert simulate(3, options=world(name)).violations == []


def test_at_least_25_bugs_are_planted_under_names_of_their_own():
    assert len({plant.name for plant in PLANTS}) == len(PLANTS) >= 25

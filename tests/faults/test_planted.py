"""The power of these tests: with the two classical bugs planted, they fail (../shared/reliability.md § 2.6).

python -m tests.sim.planted plants many more, and counts the random runs that it takes to notice each.
"""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio

from actors.paper.faults import Fault
from tests.faults.kit import PASSIVE
from tests.sim.menu import OTO
from tests.sim.planted import PLANTS, planted
from tests.sim.stage import tell

PATIENCE_S = 90.0


class Noticed(Exception):
    """What a checker found."""


def plant(name):
    (found,) = (one for one in PLANTS if one.name == name)
    return found


async def _watched(stage):
    """Ends with the first violation, or well."""
    with trio.move_on_after(PATIENCE_S):
        await stage.world.broken.wait()
        raise Noticed(str(stage.world.violations[0]))


def _play(*, lag_s=0.0):
    """The answer to the first placement is lost, the stream is silent, and the lists lag."""
    faults = [Fault(kind="lost_reply", path=OTO, times=1), Fault(kind="drop_frame", stream="alpha@", times=8)]
    if lag_s:
        faults.append(Fault(kind="read_lag", seconds=lag_s))
    tell(_watched, *faults, config=PASSIVE | {"timeout_seconds": D(40)})


def _found(name, **how):
    """What is noticed of a planted bug."""
    with planted(plant(name)), pytest.raises(BaseExceptionGroup) as caught:
        _play(**how)
    found = caught.value.subgroup(Noticed)
    assert found is not None, caught.value
    while isinstance(found, BaseExceptionGroup):
        (found,) = found.exceptions
    return str(found)


@pytest.mark.parametrize("lag_s", [0, 8])
def test_a_retry_on_time_out_is_noticed(lag_s):
    assert "a second time" in _found("a placement without an answer is sent again", lag_s=lag_s)


def test_one_look_and_then_a_retry_is_noticed_where_lists_lag():
    assert "live pairs" in _found("one look proves absence", lag_s=8)


@pytest.mark.parametrize("lag_s", [0, 8])
def test_without_a_planted_bug_the_same_story_ends_well(lag_s):
    _play(lag_s=lag_s)

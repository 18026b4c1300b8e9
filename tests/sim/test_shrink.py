"""What is shrunk keeps what breaks, loses the rest, and can be read again from a file."""

from __future__ import annotations

import pytest

from tests.sim.options import drawn
from tests.sim.shrink import kind_of, load, save, shrink

LATE = "12.500 bob: does not trade again in a healthy world: running, idle; no pause"


def breaks(options):
    """Bob and resets are all it takes."""
    guilty = any(user.name == "bob" for user in options.users) and options.net.resets_per_min > 0
    return (LATE,) if guilty else ()


@pytest.fixture
def large():
    return next(options for seed in range(100) if breaks(options := drawn(seed, profile="harsh")))


def test_nothing_is_left_but_what_breaks(large):
    left, runs = shrink(large, breaks, wanted=kind_of(LATE), tell=lambda text: None)
    assert [user.name for user in left.users] == ["bob"]
    assert left.net.resets_per_min == large.net.resets_per_min
    assert (left.faults, left.rules, left.hands.acts, left.process.kills_per_min) == ((), {}, (), 0)
    assert left.minutes < 1
    assert runs < 200


def test_another_violation_is_not_the_wanted_one(large):
    left, _ = shrink(large, breaks, wanted=kind_of("3 alice: lost fill (1, 2)"), tell=lambda text: None)
    assert left == large


def test_the_kind_of_a_violation_leaves_out_whom_when_and_how_much():
    assert kind_of("17.2 alice: lost fill ('ALPHA_22USDT', 7)") == kind_of("3.1 user4: lost fill ('X', 8)")
    assert kind_of("3.1 bob: pair bob-2026-11-20-1 begun while paused: ['A']") != kind_of("3.1 bob: lost fill (1)")


@pytest.mark.parametrize("seed", range(20))
def test_saved_options_are_read_as_they_were(tmp_path, seed):
    options = drawn(seed, profile="harsh")
    save(options, tmp_path / "options.json")
    assert load(tmp_path / "options.json") == options


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"none\.json"):
        load(tmp_path / "none.json")

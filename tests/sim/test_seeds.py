"""Seeds that broke once and lie outside of what CI runs anyway (1 to 25): a failing seed becomes a regression test by
adding one line. What a seed draws changes with the simulator, so what it found is told as a story too (test_found.py),
or as a unit test where that says more."""

from __future__ import annotations

import pytest

from tests.sim.run import simulate

HARSH = {
    234: "a trader was brought back before CRASHED was on record, and did not know of it",
    238: "a forced stop was stored, and its trader never told",
    802: "a pair begun while its user was stopped",
    905: "orders of an earlier process were not in the self-trade register",
    2015: "an actor died for want of a store that had given up",
}
"""Seed: what it found. Of 5 users and 10 minutes."""


@pytest.mark.parametrize("seed", HARSH)
def test_a_seed_that_broke_once_does_not_break_again(seed):
    result = simulate(seed, profile="harsh")
    assert [str(violation) for violation in result.violations] == []

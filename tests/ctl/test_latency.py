"""Latencies as `otoctl top` and `otoctl system metrics` tell them."""

from __future__ import annotations

import pytest

from supervisor.ctl.latency import LOOKS, Recent, told

BOUNDS = [1.0, 2.5, 10_000.0]


def look(*market: int, commit: tuple[int, ...] = (0, 0, 0, 0)) -> dict[str, dict[str, list[float] | list[int]]]:
    return {
        "market": {"bounds_ms": BOUNDS, "counts": list(market)},
        "commit": {"bounds_ms": BOUNDS, "counts": list(commit)},
    }


@pytest.mark.parametrize(
    ("counts", "share", "words"),
    [
        ((0, 0, 0, 0), 0.99, "-"),
        ((99, 1, 0, 0), 0.99, "≤ 1 ms"),
        ((98, 2, 0, 0), 0.99, "≤ 2.5 ms"),
        ((50, 50, 0, 0), 0.5, "≤ 1 ms"),
        ((0, 0, 1, 0), 0.99, "≤ 10 s"),
        ((0, 0, 0, 1), 0.5, "> 10 s"),
    ],
)
def test_a_share_is_told_by_the_bound_that_it_kept(counts, share, words):
    assert told(BOUNDS, counts, share) == words


def test_the_first_look_tells_of_all_time_and_further_ones_of_what_came_since():
    recent = Recent()
    assert recent.words() == ()
    recent.note(look(5, 0, 7, 0))
    assert recent.words() == ("p99 prices ≤ 10 s",)
    recent.note(look(9, 0, 7, 0, commit=(0, 1, 0, 0)))
    assert recent.words() == ("p99 commit ≤ 2.5 ms, prices ≤ 1 ms",)
    for _ in range(LOOKS + 1):
        recent.note(look(9, 0, 7, 0, commit=(0, 1, 0, 0)))
    assert recent.words() == ()


def test_counts_that_went_back_are_those_of_another_daemon():
    recent = Recent()
    recent.note(look(900, 0, 0, 0))
    recent.note(look(0, 3, 0, 0))
    assert recent.words() == ("p99 prices ≤ 2.5 ms",)


def test_who_may_not_see_figures_sees_none():
    recent = Recent()
    recent.note({})
    recent.note({})
    assert recent.words() == ()

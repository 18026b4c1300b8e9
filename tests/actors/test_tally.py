"""Counting: durations fall where they belong, and actors count what they do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.tally import COMMIT_S, LATENCY_S, Histogram, Tally


@given(st.lists(st.floats(min_value=-5, max_value=100)), st.sampled_from([LATENCY_S, COMMIT_S]))
def test_a_bound_counts_all_that_took_no_longer(taken: list[float], bounds: tuple[float, ...]) -> None:
    histogram = Histogram(bounds)
    for seconds in taken:
        histogram.observe(seconds)
    expected = [sum(max(seconds, 0.0) <= bound for seconds in taken) for bound in bounds]
    assert histogram.cumulative() == [*expected, len(taken)]
    assert histogram.total == len(taken)


def test_a_clock_that_runs_ahead_of_ours_makes_no_negative_durations() -> None:
    histogram = Histogram()
    histogram.observe(-3.0)
    assert (histogram.counts[0], histogram.sum_s) == (1, 0.0)


def test_a_call_without_a_reply_counts_but_has_no_duration() -> None:
    tally = Tally()
    tally.called("oto-order/place", "success", 0.03)
    tally.called("oto-order/place", "no_reply")
    assert tally.calls == {("oto-order/place", "success"): 1, ("oto-order/place", "no_reply"): 1}
    assert tally.call_s["oto-order/place"].total == 1

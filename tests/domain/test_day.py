"""The user's UTC day: dates, sums, targets, points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.day import (
    DAY_MS,
    Day,
    achieved,
    date_of,
    next_midnight_ms,
    percent,
    points_of,
    remaining_quote,
    target_of,
    with_fill,
)
from actors.domain.trading import TradingConfig
from tests.domain.pairkit import D

VOLUME = TradingConfig(token="KOGE", target_volume=D(500), buy_offset=D(0), sell_offset=D(0))
POINTS = TradingConfig(token="KOGE", target_points=17, buy_offset=D(0), sell_offset=D(0))
MIDNIGHT = 1_790_035_200_000  # 2026-09-22T00:00:00Z
TODAY = Day(date="2026-09-21")


@pytest.mark.parametrize(
    ("at_ms", "date"),
    [(MIDNIGHT - 1, "2026-09-21"), (MIDNIGHT, "2026-09-22"), (0, "1970-01-01"), (1_709_164_800_000, "2024-02-29")],
)
def test_a_date_is_that_of_utc(at_ms, date):
    assert date_of(at_ms) == date


@given(st.integers(0, 4_000_000_000_000))
def test_the_next_midnight_begins_the_next_date(at_ms):
    midnight = next_midnight_ms(at_ms)
    assert 0 < midnight - at_ms <= DAY_MS
    assert date_of(midnight) > date_of(at_ms)
    assert date_of(midnight - 1) == date_of(at_ms)


def test_only_buys_make_volume_and_each_fill_counts_with_its_own_multiplier():
    day = with_fill(TODAY, "BUY", D(100), D("0.01"), "ALPHA_22", D(4))
    day = with_fill(day, "BUY", D("0.00000001"), D(0), "ALPHA_22", D(2))
    day = with_fill(day, "SELL", D(99), D("0.0099"), "USDT", D(4))
    assert (day.volume, day.counted) == (D("100.00000001"), D("400.00000002"))
    assert day.fees == (("ALPHA_22", D("0.01")), ("USDT", D("0.0099")))


def test_a_fee_of_nothing_is_no_fee():
    assert with_fill(TODAY, "BUY", D(1), D(0), "", D(1)).fees == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("BUY", "SELL")),
            st.integers(1, 10**16).map(lambda n: D(n).scaleb(-8)),
            st.integers(0, 10**12).map(lambda n: D(n).scaleb(-8)),
            st.sampled_from(("USDT", "ALPHA_22", "BNB")),
            st.sampled_from((D(1), D(2), D(4))),
        ),
        max_size=8,
    )
)
def test_what_is_retracted_leaves_nothing_behind(fills):
    day = TODAY
    for fill in fills:
        day = with_fill(day, *fill)
    for fill in reversed(fills):
        day = with_fill(day, *fill, sign=-1)
    assert day == TODAY


def test_a_target_in_points_is_a_power_of_two_of_counted_volume():
    day = Day(date="2026-09-21", volume=D(300), counted=D(131_071))
    assert (target_of(VOLUME), target_of(POINTS)) == (500, 131_072)
    assert (achieved(day, VOLUME), achieved(day, POINTS)) == (300, 131_071)


@pytest.mark.parametrize(
    ("config", "day", "multiplier", "left"),
    [
        (VOLUME, {}, 4, "500"),
        (VOLUME, {"volume": D("499.99999999")}, 4, "0.00000001"),
        (VOLUME, {"volume": D(501)}, 4, "0"),
        (POINTS, {}, 4, "32768"),
        (POINTS, {"counted": D(131_071)}, 3, "0.33333334"),
        (POINTS, {"counted": D(131_072)}, 4, "0"),
        (POINTS, {"counted": D(131_071)}, 0, "1"),
    ],
)
def test_what_is_still_to_buy_is_nominal_and_enough(config, day, multiplier, left):
    day = Day(date="2026-09-21", **day)
    still = remaining_quote(day, config, D(multiplier))
    assert still == D(left)
    if config is POINTS and multiplier:
        assert day.counted + still * multiplier >= 131_072


@pytest.mark.parametrize(
    ("volume", "shown"), [("0", "0.00"), ("319.05", "63.81"), ("499.99999", "99.99"), ("500", "100"), ("512", "100")]
)
def test_progress_never_rounds_up_to_done(volume, shown):
    assert percent(Day(date="2026-09-21", volume=D(volume)), VOLUME) == D(shown)


@pytest.mark.parametrize(
    ("counted", "points"),
    [
        ("0", 0), ("1.99999999", 0), ("2", 1), ("3.99", 1), ("4", 2), ("1024", 10), ("65536", 16),
        ("131071.99999999", 16), ("131072", 17), ("131874.259612", 17), ("262144", 18), ("262929.466402", 18),
    ],
)  # fmt: skip
def test_points_are_the_logarithm_of_the_counted_volume(counted, points):
    """The last of them are captured (wire § 14.1)."""
    assert points_of(D(counted)) == points

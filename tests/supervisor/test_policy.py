"""Restart or not, as a table; budgets and delays as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy import Done, Escalate, Park, Past, Restart, decide, delay_after
from supervisor.spec import ChildSpec


async def actor(inbox, *, task_status) -> None:
    task_status.started()


def spec(**options) -> ChildSpec:
    return ChildSpec(name="a", start=actor, **options)


def judge(child: ChildSpec, past: Past = Past(), ended="crashed", now_s: float = 0.0, up_s: float = 1.0, luck=0.5):  # noqa: B008
    return decide(child, past, ended, now_s=now_s, up_s=up_s, luck=luck)


@pytest.mark.parametrize(
    ("restart", "ended", "verdict"),
    [
        ("permanent", "returned", Restart),
        ("permanent", "crashed", Restart),
        ("permanent", "failed", Restart),
        ("transient", "returned", Done),
        ("transient", "crashed", Restart),
        ("transient", "failed", Restart),
        ("temporary", "returned", Done),
        ("temporary", "crashed", Done),
        ("temporary", "failed", Done),
    ],
)
def test_restart_kind_and_ending(restart, ended, verdict):
    assert type(judge(spec(restart=restart), ended=ended)) is verdict


@pytest.mark.parametrize(("exhausted", "verdict"), [("park", Park), ("escalate", Escalate)])
@pytest.mark.parametrize("intensity", [0, 1, 5])
def test_one_death_more_than_intensity_is_given_up(exhausted, verdict, intensity):
    child, past = spec(exhausted=exhausted, intensity=intensity), Past()
    for death in range(intensity):
        given_up = judge(child, past, now_s=float(death))
        assert isinstance(given_up, Restart)
        past = given_up.past
    assert type(judge(child, past, now_s=float(intensity))) is verdict


@pytest.mark.parametrize(("second_s", "verdict"), [(9.999, Park), (10.0, Restart), (10.001, Restart)])
def test_a_death_exactly_period_s_old_has_left_the_window(second_s, verdict):
    past = judge(spec(intensity=1, period_s=10), now_s=0.0).past
    assert type(judge(spec(intensity=1, period_s=10), past, now_s=second_s)) is verdict


def test_a_given_up_child_keeps_its_past_to_be_shown():
    assert judge(spec(intensity=0), now_s=7.0).past.deaths_s == (7.0,)


@pytest.mark.parametrize(("streak", "delay_s"), [(1, 0.1), (2, 0.2), (3, 0.4), (9, 25.6), (10, 30.0), (5000, 30.0)])
def test_the_delay_grows_up_to_its_cap(streak, delay_s):
    assert delay_after(spec(jitter=0), streak, 0.9) == pytest.approx(delay_s)


@pytest.mark.parametrize(("luck", "delay_s"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
def test_jitter_spreads_both_ways(luck, delay_s):
    assert delay_after(spec(delay_s=1, jitter=0.2), 1, luck) == pytest.approx(delay_s, abs=1e-3)


def test_without_a_first_delay_there_is_none_at_all():
    assert delay_after(spec(delay_s=0), 20, 0.7) == 0


@pytest.mark.parametrize(("up_s", "delay_s"), [(9.9, 0.4), (10.0, 0.1)])
def test_a_steady_period_begins_the_delays_anew(up_s, delay_s):
    verdict = judge(spec(jitter=0, steady_s=10), Past((), streak=2), up_s=up_s)
    assert verdict.delay_s == pytest.approx(delay_s)


@given(
    intensity=st.integers(0, 10),
    period_s=st.floats(0.1, 100),
    gaps=st.lists(st.floats(0, 50), max_size=60),
    luck=st.floats(0, 1, exclude_max=True),
)
def test_no_window_ever_holds_more_restarts_than_allowed(intensity, period_s, gaps, luck):
    child, past, now_s, restarts = spec(intensity=intensity, period_s=period_s), Past(), 0.0, []
    for gap in gaps:
        now_s += gap
        verdict = judge(child, past, now_s=now_s, luck=luck)
        past = Past() if isinstance(verdict, Park) else verdict.past
        if isinstance(verdict, Restart):
            restarts.append(now_s)
            assert 0 <= verdict.delay_s <= child.delay_s_max
            assert len([at for at in restarts if now_s - at < period_s]) <= intensity
        else:
            restarts.clear()  # an operator starts it again, with a fresh budget


@given(streak=st.integers(1, 3000), luck=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1))
def test_delays_are_finite_and_never_negative(streak, luck, jitter):
    assert 0 <= delay_after(spec(jitter=jitter), streak, luck) <= 30

"""Permits: rates, order of service, penalties, cancellation."""

from __future__ import annotations

import itertools
import random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actors.adapters.limits import (
    HARD_MAX,
    HARD_WINDOW_S,
    LOOPBACK,
    REAL_HOST,
    AddressLimits,
    Allowance,
    Gate,
    Permits,
    Rates,
    Turnstile,
)


class Requests:
    """Starts requests and notes (time since the start, name) as they get their permit."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.begun_s = trio.current_time()
        self.passed = []

    async def start(self, permits, name, lane="read", key=""):
        self.nursery.start_soon(self._run, permits, name, lane, key)
        await trio.testing.wait_all_tasks_blocked()

    async def _run(self, permits, name, lane, key):
        await permits.acquire(lane, key)
        self.passed.append((round(trio.current_time() - self.begun_s, 3), name))

    @property
    def names(self):
        return [name for _, name in self.passed]

    @property
    def times(self):
        return [at_s for at_s, _ in self.passed]


@pytest.fixture
def requests(nursery):
    return Requests(nursery)


async def test_a_real_private_session_has_burst_3_then_1_per_second(requests, autojump_clock):
    permits = AddressLimits(REAL_HOST).user()
    for number in range(6):
        await requests.start(permits, number, "cancel")
    await trio.sleep(60)
    assert requests.passed == [(0, 0), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5)]


async def test_the_last_token_is_kept_for_cancels_and_reconciling_reads(requests, autojump_clock):
    permits = AddressLimits(REAL_HOST).user()
    for number in range(3):
        await requests.start(permits, f"read-{number}")
    await requests.start(permits, "reconcile", "reconcile")
    assert requests.passed == [(0, "read-0"), (0, "read-1"), (0, "reconcile")]
    await trio.sleep(10)
    assert requests.passed[3:] == [(2, "read-2")]  # one token for the reserve, one for itself


async def test_public_sessions_have_2_per_second(requests, autojump_clock):
    permits = AddressLimits(REAL_HOST).public()
    for number in range(6):
        await requests.start(permits, number, "public")
    await trio.sleep(10)
    assert requests.times == [0, 0, 0.5, 1, 1.5, 2]


async def test_placements_keep_their_distance_per_symbol(requests, autojump_clock):
    permits = AddressLimits(Rates(private=Allowance(per_s=10, burst=10))).user()
    for number in range(3):
        await requests.start(permits, f"koge-{number}", "order", "KOGE")
    await requests.start(permits, "other", "order", "OTHER")
    await requests.start(permits, "read")
    await trio.sleep(10)
    assert requests.passed == [(0, "koge-0"), (0, "other"), (0, "read"), (0.5, "koge-1"), (1, "koge-2")]


async def test_nfr004_a_user_never_sends_more_than_10_within_any_second(requests, autojump_clock):
    permits = AddressLimits(LOOPBACK).user()
    for number in range(40):
        await requests.start(permits, number, "cancel")
    await trio.sleep(60)
    assert len(requests.times) == 40
    assert requests.times[HARD_MAX - 1] == 0
    for first, last in zip(requests.times, requests.times[HARD_MAX:], strict=False):
        assert last - first >= HARD_WINDOW_S - 0.001


async def test_loopback_users_do_not_share_a_ceiling(requests, autojump_clock):
    limits = AddressLimits(LOOPBACK)
    for user in range(50):
        await requests.start(limits.user(), user)
    assert requests.times == [0] * 50


async def test_real_users_share_the_ceiling_of_the_address_in_the_order_of_their_arrival(requests, autojump_clock):
    limits = AddressLimits(REAL_HOST)
    for user in range(30):
        await requests.start(limits.user(), user)
    await trio.sleep(60)
    assert [name for _, name in sorted(requests.passed)] == list(range(30))
    for first, last in zip(requests.times, requests.times[10:], strict=False):
        assert last - first >= HARD_WINDOW_S - 0.001
    assert requests.times[-1] < 3  # 8 at once, then 10 a second


async def test_cancels_overtake_then_reconciling_reads_then_the_rest_by_arrival(requests, autojump_clock):
    gate = Turnstile(Gate(Allowance(per_s=1, burst=1)))
    permits = Permits(Turnstile(Gate(None)), gate)
    await requests.start(permits, "first")
    for name, lane in [("read", "read"), ("order", "order"), ("reconcile", "reconcile"), ("cancel", "cancel")]:
        await requests.start(permits, name, lane)
    await requests.start(permits, "cancel-2", "cancel")
    await trio.sleep(60)
    assert requests.names == ["first", "cancel", "cancel-2", "reconcile", "read", "order"]
    assert requests.times == [0, 1, 2, 3, 4, 5]


# -- penalties


async def test_f24_a_penalty_holds_all_users_and_cancels_go_first_when_it_ends(requests, autojump_clock):
    limits = AddressLimits(REAL_HOST)
    alice, bob, public = limits.user(), limits.user(), limits.public()
    alice.penalise(30)
    assert bob.closed_for_s == 30
    await requests.start(alice, "alice-read")
    await requests.start(public, "public", "public")
    await requests.start(bob, "bob-order", "order", "KOGE")
    await requests.start(bob, "bob-cancel", "cancel")
    assert limits.statistics().waiting == 4
    await trio.sleep(29.9)
    assert requests.passed == []
    await trio.sleep(10)
    assert requests.names == ["bob-cancel", "alice-read", "public", "bob-order"]
    assert requests.times[0] == 30
    assert requests.times[1] > 30  # it starts with one token, not with a burst
    assert limits.statistics().closed_for_s == 0


async def test_a_longer_penalty_replaces_a_shorter_one_but_never_the_other_way(requests, autojump_clock):
    limits = AddressLimits(LOOPBACK)
    limits.penalise(10)
    await requests.start(limits.user(), "a")
    await trio.sleep(5)
    limits.penalise(20)
    limits.penalise(1)
    await trio.sleep(60)
    assert requests.passed == [(25, "a")]


async def test_without_a_ceiling_all_leave_at_once_when_a_penalty_ends(requests, autojump_clock):
    limits = AddressLimits(LOOPBACK)
    limits.penalise(3)
    for user in range(20):
        await requests.start(limits.user(), user)
    await trio.sleep(10)
    assert sorted(requests.passed) == [(3, user) for user in range(20)]


# -- cancellation


async def test_a_waiter_that_is_cancelled_takes_no_permit_along(requests, autojump_clock):
    permits = Permits(Turnstile(Gate(Allowance(per_s=1, burst=1))), Turnstile(Gate(None)))
    await requests.start(permits, "first")
    with trio.move_on_after(0.5):
        await permits.acquire("read")
    await requests.start(permits, "second")
    await trio.sleep(10)
    assert requests.passed == [(0, "first"), (1, "second")]
    assert permits.statistics().waiting == 0


async def test_the_next_in_line_is_served_when_the_first_is_cancelled(requests, autojump_clock):
    permits = Permits(Turnstile(Gate(Allowance(per_s=0.1, burst=1))), Turnstile(Gate(None)))
    await requests.start(permits, "first")
    async with trio.open_nursery() as inner:
        inner.start_soon(permits.acquire, "cancel")
        await trio.testing.wait_all_tasks_blocked()
        await requests.start(permits, "second")
        inner.cancel_scope.cancel()
    await trio.sleep(60)
    assert requests.passed == [(0, "first"), (10, "second")]


async def test_a_permit_granted_to_a_cancelled_caller_is_given_back(requests, autojump_clock):
    permits = AddressLimits(REAL_HOST).user()
    for _ in range(5):
        with trio.CancelScope() as scope:
            scope.cancel()
            await permits.acquire("order", "KOGE")
    for number in range(2):
        await requests.start(permits, number)
    assert requests.times == [0, 0]


async def test_a_caller_cancelled_at_the_address_gives_its_own_permit_back(requests, autojump_clock):
    limits = AddressLimits(REAL_HOST)
    limits.penalise(10)
    permits = limits.user()
    for _ in range(4):
        with trio.move_on_after(1):
            await permits.acquire("cancel")
    assert permits.statistics().waiting == 0
    for number in range(3):
        await requests.start(permits, number, "cancel")
    await trio.sleep(60)
    assert len(requests.passed) == 3


async def test_acquire_yields_even_when_it_need_not_wait(autojump_clock):
    with trio.testing.assert_checkpoints():
        await AddressLimits(LOOPBACK).user().acquire("read")


async def test_a_crowd_at_one_address_is_served_in_the_order_of_arrival(requests, autojump_clock):
    limits = AddressLimits(Rates(address_per_s=100))
    limits.penalise(1)
    for user in range(300):
        await requests.start(limits.user(), user)
    assert limits.statistics().waiting == 300
    await trio.sleep(60)
    assert [name for _, name in sorted(requests.passed)] == list(range(300))
    assert limits.statistics().granted == 300


# -- the pure gate


LANES = st.sampled_from(["order", "cancel", "reconcile", "read", "public"])


@given(
    arrivals=st.lists(st.tuples(st.floats(0, 3), LANES, st.sampled_from("AB")), max_size=40),
    per_s=st.sampled_from([0.5, 1, 3, 10]),
    burst=st.integers(1, 5),
    reserve=st.integers(0, 2),
    ceiling=st.sampled_from([None, 2, 10]),
    seed=st.integers(0, 2**16),
)
def test_a_gate_never_exceeds_its_rates_and_serves_everybody(arrivals, per_s, burst, reserve, ceiling, seed):
    rng = random.Random(seed)
    burst += reserve
    gate = Gate(Allowance(per_s=per_s, burst=burst, reserve=reserve), ceiling=ceiling, spacing_s=0.5)
    now_s, granted, kept = 100.0, [], []
    for gap_s, lane, key in arrivals:
        now_s += gap_s * rng.random() ** 4
        ticket = gate.enter(lane, key)
        if rng.random() < 0.1:
            gate.leave(ticket)
        else:
            kept.append(ticket)
        granted += [(now_s, served) for served in gate.serve(now_s)]
    while (following := gate.next()) is not None:
        due_s, ticket = following
        assert due_s > now_s  # else serve() had granted it: nobody ever waits in a circle
        now_s = due_s
        served = gate.serve(now_s)
        assert ticket in served
        granted += [(now_s, each) for each in served]
    assert sorted(t.arrival for t in kept) == sorted(t.arrival for _, t in granted)
    assert gate.statistics(now_s).waiting == 0
    times = [at_s for at_s, _ in granted]
    for i, j in itertools.combinations(range(len(times)), 2):  # the bucket's law, for every stretch of time
        assert j - i + 1 <= burst + per_s * (times[j] - times[i]) + 1e-6
    if ceiling is not None:
        assert all(b - a >= HARD_WINDOW_S - 1e-6 for a, b in zip(times, times[ceiling:], strict=False))
    for lane in ("cancel", "reconcile", "read", "public"):
        order = [t.arrival for _, t in granted if t.lane == lane]
        assert order == sorted(order)
    for key in "AB":
        spaced = [at_s for at_s, t in granted if t.lane == "order" and t.key == key]
        assert all(b - a >= 0.5 - 1e-6 for a, b in itertools.pairwise(spaced))


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Gate(Allowance(per_s=0, burst=1)),
        lambda: Gate(Allowance(per_s=1, burst=1, reserve=1)),
        lambda: Gate(Allowance(per_s=1, burst=0)),
        lambda: Gate(None, ceiling=0),
    ],
)
def test_a_gate_through_which_nobody_could_pass_is_refused(bad):
    with pytest.raises(AssertionError):
        bad()

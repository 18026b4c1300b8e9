"""The listen-key schedule: every state with every event, ages, delays, and what is told."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.keyschedule import (
    LAPSED,
    OWNER_TROUBLES,
    THROTTLED_S,
    Asked,
    Begun,
    Due,
    Failed,
    Fetch,
    Fetching,
    Got,
    Key,
    New,
    Refused,
    Tell,
    Timing,
    Wait,
    Waiting,
    step,
)
from actors.errors import IllegalEvent

NOW = 1_795_176_000_000
TIMING = Timing()


def key(name="k1", *, age_s=0.0, since_s=0.0):
    return Key(key=name, since_ms=NOW - round(since_s * 1000), renewed_ms=NOW - round(age_s * 1000))


def failed(trouble="no_reply", *, retry_after_s=None, luck=1.0, at_s=0.0):
    return Failed(trouble, retry_after_s, NOW + round(at_s * 1000), luck)


# -- every cell

STATES = [New(), Waiting(key=key()), Waiting(key=None, trouble="system"), Fetching(key=key()), Fetching(key=None)]
EVENTS = [Begun(NOW, 0.0), Due(), Asked(), Got("k2", NOW, 0.0), failed(), Refused("k1", NOW, 0.0)]
LEGAL = {
    New: {Begun},
    Waiting: {Due, Asked, Refused},
    Fetching: {Asked, Got, Failed, Refused},
}


@pytest.mark.parametrize(("state", "event"), [*itertools.product(STATES, EVENTS)])
def test_every_cell_is_answered_or_is_a_bug_of_ours(state, event):
    if type(event) not in LEGAL[type(state)]:
        with pytest.raises(IllegalEvent) as caught:
            step(state, event, TIMING)
        assert "k1" not in str(caught.value)
        assert "k2" not in str(caught.value)
        return
    after, effects = step(state, event, TIMING)
    assert isinstance(after, Waiting | Fetching)
    if isinstance(after, Fetching) and isinstance(state, Waiting | New):
        assert Fetch() in effects
    if isinstance(after, Waiting) and isinstance(state, Fetching | New):
        assert any(isinstance(effect, Wait) for effect in effects)  # nobody waits for ever


# -- the beginning


def test_a_user_without_a_key_is_fetched_at_once():
    assert step(New(), Begun(NOW, 0.0), TIMING) == (Fetching(key=None), (Fetch(),))


def test_a_young_key_of_an_earlier_incarnation_is_not_fetched_again():
    young = key(age_s=600, since_s=5000)
    assert step(New(young), Begun(NOW, 0.0), TIMING) == (Waiting(key=young), (Wait(900.0),))


def test_an_old_key_is_renewed_at_once_and_relied_on_meanwhile():
    old = key(age_s=1500)
    assert step(New(old), Begun(NOW, 0.0), TIMING) == (Fetching(key=old), (Fetch(),))


def test_luck_may_have_made_a_young_key_due_already():
    young = key(age_s=1490)
    assert step(New(young), Begun(NOW, 0.5), TIMING) == (Waiting(key=young), (Wait(0.0),))


def test_a_clock_that_was_set_back_does_not_put_the_renewal_off():
    ahead = key(age_s=-86_400)
    assert step(New(ahead), Begun(NOW, 0.0), TIMING)[1] == (Wait(1500.0),)


# -- renewal


def test_a_new_key_is_told_and_renewed_after_renew_s_less_jitter():
    after, effects = step(Fetching(key=None, trouble="system", failures=3), Got("k1", NOW, 0.5), TIMING)
    assert after == Waiting(key=key())
    assert effects == (Tell(key()), Wait(1500 * 0.95))


def test_the_same_key_again_is_renewed_and_keeps_its_birth():
    after, effects = step(Fetching(key=key(age_s=1500, since_s=4500)), Got("k1", NOW, 0.0), TIMING)
    assert after == Waiting(key=key(since_s=4500))
    assert effects[0] == Tell(key(since_s=4500))


def test_another_key_replaces_the_old_one():
    after, effects = step(Fetching(key=key(age_s=1500, since_s=4500)), Got("k2", NOW, 0.0), TIMING)
    assert after == Waiting(key=key("k2"))
    assert effects[0] == Tell(key("k2"))


@given(luck=st.floats(0, 1, exclude_max=True))
def test_keys_are_renewed_at_most_30_minutes_apart_and_well_before_they_lapse(luck):
    (_, wait) = step(Fetching(key=None), Got("k", NOW, luck), TIMING)[1]
    assert 1000 < wait.seconds <= 1800
    assert wait.seconds + 20 * TIMING.retry_s_max < TIMING.lapse_s


# -- failures


def test_a_passing_trouble_is_not_told_while_a_key_is_good():
    after, effects = step(Fetching(key=key(age_s=1500)), failed("system"), TIMING)
    assert effects == (Tell(key(age_s=1500)), Wait(1.0))
    assert after == Waiting(key=key(age_s=1500), trouble="system", failures=1)


def test_without_a_key_every_trouble_is_told():
    assert step(Fetching(key=None), failed("not_sent"), TIMING)[1][0] == Tell(None, "not_sent")


def test_a_key_that_could_not_be_renewed_in_time_is_no_longer_relied_on():
    state = Fetching(key=key(age_s=3300), trouble="system", failures=9)
    after, effects = step(state, failed("system"), TIMING)
    assert effects[0] == Tell(None, "system")
    assert after.key is None


@pytest.mark.parametrize("trouble", sorted(OWNER_TROUBLES))
def test_what_only_the_owner_can_mend_is_told_at_once_and_asked_again_rarely(trouble):
    good = key(age_s=1500)
    after, effects = step(Fetching(key=good), failed(trouble, luck=0.0), TIMING)
    assert effects == (Tell(good, trouble), Wait(1500.0))
    assert step(after, Due(), TIMING)[1] == (Fetch(),)


@given(failures=st.integers(0, 10_000), luck=st.floats(0, 1, exclude_max=True))
def test_retries_grow_to_a_bound_with_luck(failures, luck):
    state = Fetching(key=None, failures=failures)
    wait = step(state, failed("no_reply", luck=luck), TIMING)[1][-1]
    full = min(2.0 ** min(failures, 20), 60)
    assert wait.seconds == pytest.approx(full * (0.5 + luck / 2))


def test_f24_throttling_waits_as_long_as_the_exchange_asks():
    for retry_after_s, expected in [(None, THROTTLED_S), (0.0, 1.0), (7.5, 7.5), (86_400.0, 86_400.0)]:
        wait = step(Fetching(key=None), failed("throttled", retry_after_s=retry_after_s), TIMING)[1][-1]
        assert wait == Wait(expected)


def test_other_troubles_honour_retry_after_too():
    assert step(Fetching(key=None), failed("system", retry_after_s=120.0), TIMING)[1][-1] == Wait(120.0)


# -- asked, refused


@pytest.mark.parametrize("trouble", ["session", "human", "blocked", "system"])
def test_asking_tries_a_troubled_user_at_once(trouble):
    after, effects = step(Waiting(key=key(), trouble=trouble, failures=2), Asked(), TIMING)
    assert effects == (Fetch(),)
    assert isinstance(after, Fetching)


@pytest.mark.parametrize("state", [Waiting(key=key()), Waiting(key=None, trouble="throttled")])
def test_asking_changes_nothing_for_a_good_key_or_a_throttled_address(state):
    assert step(state, Asked(), TIMING) == (state, ())


def test_f77_credentials_renewed_during_a_fetch_are_tried_at_once_when_it_fails():
    asked, effects = step(Fetching(key=None), Asked(), TIMING)
    assert effects == ()
    after, effects = step(asked, failed("session"), TIMING)
    assert effects == (Tell(None, "session"), Fetch())
    after, effects = step(after, failed("session"), TIMING)  # only once
    assert isinstance(after, Waiting)
    assert effects[-1] == Wait(1350.0)


def test_f27_a_refused_key_is_replaced_at_once():
    after, effects = step(Waiting(key=key(age_s=700)), Refused("k1", NOW, 0.0), TIMING)
    assert effects == (Tell(None, LAPSED), Fetch())
    assert after.key is None


def test_a_refusal_of_a_key_that_was_replaced_already_is_stale_news():
    state = Waiting(key=key("k2"))
    assert step(state, Refused("k1", NOW, 0.0), TIMING) == (state, ())
    assert step(Fetching(key=key("k2")), Refused("k1", NOW, 0.0), TIMING) == (Fetching(key=key("k2")), ())


def test_keys_that_die_young_are_replaced_ever_more_slowly():
    state, waits = Waiting(key=key()), []
    for _ in range(8):
        state, effects = step(state, Refused("k1", NOW + 100, 1.0), TIMING)
        waits.append(effects[-1].seconds)
        state, effects = step(state, Due(), TIMING)
        assert effects == (Fetch(),)
        state, effects = step(state, Got("k1", NOW, 0.0), TIMING)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    state, effects = step(state, Refused("k1", NOW + 3_600_000, 1.0), TIMING)  # this one lived
    assert effects == (Tell(None, LAPSED), Fetch())


def test_a_key_refused_while_it_is_renewed_is_dropped():
    after, effects = step(Fetching(key=key()), Refused("k1", NOW, 0.0), TIMING)
    assert (after.key, effects) == (None, (Tell(None, LAPSED),))


def test_no_repr_shows_a_key():
    for thing in (key("s3cr3t"), Got("s3cr3t", NOW, 0.0), Refused("s3cr3t", NOW, 0.0), Waiting(key=key("s3cr3t"))):
        assert "s3cr3t" not in repr(thing)
    assert "s3cr3t" not in repr(Tell(key("s3cr3t")))

"""When one user's listen key is fetched, renewed and retried, and what is told of it (wire § 10.3).

The exchange says neither how long a key lives nor what a second request does to the first; both must work. So a key is
asked for again well before it could lapse, the answer is taken whatever it is, and only a key that differs counts as a
new one. A machine for one user:

              Begun                      Due, Refused, Asked                    Got, Failed
    New ──────────────▶ Waiting or Fetching ──────────────▶ Fetching ─────────────────────▶ Waiting

Troubles are of two kinds. Some end by themselves (network, 5xx, throttling): retried with growing delays, and told only
when no usable key is left, because a stream that is open stays open. Others need the account's owner (login expired,
extra verification, blocked): told at once, and asked again rarely, at the pace of a renewal, or when somebody asks.

Time comes in as wall ms, because the age of a key outlives the process's clock; waits go out in seconds. `luck` in
[0, 1) spreads users and retries. No repr here shows a key.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from actors.errors import IllegalEvent

OWNER_TROUBLES = frozenset({"session", "human", "blocked"})
LAPSED = "lapsed"  # the exchange no longer knows the key; a word beside errors.Trouble
THROTTLED_S = 30.0  # a throttling that names no time


class Timing(Struct, frozen=True, kw_only=True):
    """Seconds. renew: at most 30 minutes (requirements); lapse: a key not renewed for so long is no longer relied on
    (60 minutes on spot [I], less what it takes to notice). jitter: renewals come earlier by up to this share.
    """

    renew_s: float = 1500.0
    lapse_s: float = 3300.0
    retry_s_min: float = 1.0
    retry_s_max: float = 60.0
    jitter: float = 0.1


class Key(Struct, frozen=True, kw_only=True):
    """A key at hand, wall ms. since: this key was first given; renewed: last confirmed."""

    key: str
    since_ms: int
    renewed_ms: int

    def __repr__(self) -> str:
        return f"Key(since_ms={self.since_ms}, renewed_ms={self.renewed_ms})"


# -- states


class New(Struct, frozen=True):
    """Nothing happened yet. key: what an earlier incarnation left behind."""

    key: Key | None = None


class Waiting(Struct, frozen=True, kw_only=True):
    """failures: in a row; refusals: keys that lapsed young, in a row. trouble: why the last fetch failed."""

    key: Key | None
    trouble: str | None = None
    failures: int = 0
    refusals: int = 0


class Fetching(Struct, frozen=True, kw_only=True):
    """again: somebody asked meanwhile, so a failure of this fetch is tried once more at once."""

    key: Key | None
    trouble: str | None = None
    failures: int = 0
    refusals: int = 0
    again: bool = False


# -- events


class Begun(Struct, frozen=True):
    now_ms: int
    luck: float


class Due(Struct, frozen=True):
    """The last Wait is over."""


class Asked(Struct, frozen=True):
    """Somebody needs the key; perhaps the credentials are new."""


class Got(Struct, frozen=True):
    key: str
    now_ms: int
    luck: float

    def __repr__(self) -> str:
        return f"Got(now_ms={self.now_ms})"


class Failed(Struct, frozen=True):
    """retry_after_s: seconds that the exchange asked us to wait, None if it said nothing."""

    trouble: str
    retry_after_s: float | None
    now_ms: int
    luck: float


class Refused(Struct, frozen=True):
    """The stream said that this key is dead."""

    key: str
    now_ms: int
    luck: float

    def __repr__(self) -> str:
        return f"Refused(now_ms={self.now_ms})"


# -- effects


class Fetch(Struct, frozen=True):
    """Ask the exchange; the end is told as Got or Failed."""


class Wait(Struct, frozen=True):
    """Then comes Due. Replaces the Wait before."""

    seconds: float


class Tell(Struct, frozen=True):
    """What is to be known of the user's key from now on. trouble None: nothing is wrong with it."""

    key: Key | None
    trouble: str | None = None


State: TypeAlias = New | Waiting | Fetching
Event: TypeAlias = Begun | Due | Asked | Got | Failed | Refused
Effect: TypeAlias = Fetch | Wait | Tell


def step(state: State, event: Event, timing: Timing) -> tuple[State, tuple[Effect, ...]]:
    """Raises: IllegalEvent, when we told it something that cannot be now."""
    match state, event:
        case New(key), Begun(now_ms, luck):
            if key is not None and _age_s(key, now_ms) < timing.renew_s:
                return Waiting(key=key), (Wait(max(0.0, _renewal_s(timing, luck) - _age_s(key, now_ms))),)
            return Fetching(key=key), (Fetch(),)
        case Waiting(), Due():
            return _fetching(state), (Fetch(),)
        case Waiting(), Asked():
            return _asked(state)
        case Waiting(), Refused():
            return _refused(state, event, timing)
        case Fetching(), Asked():
            return _fetching(state, again=True), ()
        case Fetching(key=key), Refused():
            if key is None or key.key != event.key:
                return state, ()
            dropped = Fetching(key=None, trouble=LAPSED, failures=state.failures, refusals=state.refusals + 1)
            return dropped, (Tell(None, LAPSED),)
        case Fetching(), Got():
            return _got(state, event, timing)
        case Fetching(), Failed():
            return _failed(state, event, timing)
        case _:
            raise IllegalEvent(f"{event} in {state}", where="listen key")


def _asked(state: Waiting) -> tuple[State, tuple[Effect, ...]]:
    """A good key needs nothing, and a throttled address is not helped by asking; all else is tried at once."""
    if state.trouble == "throttled" or (state.trouble is None and state.key is not None):
        return state, ()
    return _fetching(state), (Fetch(),)


def _refused(state: Waiting, event: Refused, timing: Timing) -> tuple[State, tuple[Effect, ...]]:
    """A dead key is replaced at once; keys that die young, again and again, ever more slowly."""
    if state.key is None or state.key.key != event.key:
        return state, ()  # news of a key that was replaced already
    young = _age_s(state.key, event.now_ms) <= timing.retry_s_max
    refusals = state.refusals + 1 if young else 0
    told = Tell(None, LAPSED)
    if refusals == 0:
        return Fetching(key=None, trouble=LAPSED), (told, Fetch())
    waiting = Waiting(key=None, trouble=LAPSED, refusals=refusals)
    return waiting, (told, Wait(_backoff_s(timing, refusals, event.luck)))


def _got(state: Fetching, event: Got, timing: Timing) -> tuple[State, tuple[Effect, ...]]:
    same = state.key is not None and state.key.key == event.key
    since_ms = state.key.since_ms if same and state.key is not None else event.now_ms
    key = Key(key=event.key, since_ms=since_ms, renewed_ms=event.now_ms)
    return Waiting(key=key, refusals=state.refusals), (Tell(key), Wait(_renewal_s(timing, event.luck)))


def _failed(state: Fetching, event: Failed, timing: Timing) -> tuple[State, tuple[Effect, ...]]:
    key, failures = state.key, state.failures + 1
    if key is not None and _age_s(key, event.now_ms) >= timing.lapse_s:
        key = None
    told = Tell(key, event.trouble) if key is None or event.trouble in OWNER_TROUBLES else Tell(key)
    if state.again and event.trouble != "throttled":
        return Fetching(key=key, trouble=event.trouble, failures=failures, refusals=state.refusals), (told, Fetch())
    if event.trouble in OWNER_TROUBLES:
        wait_s = _renewal_s(timing, event.luck)
    else:
        wait_s = _backoff_s(timing, failures, event.luck)
    if event.trouble == "throttled":
        wait_s = max(wait_s, THROTTLED_S if event.retry_after_s is None else event.retry_after_s)
    elif event.retry_after_s is not None:
        wait_s = max(wait_s, event.retry_after_s)
    waiting = Waiting(key=key, trouble=event.trouble, failures=failures, refusals=state.refusals)
    return waiting, (told, Wait(wait_s))


def _fetching(state: Waiting | Fetching, *, again: bool = False) -> Fetching:
    return Fetching(key=state.key, trouble=state.trouble, failures=state.failures, refusals=state.refusals, again=again)


def _renewal_s(timing: Timing, luck: float) -> float:
    return timing.renew_s * (1 - timing.jitter * luck)


def _backoff_s(timing: Timing, times: int, luck: float) -> float:
    """Doubles from retry_s_min to retry_s_max, of which half is luck."""
    doublings = min(times - 1, 20)  # beyond that the power grows for nothing
    return min(timing.retry_s_min * 2.0**doublings, timing.retry_s_max) * (0.5 + luck / 2)


def _age_s(key: Key, now_ms: int) -> float:
    """Seconds since the key was last confirmed; a wall clock that was set back makes no key younger than new."""
    return max(0, now_ms - key.renewed_ms) / 1000

"""Restart or not: the one decision of supervision, pure. Who dies with whom is in groups.py, how is in node.py.

A child's deaths within `period_s` are its budget: one more than `intensity` and it is given up. Independent of that,
the delay grows with every death since the child was last up for `steady_s`.

    death ──▶ temporary, or transient and returned ──▶ Done
          └─▶ budget left ──▶ Restart(delay_s)
          └─▶ used up ──▶ Park | Escalate
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from supervisor.spec import Kept

Ended = Literal["returned", "crashed", "failed"]
"""returned: of its own accord. crashed: by an Exception. failed: before it was ready, a death like any other."""


class Past(Struct, frozen=True):
    """What a child's earlier lives weigh.

    deaths_s: within the window, trio time. streak: deaths since the child was last up for steady_s.
    """

    deaths_s: tuple[float, ...] = ()
    streak: int = 0


class Restart(Struct, frozen=True):
    delay_s: float
    past: Past


class Done(Struct, frozen=True):
    """It came to its end and is not needed again."""


class Park(Struct, frozen=True):
    past: Past


class Escalate(Struct, frozen=True):
    past: Past


Verdict: TypeAlias = Restart | Done | Park | Escalate


def decide(spec: Kept, past: Past, ended: Ended, *, now_s: float, up_s: float, luck: float) -> Verdict:
    """What follows from a death.

    Args:
        now_s: monotonic time of the death. up_s: how long it was ready, 0 if never.
        luck: in [0, 1), from the injected rng; spreads the delay by the spec's jitter.
    """
    assert 0 <= luck < 1, luck
    assert up_s >= 0, up_s
    if spec.restart == "temporary" or (spec.restart == "transient" and ended == "returned"):
        return Done()
    recent = (*within(spec, past, now_s).deaths_s, now_s)
    past = Past(recent, 1 if up_s >= spec.steady_s else past.streak + 1)
    if len(recent) > spec.intensity:
        return Escalate(past) if spec.exhausted == "escalate" else Park(past)
    return Restart(delay_after(spec, past.streak, luck), past)


def within(spec: Kept, past: Past, now_s: float) -> Past:
    """The past without the deaths that have left the window: one exactly period_s old has left it."""
    return Past(tuple(at_s for at_s in past.deaths_s if now_s - at_s < spec.period_s), past.streak)


def delay_after(spec: Kept, streak: int, luck: float) -> float:
    """Seconds to wait before the restart after the streak-th death in a row (>= 1), never above delay_s_max."""
    assert streak >= 1, streak
    try:
        delay_s = spec.delay_s * spec.delay_factor ** (streak - 1)
    except OverflowError:  # a long streak: 2.0 ** 1024
        delay_s = spec.delay_s_max
    delay_s *= 1 + spec.jitter * (2 * luck - 1)
    return float(min(delay_s, spec.delay_s_max))

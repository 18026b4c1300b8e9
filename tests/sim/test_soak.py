"""SC-006: eight hours of trading in the virtual world, a fault now and then: exact records, nothing that grows."""

from __future__ import annotations

from itertools import pairwise

from actors.domain.trading import AUTO_RESUMABLE
from tests.sim.soak import Sample, soak

WARM = 1  # the sample to compare with: after two hours everything has happened once

KEPT = ("actors.domain.legs.", "actors.domain.pair.", "actors.domain.oto.", "actors.domain.orders.")
"""Of the newest pairs, which a trader remembers up to a bound and forgets when it is started anew."""


def others(sample: Sample) -> int:
    return sum(count for name, count in sample.objects.items() if not name.startswith(KEPT))


def test_eight_hours_leave_exact_records_and_a_daemon_that_has_not_grown() -> None:
    result, samples = soak(seed=1, users=3, hours=8, interval_s=180)
    assert result.violations == []  # checked at every event, and the records as a whole at the end
    assert len(samples) == 8
    assert min(after.fills - before.fills for before, after in pairwise(samples)) > 20, "somebody has stopped trading"
    assert {reason for sample in samples for reason in sample.pauses} <= AUTO_RESUMABLE
    assert sum(result.struck.values()) > 50
    warm, last = samples[WARM], samples[-1]
    grown = {name: count - warm.objects.get(name, 0) for name, count in last.objects.items()}
    assert others(last) <= others(warm) + 20, {name: by for name, by in grown.items() if by > 5}
    assert max(one.total for one in samples[4:]) <= 1.25 * max(one.total for one in samples[:4])
    assert max(one.tasks for one in samples) <= warm.tasks + 5
    assert max(one.wires for one in samples) <= warm.wires + 3

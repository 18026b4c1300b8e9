"""How long things took lately, from counts since the start (`latency` of system.metrics). Pure.

The daemon counts durations by buckets; the difference of two looks is what happened between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor.screen import duration

LOOKS = 60  # `top` looks once a second: a minute
NAMES = {"commit": "commit", "market": "prices", "orders": "orders"}
"""What `top` shows of all that is counted, and how it calls it. The last two are streams: exchange to handled."""


def within_ms(bounds_ms: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The least bound that so many of them kept; None: more than the last one. counts: one more than bounds, not 0."""
    wanted, so_far = sum(counts) * share, 0
    for bound, number in zip(bounds_ms, counts, strict=False):
        so_far += number
        if so_far >= wanted:
            return bound
    return None


def told(bounds_ms: Sequence[float], counts: Sequence[int], share: float) -> str:
    """ "≤ 2.5 ms", "> 10 s", or "-" where nothing happened."""
    if not sum(counts):
        return "-"
    found = within_ms(bounds_ms, counts, share)
    sign, ms = ("≤", found) if found is not None else (">", bounds_ms[-1])
    return f"{sign} {ms:g} ms" if ms < 1000 else f"{sign} {duration(ms / 1000)}"


class Recent:
    """The newest looks at the daemon's counts."""

    def __init__(self) -> None:
        self._looks: deque[Mapping[str, Any]] = deque(maxlen=LOOKS + 1)

    def note(self, latency: Mapping[str, Any]) -> None:
        """Counts that went back are those of another daemon: what was seen before is forgotten."""
        if self._looks and any(sum(each["counts"]) < sum(self._before(name)) for name, each in latency.items()):
            self._looks.clear()
        self._looks.append(latency)

    def _before(self, name: str) -> Sequence[int]:
        found: Sequence[int] = self._looks[-1].get(name, {}).get("counts", ())
        return found

    def words(self) -> tuple[str, ...]:
        """ "p99 commit ≤ 2 ms, prices ≤ 5 ms" of the last minute; at the first look of all time."""
        if not self._looks:
            return ()
        first, last = self._looks[0], self._looks[-1]
        words = []
        for name, called in NAMES.items():
            each = last.get(name)
            if each is None:
                continue
            counts = each["counts"]
            if len(self._looks) > 1 and name in first:
                counts = [now - then for now, then in zip(counts, first[name]["counts"], strict=True)]
            if sum(counts):
                words.append(f"{called} {told(each['bounds_ms'], counts, 0.99)}")
        return (f"p99 {', '.join(words)}",) if words else ()

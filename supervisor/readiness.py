"""How far a start has come, and how the daemon stands, in one line for `systemctl status`. Pure.

Ready means: the store is open, and every user is reconciled with the exchange or paused. A user who cannot trade yet
has nothing to reconcile; one whose trader was given up is paused (CRASHED), whether or not that is written already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Struct

from actors.messages import TraderSnapshot, UserRecord
from supervisor.lifecycle import Sign
from supervisor.users import can_trade

TRADERS = "traders/"

WINDOW_S = 60.0
"""Pairs are counted over the last minute: longer than a pair takes, shorter than an operator waits for an effect."""


class Standing(Struct, frozen=True, kw_only=True):
    """Users by state; each counts once. waiting: not reconciled yet; new: lacks a configuration or credentials."""

    total: int = 0
    trading: int = 0
    done: int = 0
    paused: int = 0
    stopped: int = 0
    waiting: int = 0
    new: int = 0

    @property
    def ready(self) -> bool:
        return self.waiting == 0

    def words(self) -> str:
        """ "8 trading, 1 paused": what there is none of is left out."""
        shown = [
            f"{count} {name}"
            for name in ("trading", "done", "paused", "stopped", "new")
            if (count := getattr(self, name))
        ]
        if self.waiting:
            shown.append(f"{self.waiting} reconciling")
        return ", ".join(shown) or "no users"


def standing(
    records: Mapping[str, UserRecord], shown: Iterable[TraderSnapshot], given_up: frozenset[str] = frozenset()
) -> Standing:
    """records: all users. shown: of those who have a trader. given_up: users whose trader is parked."""
    snapshots = {snapshot.user: snapshot for snapshot in shown}
    counts = dict.fromkeys(("trading", "done", "paused", "stopped", "waiting", "new"), 0)
    for user, record in records.items():
        counts[_state(record, snapshots.get(user), user in given_up)] += 1
    return Standing(total=len(records), **counts)


def _state(record: UserRecord, snapshot: TraderSnapshot | None, given_up: bool) -> str:
    if not can_trade(record):
        return "new"
    if given_up or (snapshot is not None and snapshot.pauses):
        return "paused"
    if snapshot is None:
        return "waiting"
    if snapshot.wanted == "stopped" and snapshot.pair is None:
        return "waiting" if snapshot.phase == "reconciling" else "stopped"  # nothing of it can be at the exchange
    if not snapshot.reconciled:
        return "waiting"
    if snapshot.wanted == "stopped":
        return "stopped"
    return "done" if snapshot.phase == "done" else "trading"


def given_up(signs: Iterable[Sign]) -> frozenset[str]:
    """Users whose trader was parked."""
    return frozenset(
        sign.path.removeprefix(TRADERS) for sign in signs if sign.state == "parked" and sign.path.startswith(TRADERS)
    )


def starting(signs: Iterable[Sign], stands: Standing) -> str:
    """What the start is busy with. signs: in the order of the tree."""
    for sign in signs:
        if "/" not in sign.path and sign.state != "running":
            return "opening the store" if sign.path == "store" else f"starting: {sign.path} is {sign.state}"
    if stands.total == 0:
        return "loading users"
    return f"reconciling with the exchange: {stands.total - stands.waiting} of {stands.total} users are ready"


class PairRate:
    """Pairs closed in the last minute, from what the traders show of their day."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[str, int]] = {}
        self._closed: deque[tuple[float, int]] = deque()

    def look(self, shown: Iterable[TraderSnapshot], now_s: float) -> int:
        """Pairs per minute; of the time since the first look, as long as that is less. A new day begins at 0."""
        count, after = 0, {}
        for snapshot in shown:
            if snapshot.progress is None:
                continue
            day, pairs = snapshot.progress.day, snapshot.progress.pairs
            known = self._before.get(snapshot.user)
            if known is not None:
                count += max(0, pairs - known[1]) if known[0] == day else pairs
            after[snapshot.user] = (day, pairs)
        self._before.update(after)
        self._closed.append((now_s, count))
        while now_s - self._closed[0][0] >= WINDOW_S:
            self._closed.popleft()
        return sum(closed for _, closed in self._closed)

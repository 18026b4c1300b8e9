"""Does the daemon move? What the service watchdog is fed by. Pure but for its memory.

Whoever asks runs in the loop, so the loop moves. The rest is judged from signs of life: every class of actor (store,
control, tokens, keeper, paper, all feeds, all traders) has at least one member that waits for messages, has done
something since the last look, or is in the hands of the supervisor (starting, delaying, parked, stopping: each has a
deadline there); and no commit of the store has hung for too long. A store that tries again on a full disk moves, one
whose write never returns does not.

One trader that is stuck among others is the supervisor's affair (ChildSpec.progress_s_max): it is replaced. Only when
that has not helped, and a whole class is silent for longer, the process is of no use any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from supervisor.lifecycle import Sign

SILENT_S_MAX = 45.0
"""Beyond the 30 s (noticed within 37.5 s) after which the supervisor replaces an actor that shows no sign of life."""

COMMIT_S_MAX = 30.0
"""One commit: a slow disk takes seconds (F65), a dead one for ever."""

GAP_S_MAX = 30.0
"""Between two looks: beyond it the process itself stood still (suspended, stopped), and nobody could have moved."""


class Pulse:
    """Remembers when everybody was last seen moving."""

    def __init__(self, *, silent_s_max: float = SILENT_S_MAX, commit_s_max: float = COMMIT_S_MAX) -> None:
        self._silent_s_max, self._commit_s_max = silent_s_max, commit_s_max
        self._seen: dict[str, tuple[int, int, float]] = {}  # path → incarnation, beats, when it last moved
        self._looked_s = -inf

    def look(self, signs: Iterable[Sign], *, committing_since_s: float | None, now_s: float) -> tuple[str, ...]:
        """Who does not move: classes of actors, and "commit". Empty: everything moves.

        committing_since_s: when the commit that is under way began, None if there is none.
        """
        stood_still = now_s - self._looked_s > GAP_S_MAX
        self._looked_s = now_s
        seen: dict[str, tuple[int, int, float]] = {}
        newest: dict[str, float] = {}
        for sign in signs:
            before = self._seen.get(sign.path)
            moved = stood_still or before is None or before[:2] != (sign.incarnation, sign.beats) or sign.waits
            at_s = now_s if moved or before is None else before[2]
            seen[sign.path] = (sign.incarnation, sign.beats, at_s)
            family = sign.path.split("/", maxsplit=1)[0]
            newest[family] = max(at_s, newest.get(family, -inf))
        self._seen = seen
        silent = [family for family, at_s in newest.items() if now_s - at_s > self._silent_s_max]
        hangs = committing_since_s is not None and now_s - committing_since_s > self._commit_s_max
        return (*silent, "commit") if hangs and not stood_still else tuple(silent)

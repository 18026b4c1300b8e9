"""An actor in the tree: a child with a mailbox, whose incarnations run the function of its spec."""

from __future__ import annotations

from math import inf

import trio

from supervisor.child import Child
from supervisor.life import Life
from supervisor.lifecycle import WHOSE
from supervisor.mailbox import Mailbox, MailboxStatistics
from supervisor.parent import Outside, Parent
from supervisor.spec import ChildSpec, Kept


class Leaf(Child):
    """An actor and its mailbox."""

    kind = "actor"
    spec: ChildSpec

    def __init__(self, spec: ChildSpec, path: str, parent: Parent, outside: Outside, mailbox: Mailbox) -> None:
        super().__init__(spec, path, parent, outside)
        self.mailbox = mailbox
        self._resort_due = False

    @property
    def waits(self) -> bool:
        """For messages, or in the supervisor's hands: then there is nothing that it ought to be doing."""
        return self.state not in ("running", "stuck") or (self.state == "running" and self.mailbox.idle)

    @property
    def _resorts(self) -> bool:
        return self.wish == "parked" and self._resort_due

    def _prepare(self) -> None:
        self.open()

    def revive(self, spec: Kept) -> None:
        super().revive(spec)
        self.mailbox.capacity = self.spec.capacity

    async def _act(self, life: Life) -> None:
        start = self.spec.last_resort if self.wish == "parked" else self.spec.start
        assert start is not None, self.path
        WHOSE.set((self.path, self.incarnation))  # of this task and of all that it starts
        await start(self.mailbox, task_status=life)

    def _ask(self) -> None:
        self.mailbox.request_stop()

    def _kill(self, life: Life) -> None:
        life.scope.cancel()

    def _listens(self, life: Life) -> bool:
        return life.ready  # while it starts it does not read its mailbox

    def open(self) -> None:
        self.mailbox.open()

    def close(self, why: str) -> None:
        self.mailbox.close(why)

    def _release(self) -> int:
        return self.mailbox.release(again=self.spec.redeliver)

    def _stuck_s(self) -> float:
        return self.spec.stuck_s

    def _progress_s_max(self) -> float:
        return inf if self.spec.progress_s_max is None else self.spec.progress_s_max

    def _letters(self) -> MailboxStatistics | None:
        return self.mailbox.statistics()

    def _beats(self) -> int:
        return self.mailbox.beats

    def _idle(self) -> bool:
        return self.mailbox.idle

    def _resort_later(self, *, again: bool) -> None:
        self._resort_due = again and self.spec.last_resort is not None
        if self._resort_due:
            self.start_at_s = trio.current_time() + self.spec.last_resort_s

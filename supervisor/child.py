"""A named place in the tree, kept by one task: each pass of its loop is one incarnation.

What should run and what does are two things. Commands and groups only change the wish (`wish`, `held`, `removed`) and
poke the keeper; the keeper alone starts and ends incarnations, so two of one name never live at once: the nursery of
the old one is left before the next is opened. Commands that overlap cannot tear anything: the last wish wins.

    wanted ──▶ delaying ──▶ starting ──▶ running ──▶ (ended by itself) ──▶ policy ──▶ delaying | parked | stopped
                               └──────────┴─ no longer wanted: ask, wait stop_s_max, cancel, wait stuck_s ──▶ stuck
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Literal

import trio

from actors.errors import ChildExhausted, NoProgress, NotReady
from supervisor import policy
from supervisor.life import Life, awaits_at
from supervisor.lifecycle import Crash, Happened, Node, State, What, place_of
from supervisor.mailbox import MailboxStatistics
from supervisor.parent import Outside, Parent
from supervisor.spec import Kept

PROGRESS_LOOKS = 4
"""Looks per progress_s_max: a silent child is noticed within 1.25 times its deadline."""

Wish = Literal["up", "stopped", "parked", "done"]
"""up: shall run. stopped: by an operator. parked: its budget is used up. done: came to its end, or declined."""


class Child:
    """One named place: its wish, its present life, its past. Subclasses: Leaf (an actor), Group."""

    kind: Literal["actor", "group", "family"]

    def __init__(self, spec: Kept, path: str, parent: Parent, outside: Outside) -> None:
        self.spec = spec
        self.path = path
        self.parent = parent
        self.outside = outside
        self.wish: Wish = "up"
        self.held = True  # by its group: until its turn comes, or while the group takes it down
        self.removed = False
        self.kept = False  # has it a keeper?
        self.state: State = "stopped"
        self.life: Life | None = None
        self.incarnation = 0
        self.start_at_s = -inf
        self.tried = 0  # attempts to start whose outcome is known
        self.last_try: Literal["ready", "declined", "failed"] | None = None
        self.failed_with: Exception | None = None  # for its group, while that starts; an error keeps its frames alive
        self.last_crash: Crash | None = None
        self.past = policy.Past()
        self._renew: Life | None = None  # the life that an operator wants replaced
        self._pokes = trio.lowlevel.ParkingLot()

    # -- wishes; whoever changes one pokes

    @property
    def wanted(self) -> bool:
        return not self.held and not self.removed and (self.wish == "up" or self._resorts)

    @property
    def serves(self) -> bool:
        """It is ready, and nothing has been decided that will end it."""
        return self.life is not None and self.life.ready and not self._due_down(self.life)

    def poke(self) -> None:
        self._pokes.unpark_all()

    def poke_all(self) -> None:
        """Pokes everything below too: something that all of them look at has changed."""
        self.poke()

    async def until(self, condition: Callable[[], bool], within_s: float = inf) -> bool:
        """Waits for a condition on anything that is poked about. Returns whether it came true in time."""
        if within_s == inf:  # most waiting of all: a thousand idle children need no scope each
            while not condition():
                await self._pokes.park()
            return True
        with trio.move_on_after(within_s):
            while not condition():
                await self._pokes.park()
        return condition()

    def want(self, wish: Wish) -> None:
        """An operator's wish. up: at once, and with a fresh budget if it was parked."""
        if wish == "up" and self.wish != "up":
            self.past = policy.Past()
            self._renew = self.life  # a last resort, or one that is being stopped
        self.wish = wish
        if wish == "up":
            self.start_at_s = -inf
        elif self.life is None:
            self.rest()
        self.poke()
        self.parent.poke()

    def revive(self, spec: Kept) -> None:
        """It was being removed, and is wanted again under the same name, as its new spec says."""
        assert self.removed, self.path
        self.spec = spec
        self.removed = False
        self.wish = "stopped"
        self.want("up")

    def renew(self) -> None:
        """The present life is to be replaced by the next."""
        self._renew = self.life
        self.want("up")

    # -- the keeper

    def keep_in(self, nursery: trio.Nursery) -> None:
        """Starts its keeper: from now on that alone buries it."""
        self.kept = True
        nursery.start_soon(self._keep, name=f"keep {self.path}")

    async def _keep(self) -> None:
        """The story of the name, from its group's start to its end."""
        try:
            while not self.removed:
                if self.wanted and trio.current_time() >= self.start_at_s:
                    await self.live()
                else:
                    self.rest()
                    await self._until_wanted()
        finally:  # removed, or its group has ended; perhaps both in one instant
            self.kept = False
            if self.removed and self.life is None:
                self.bury()

    def bury(self) -> None:
        """It was removed, and nothing of it lives."""
        assert self.removed, self.path
        assert self.life is None, self.path
        self.become("stopped")
        self.close("removed")
        self.tell("removed")
        self.parent.forget(self)
        self.poke()

    async def _until_wanted(self) -> None:
        """Until it is wanted and its delay is over, or until either has changed."""
        wanted, due_s = self.wanted, self.start_at_s
        wait_s = max(0.0, due_s - trio.current_time()) if wanted else inf
        await self.until(lambda: self.removed or self.wanted != wanted or self.start_at_s != due_s, wait_s)

    async def live(self) -> Life:
        """One incarnation, from start to end, and what follows from its end."""
        self.incarnation += 1
        self.failed_with = self._renew = None
        life = self.life = Life(self.poke)
        self._prepare()
        self.become("starting")
        self.tell("started")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.run, partial(self._act, life), name=f"{self.path}#{self.incarnation}")
            await self._watch(life)
        self.life = None
        self._settle(life)
        return life

    async def _watch(self, life: Life) -> None:
        await self.until(lambda: life.ready or life.ended or self._due_down(life), self.spec.ready_s_max)
        if life.ready:
            self.become("running")
            self.tell("ready")
            if self._renew is not life:  # else whoever had it replaced in this very instant waits for the next
                self._tried("ready")
            await self._watch_progress(life)
        elif not life.ended and not self._due_down(life):
            life.sentence(NotReady(f"not ready within {self.spec.ready_s_max} s", where=self.path, do="see its log"))
        if not life.ended:
            await self._bring_down(life)

    async def _watch_progress(self, life: Life) -> None:
        """Returns when it ended, is to end, or was sentenced for showing no sign of life."""
        over = lambda: life.ended or self._due_down(life)  # noqa: E731
        progress_s_max = self._progress_s_max()
        beats, alive_s = self._beats(), trio.current_time()
        while not await self.until(over, progress_s_max / PROGRESS_LOOKS):
            if self._beats() != beats or self._idle():
                beats, alive_s = self._beats(), trio.current_time()
            elif trio.current_time() - alive_s >= progress_s_max:
                life.sentence(
                    NoProgress(
                        f"no sign of life for {progress_s_max} s", where=self.path, do=f"it was at {self._at(life)}"
                    )
                )

    async def _bring_down(self, life: Life) -> None:
        """Ask, wait, cancel, wait: however long the last takes, its name is free only when it is gone."""
        life.by_us = not life.killed
        if self.state != "stuck":  # a group that went down by itself may be so already
            self.become("stopping")
        if self._listens(life) and not life.killed and self.spec.stop_s_max > 0 and not self.parent.hurried:
            self._ask()
            await self.until(lambda: life.ended or life.killed or self.parent.hurried, self.spec.stop_s_max)
        if not life.ended:
            self._kill(life)
            if not await self.until(lambda: life.ended, self._stuck_s()):
                self.stuck(f"still at {self._at(life)} {self.spec.stuck_s} s after it was cancelled")
        await self.until(lambda: life.ended)

    def _due_down(self, life: Life) -> bool:
        return life.killed or not self.wanted or self._renew is life

    def _settle(self, life: Life) -> None:
        in_hand = self._release()
        if life.fatal is not None:
            self.outside.fatal(life.fatal)
        ending = life.ending()
        if life.errors and ending != "declined":
            self._note_crash(life, in_hand)
        if life.by_us or life.fatal is not None or not self.wanted or self._renew is life:
            self.held = self.held or life.fatal is not None  # the tree stops now
            self.start_at_s = -inf
            self.tell("stopped")
            self.poke()
            return
        if not life.ready:
            self._tried("declined" if ending == "declined" else "failed")
        if not life.ready and self.parent.awaited is self and ending == "failed":
            self.held = True  # its group does not come up, and says so
            self.failed_with = life.errors[0]
        elif self.wish == "parked":
            self._after_last_resort(again=ending not in ("returned", "declined"))
        elif ending == "declined":
            self.wish = "done"
            self.tell("declined", why=str(life.errors[0]))
        else:
            self._judge(ending, life)
        self.poke()

    def _judge(self, ended: policy.Ended, life: Life) -> None:
        now_s = trio.current_time()
        luck = self.outside.rng.random()
        match policy.decide(self.spec, self.past, ended, now_s=now_s, up_s=life.up_s, luck=luck):
            case policy.Restart(delay_s, past):
                self.past = past
                self.start_at_s = now_s + delay_s
                why = f"death {len(self.past.deaths_s)} of {self.spec.intensity} within {self.spec.period_s:g} s"
                self.tell("restarting", delay_s=delay_s, why=why)
                self.parent.fell(self, delay_s)
            case policy.Done():
                self.wish = "done"
                self.tell("stopped", why=ended)
                self.parent.finished(self)
            case policy.Park(past):
                self.past = past
                self.wish = "parked"
                self.tell("parked", why=self._exhausted_text())
                self._resort_later(again=True)
            case policy.Escalate(past):
                self.past = past
                self.tell("stopped", why=self._exhausted_text())
                self.held = True
                error = ChildExhausted(self._exhausted_text(), where=self.path, do="read its child_crashed lines")
                error.__cause__ = life.errors[0] if life.errors else None
                self.parent.gave_up(self, error)

    def _exhausted_text(self) -> str:
        return f"died {len(self.past.deaths_s)} times within {self.spec.period_s:g} s"

    def _tried(self, outcome: Literal["ready", "declined", "failed"]) -> None:
        self.tried += 1
        self.last_try = outcome
        self.poke()

    def _after_last_resort(self, *, again: bool) -> None:
        self._resort_later(again=again)
        if again:
            self.tell("restarting", delay_s=self.start_at_s - trio.current_time(), why="last resort")
        else:
            self.tell("stopped", why="its last resort has done its work: it stays parked")

    def _note_crash(self, life: Life, in_hand: int) -> None:
        error = life.errors[0]
        self.last_crash = Crash(
            at_ms=self.outside.wall.now_ms(),
            type=type(error).__name__,
            message=str(error),
            place=place_of(error) or life.sentenced_at,
        )
        self.tell("crashed", errors=life.errors, in_hand=in_hand)

    def rest(self) -> None:
        """Shows why it does not run, and lets nobody wait for what will not come."""
        if self.wish == "parked":
            self.become("parked")
        elif self.wish == "up" and self.start_at_s > trio.current_time() and self.parent.coming_back:
            self.become("delaying")
        else:
            self.become("stopped")
        if self.wish != "up" or not self.parent.coming_back:
            self.close(self.state if self.wish == "up" else self.wish)

    # -- telling

    def become(self, state: State) -> None:
        self.state = "parked" if self.wish == "parked" and state in ("starting", "running") else state
        self.poke()

    def stuck(self, why: str) -> None:
        self.become("stuck")
        self.tell("stuck", why=why)

    def tell(
        self,
        what: What,
        *,
        errors: tuple[Exception, ...] = (),
        in_hand: int = 0,
        delay_s: float | None = None,
        why: str = "",
    ) -> None:
        it = Happened(
            what=what,
            path=self.path,
            incarnation=self.incarnation,
            at_ms=self.outside.wall.now_ms(),
            errors=errors,
            in_hand=in_hand,
            delay_s=delay_s,
            why=why,
        )
        for subscriber in self.outside.subscribers:
            subscriber(it)

    def node(self) -> Node:
        """How it stands now."""
        now_s = trio.current_time()
        return Node(
            path=self.path,
            kind=self.kind,
            state=self.state,
            incarnation=self.incarnation,
            restarts=len(policy.within(self.spec, self.past, now_s).deaths_s),
            uptime_s=self.life.up_s if self.life is not None and self.life.ready else None,
            mailbox=self._letters(),
            last_crash=self.last_crash,
            waiting_for=self._waiting_for(now_s),
            children=self._below(),
        )

    def _letters(self) -> MailboxStatistics | None:
        return None

    def _below(self) -> tuple[Node, ...]:
        return ()

    def _waiting_for(self, now_s: float) -> str | None:
        match self.state:
            case "delaying":
                return f"its restart in {max(0.0, self.start_at_s - now_s):.1f} s"
            case "parked" if self.life is None and self._resorts and self.start_at_s > now_s:
                return f"an operator; last resort in {self.start_at_s - now_s:.0f} s"
            case "parked":
                return "an operator" if self.life is None else "its last resort to end"
            case "stopping" | "stuck":
                return "its incarnation to end"
            case "starting" if self.life is not None:
                return f"being ready, at {self._at(self.life)}"
            case "running" if self.life is not None:
                return "messages" if self._idle() else self._at(self.life) or None
            case "stopped" if self.wish == "up":
                return "its turn"
            case _:
                return None

    def _at(self, life: Life) -> str:
        return awaits_at(life.task) if life.task is not None else ""

    # -- what actors and groups do each in their own way

    @property
    def _resorts(self) -> bool:
        """Parked, but has a last resort that is still due."""
        return False

    def _prepare(self) -> None:
        """Forgets the last life, before anybody can speak to the new one."""
        raise NotImplementedError

    async def _act(self, life: Life) -> None:
        raise NotImplementedError

    def _ask(self) -> None:
        raise NotImplementedError

    def _kill(self, life: Life) -> None:
        raise NotImplementedError

    def _listens(self, life: Life) -> bool:
        """Would it hear that it is asked to stop?"""
        return True

    def open(self) -> None:
        """An incarnation is there or to come."""
        raise NotImplementedError

    def close(self, why: str) -> None:
        """Nobody is to wait for it any more."""
        raise NotImplementedError

    def _release(self) -> int:
        return 0

    def _stuck_s(self) -> float:
        return inf

    def _progress_s_max(self) -> float:
        return inf

    def _beats(self) -> int:
        return 0

    def _idle(self) -> bool:
        """Does it wait for messages?"""
        return False

    def _resort_later(self, *, again: bool) -> None:
        return None

"""Groups: who starts after whom, who restarts with whom, who stops before whom. A group is itself a kept child.

A group never runs an incarnation: it holds and releases its members (`held`), whose keepers do the rest. Its own life
is to bring them up, look after them, and bring them down again; it fails when a member cannot be started or has used up
its budget and escalates, and the level above decides what that means.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Literal

import trio

from actors.errors import ChildExhausted, StartFailed
from supervisor import policy
from supervisor.child import Child
from supervisor.life import Life
from supervisor.lifecycle import Node, State
from supervisor.parent import Outside, Parent
from supervisor.spec import FamilySpec, GroupSpec


class Group(Child):
    """Fixed members, one_for_one: each is restarted alone."""

    kind: Literal["actor", "group", "family"] = "group"
    spec: GroupSpec | FamilySpec

    def __init__(self, spec: GroupSpec | FamilySpec, path: str, parent: Parent, outside: Outside) -> None:
        super().__init__(spec, path, parent, outside)
        self.members: dict[str, Child] = {}
        self.awaited: Child | None = None
        self._nursery: trio.Nursery | None = None
        self.failure: Exception | None = None
        self._stop_asked = self._hurry = self._enough = False

    # -- its own life

    @property
    def over(self) -> bool:
        """Is it on its way down?"""
        return self._stop_asked or self._enough or self.failure is not None

    async def _act(self, life: Life) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for member in self._all():
                member.keep_in(nursery)
            await self._bring_up()
            if self.failure is None and not self._stop_asked:
                life.started()
            await self._look_after()
            self.become("stopping")
            await self._bring_members_down(self._all())
            self._nursery = None
            nursery.cancel_scope.cancel()  # idle keepers only: whatever lived is gone
        for member in self._all():
            if member.wish == "up":
                member.start_at_s = -inf  # it starts with its group, if that does
                member.rest()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def _prepare(self) -> None:
        """A fresh start: budgets are full again, only what an operator stopped or has to start stays down."""
        self.failure = None
        self._stop_asked = self._hurry = self._enough = False
        for member in self._all():
            member.held = True
            if member.wish == "done":
                member.wish = "up"
            if member.wish == "up":
                member.past = policy.Past()
                member.start_at_s = -inf
                member.open()

    async def _bring_up(self) -> None:
        """In order, each ready before the next. A failed start ends it, and names the culprit."""
        for member in self._all():
            if self.over or self.outside.stopping:
                return
            self.awaited = member
            failed = await self._let_go(member)
            self.awaited = None
            if failed:
                why, member.failed_with = member.failed_with, None
                error = StartFailed(f"could not be started: {why}", where=member.path, do="see its log")
                error.__cause__ = why
                self.failure = error
                return

    async def _look_after(self) -> None:
        await self.until(lambda: self.over)

    async def _let_go(self, member: Child) -> bool:
        """Releases a member and waits until its attempt to start has come to something. Did it fail?"""
        before = member.tried
        member.held = False
        member.poke()
        await member.until(
            lambda: (
                member.tried > before or member.wish != "up" or not member.wanted or self.over or self.outside.stopping
            )
        )
        return member.tried > before and member.last_try == "failed"

    async def _bring_members_down(self, members: list[Child]) -> None:
        """In reverse. A stuck one is left behind while the others stop, then waited for: a task cannot be killed."""
        for member in reversed(members):
            self._hold(member)
            await self._gone_or_stuck(member)
        await self._outlast(members)

    def _hold(self, member: Child) -> None:
        member.held = True
        member.poke()

    async def _gone_or_stuck(self, member: Child) -> None:
        await member.until(lambda: member.life is None or member.state == "stuck")

    async def _outlast(self, members: Iterable[Child]) -> None:
        for member in members:
            if member.life is not None:
                self.become("stuck")
                await member.until(lambda member=member: member.life is None)  # type: ignore[misc]

    def _all(self) -> list[Child]:
        return list(self.members.values())

    # -- what its members tell it (child.Parent)

    @property
    def hurried(self) -> bool:
        return self._hurry or self.parent.hurried

    @property
    def coming_back(self) -> bool:
        return self.wish == "up" and not self.removed and not self._enough and self.parent.coming_back

    def fell(self, child: Child, delay_s: float) -> None:
        """one_for_one: its keeper restarts it after its delay."""

    def gave_up(self, child: Child, error: ChildExhausted) -> None:
        self.failure = self.failure or error
        self.poke_all()

    def finished(self, child: Child) -> None:
        auto_stop = self.spec.auto_stop if isinstance(self.spec, GroupSpec) else "never"
        if not child.spec.significant or auto_stop == "never":
            return
        rest = [member for member in self._all() if member.spec.significant and member.wish == "up"]
        if auto_stop == "any_significant" or not rest:
            self._enough = True
            self.poke_all()

    def forget(self, child: Child) -> None:
        raise AssertionError(f"{child.path} is a fixed member: it cannot be removed")

    # -- what its keeper does with it (child.Child)

    def become(self, state: State) -> None:
        super().become(state)
        self.poke_all()

    def poke_all(self) -> None:
        self.poke()
        for member in self._all():
            member.poke_all()

    def _ask(self) -> None:
        self._stop_asked = True
        self.poke_all()

    def _kill(self, life: Life) -> None:
        """Down in order all the same, but nobody is asked or waited for."""
        self._hurry = True
        self._ask()

    def open(self) -> None:
        for member in self._all():
            if member.wish == "up":
                member.open()

    def close(self, why: str) -> None:
        for member in self._all():
            member.close(why)

    def _below(self) -> tuple[Node, ...]:
        return tuple(member.node() for member in self._all())


class Coupled(Group):
    """Fixed members, one_for_all or rest_for_one: when one died, the others (those after it) stop and restart with it.

    A member that fell is held; so are all that are down on its account. One round takes down whatever is affected by
    all that fell so far, waits for the longest of their delays, and starts them again in order. Who falls meanwhile
    starts the next round, which includes all that the last one left held.
    """

    spec: GroupSpec

    def __init__(self, spec: GroupSpec, path: str, parent: Parent, outside: Outside) -> None:
        super().__init__(spec, path, parent, outside)
        self._fallen: list[Child] = []

    def fell(self, child: Child, delay_s: float) -> None:
        child.held = True
        self._fallen.append(child)
        self.poke()

    def _prepare(self) -> None:
        super()._prepare()
        self._fallen.clear()

    async def _look_after(self) -> None:
        while not self.over:
            await self.until(lambda: self.over or bool(self._fallen))
            if self._fallen and not self.over:
                await self._round()

    async def _round(self) -> None:
        """One restart together."""
        affected = self._affected()
        for member in reversed(affected):
            if member.spec.restart == "temporary" and member.wish == "up":
                member.wish = "done"  # never started again, whoever it was that died
            self._hold(member)
            await self._gone_or_stuck(member)
        for member in affected:
            await member.until(lambda member=member: member.life is None or self.over)  # type: ignore[misc]
        due_s = max(member.start_at_s for member in self._fallen if member in affected)
        self._fallen = [member for member in self._fallen if member not in affected]
        for member in affected:
            member.start_at_s = due_s
            member.poke()  # it shows that it waits
        wait_s = max(0.0, due_s - trio.current_time())
        again = lambda: self.over or bool(self._fallen) or any(m.start_at_s != due_s for m in affected)  # noqa: E731
        if wait_s > 0:
            await self.until(again, wait_s)
        for member in affected:
            if self.over or self._fallen:
                return
            if member.wish == "done" and member.spec.restart == "transient":
                member.wish = "up"
            member.start_at_s = -inf
            await self._let_go(member)

    def _affected(self) -> list[Child]:
        members = self._all()
        if self.spec.strategy == "one_for_all":
            return members
        first = min(i for i, member in enumerate(members) if member.held or member in self._fallen)
        return members[first:]


class Family(Group):
    """Strangers: no order among them, none fails the family by not starting; added and removed while it runs."""

    kind = "family"
    spec: FamilySpec

    async def _bring_up(self) -> None:
        """All at once; up when each has had its first attempt."""
        async with trio.open_nursery() as nursery:
            for member in self._all():
                nursery.start_soon(self._let_go, member)

    async def _bring_members_down(self, members: list[Child]) -> None:
        for member in members:
            self._hold(member)
        for member in members:
            await self._gone_or_stuck(member)
        await self._outlast(members)

    def add(self, member: Child) -> None:
        """A new member starts at once if the family runs, else with it."""
        assert member.spec.name not in self.members, member.path
        self.members[member.spec.name] = member
        if self._nursery is not None and not self.over:
            member.held = False
            member.keep_in(self._nursery)
        else:
            member.rest()

    def forget(self, child: Child) -> None:
        del self.members[child.spec.name]
        self.poke()

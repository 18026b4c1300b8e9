"""The tree as others see it: run it, stop it, ask about it, command its children.

    tree = Tree(GroupSpec(name="root", children=(store, traders)), wall=wall, rng=random.Random(7))
    await nursery.start(tree.run)
    await tree.add("traders", ChildSpec(name="alice", start=partial(trader.run, ...)))
    tree.mailbox("traders/alice").post(news)

Semantics on one page: README.md beside this file.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable
from typing import Literal
from weakref import WeakValueDictionary

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.errors import ChildExhausted, ConfigError, InjectedCrash, Refusal
from actors.ports import Wall
from supervisor.child import Child
from supervisor.groups import Coupled, Family, Group
from supervisor.leaf import Leaf
from supervisor.lifecycle import Node, Sign, State, Subscriber
from supervisor.mailbox import Mailbox
from supervisor.parent import Outside, Parent
from supervisor.spec import ChildSpec, FamilySpec, GroupSpec, Spec, check, check_member

STOP_S_MAX = 30.0
"""All the patience of an ordered stop; after it whatever still runs is cancelled, still in order."""

END_S_MAX = 40.0
"""From the request to stop: what still lives then is stuck, and the process has to end without it. Together with the
30 s in which live pairs are followed it is below the 90 s after which systemd kills (systemd/otod.service). The
difference is what stuck children get once nobody else is left."""

Did = Literal[
    "started", "already_running", "declined", "failed",
    "stopped", "already_down", "restarted", "removed", "overruled", "stuck",
]  # fmt: skip
"""What came of a command. failed: its start; the restart policy goes on. overruled: by a later command, or a stop."""


class Answer(Struct, frozen=True, kw_only=True):
    """A command's definite answer, and how the child stands now."""

    path: str
    did: Did
    state: State
    incarnation: int
    detail: str = ""


class Tree:
    """A supervised tree. Usable once.

    wall: dates shown to people. rng: spreads restart delays. on_stuck: called once if a stop does not come to an end,
    with the paths that still live; the process can then only end by force, with a status that says so.
    Raises: ConfigError, the specs are wrong (all faults at once).
    """

    def __init__(
        self,
        root: GroupSpec,
        *,
        wall: Wall,
        rng: random.Random,
        on_stuck: Callable[[tuple[str, ...]], None] | None = None,
        stop_s_max: float = STOP_S_MAX,
        end_s_max: float = END_S_MAX,
    ) -> None:
        check(root)
        if not 0 <= stop_s_max <= end_s_max:
            what = f"stop_s_max is {stop_s_max}, end_s_max is {end_s_max}"
            raise ConfigError(what, where="tree", do="the end comes after all patience, both are not negative")
        self._outside = Outside(wall, rng, self._die_of)
        self._mailboxes: WeakValueDictionary[str, Mailbox] = WeakValueDictionary()
        self._on_stuck = on_stuck
        self._stop_s_max, self._end_s_max = stop_s_max, end_s_max
        self._fatal: BaseException | None = None
        self._failure: Exception | None = None
        self._stuck: tuple[str, ...] | None = None
        self._begun = self._ended = False
        self.hurried = False
        self.awaited: Child | None = None
        # The root's own end is the tree's: it is never restarted from within.
        self._root = self._group(replace(root, restart="temporary", stop_s_max=stop_s_max), "", self)

    # -- the whole tree

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until stopped; started() once every child is ready. Whatever ends it, children stop in order.

        Cancelled from outside they stop in order too, but without patience. Raises: StartFailed, a child could not be
        started at first; ChildExhausted, one that nobody can do without was given up; KeyboardInterrupt, SystemExit and
        the like, as raised by a child or here.
        """
        assert not self._begun, "a tree runs once"
        self._begun = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._live, name="tree")
                nursery.start_soon(self._notice_stuck, name="notice stuck")
                await self._attend(task_status)
        finally:  # also when it was cancelled meanwhile: what happened is not forgotten over that
            if error := self._fatal or self._failure:
                raise error

    async def stop(self) -> tuple[str, ...]:
        """Stops the tree in order. Returns at its end, for every caller: (), or the paths that are stuck."""
        self.ask_stop()
        if self._begun:
            await self._root.until(lambda: self._ended or self._stuck is not None)
        else:
            self._ended = True
            self._root.close("stopped")
            await trio.lowlevel.checkpoint()
        return self._stuck or ()

    def ask_stop(self) -> None:
        """Asks for an ordered stop; run() returns at its end."""
        self._outside.stopping = True
        self._root.wish = "stopped"
        self._root.poke_all()

    def statistics(self) -> Node:
        """The tree as it stands now."""
        return self._root.node()

    def signs(self) -> list[Sign]:
        """Of every actor; cheaper than statistics(), which look into what each waits for."""
        return [
            Sign(found.path, found.incarnation, found.mailbox.beats, found.waits, found.state)
            for found in everything(self._root)
            if isinstance(found, Leaf)
        ]

    def parked(self, path: str) -> bool:
        """Was it given up? Also while its last resort runs. Raises Refusal."""
        return self._find(path).wish == "parked"

    def subscribe(self, subscriber: Subscriber) -> None:
        self._outside.subscribers.append(subscriber)

    def mailbox(self, path: str) -> Mailbox:
        """The mailbox of an actor: the same over all its incarnations. Raises Refusal."""
        child = self._find(path)
        if not isinstance(child, Leaf):
            raise Refusal("a group has no mailbox", code="BAD_ARGUMENT", where=path, do="name one of its members")
        return child.mailbox

    # -- one child; a command given twice, or overtaken by another, does no harm: the last wish wins

    async def start(self, path: str) -> Answer:
        """Starts what is stopped, parked (with a fresh budget), done or delaying."""
        child = self._commanded(path)
        if child.serves and child.wish == "up":
            await trio.lowlevel.checkpoint()
            return self._answer(child, "already_running")
        before = child.tried
        if child.life is not None and child.life.killed:
            child.renew()  # it is dying: whatever would follow from that, it is wanted
        else:
            child.want("up")
        return await self._started(child, before, "started")

    async def restart(self, path: str) -> Answer:
        """Replaces the incarnation by the next, at once; starts what does not run."""
        child = self._commanded(path)
        before, lived = child.tried, child.life is not None
        child.renew()
        return await self._started(child, before, "restarted" if lived else "started")

    async def stop_child(self, path: str) -> Answer:
        """Stops a child, until somebody starts it."""
        child = self._commanded(path)
        lived = child.life is not None
        child.want("stopped")
        await child.until(lambda: child.life is None or child.state == "stuck" or child.wish != "stopped")
        if child.state == "stuck":
            return self._answer(child, "stuck")
        if child.wish != "stopped":
            return self._answer(child, "overruled")
        return self._answer(child, "stopped" if lived else "already_down")

    def put(self, family: str, spec: ChildSpec) -> None:
        """Adds a member to a family: it starts at once if the family runs, else with it. Does not wait.

        One that is just being removed under this name stays instead, and its next incarnation follows the new spec.
        Raises: ConfigError, the spec is wrong; Refusal, no such family, or the name is taken.
        """
        group = self._family(family)
        check_member(spec, family)
        old = group.members.get(spec.name)
        if old is None:
            path = f"{family}/{spec.name}"
            group.add(Leaf(spec, path, group, self._outside, self._mailbox_of(path, spec.capacity)))
        elif old.removed:
            old.revive(spec)
        else:
            raise Refusal("it is there already", where=old.path, do="restart it, or remove it first")

    async def add(self, family: str, spec: ChildSpec) -> Answer:
        """As put(), and waits for the outcome of the first attempt. A failed one is followed by the policy's next."""
        self.put(family, spec)
        child = self._find(f"{family}/{spec.name}")
        return await self._started(child, child.tried, "started")

    def respec(self, family: str, spec: ChildSpec) -> None:
        """How a member is to be started and kept from its next incarnation, or its next end, on. Raises as put()."""
        check_member(spec, family)
        child = self._find(f"{family}/{spec.name}")
        assert isinstance(child, Leaf), child.path
        child.spec = spec
        child.mailbox.capacity = spec.capacity

    async def remove(self, path: str) -> Answer:
        """Stops a member of a family and forgets it."""
        child = self._find(path)
        if not isinstance(child.parent, Family):
            raise Refusal("a fixed child cannot be removed", where=path, do="stop it instead")
        child.removed = True
        child.poke()
        if not child.kept and child.life is None:
            child.bury()
        members = child.parent.members

        def gone() -> bool:
            return members.get(child.spec.name) is not child

        await child.until(lambda: gone() or not child.removed or child.state == "stuck")
        if gone():
            return self._answer(child, "removed")
        return self._answer(child, "stuck" if child.state == "stuck" else "overruled")

    def crash(self, path: str, why: str = "asked for") -> None:
        """Lets a running actor die at its next await point, as if it had raised. Raises Refusal: it does not run."""
        child = self._find(path)
        if not isinstance(child, Leaf) or child.life is None or not child.life.running:
            raise Refusal("only a running actor can crash", where=path, do="see otoctl tree")
        child.life.sentence(InjectedCrash(f"injected crash: {why}", where=path))

    def running(self) -> list[str]:
        """The paths of the actors that are ready and neither ending nor being stopped, in the order of the tree."""
        return [
            child.path
            for child in everything(self._root)
            if isinstance(child, Leaf) and child.life is not None and child.life.running and child.life.ready
        ]

    # -- inside

    async def _live(self) -> None:
        with trio.CancelScope(shield=True):  # nobody but the tree itself cancels a child: it does so in order
            if not self._outside.stopping:
                self._root.held = False
                self._failure = next(iter((await self._root.live()).errors), None)
        self._root.become("stopped")
        self._root.close("the tree has ended")
        self._ended = True
        self._root.poke_all()

    async def _attend(self, task_status: trio.TaskStatus[None]) -> None:
        """Keeps the caller's task where it can be cancelled or interrupted."""
        try:
            await self._root.until(lambda: self._root.tried > 0 or self._ended)
            if self._root.state == "running":
                task_status.started()
            await self._root.until(lambda: self._ended)
        except trio.Cancelled:
            self.hurried = True
            self.ask_stop()
            raise
        except KeyboardInterrupt as interrupt:
            self._die_of(interrupt)

    async def _notice_stuck(self) -> None:
        """Nothing in the process can end a task that does not want to: say so while there is time."""
        root = self._root
        with trio.CancelScope(shield=True):
            await root.until(lambda: root.state in ("stopping", "stuck") or self._ended)
            end_s = trio.current_time() + self._end_s_max
            await root.until(lambda: root.state == "stuck" or self._ended, self._end_s_max)
            # Nothing but stuck ones is left: what is kept for the end is theirs, but not more.
            left_s = min(end_s - trio.current_time(), self._end_s_max - self._stop_s_max)
            await root.until(lambda: self._ended, max(0.0, left_s))
            if not self._ended:
                self._stuck = tuple(living(root))
                root.poke_all()
                if self._on_stuck is not None:
                    self._on_stuck(self._stuck)

    def _die_of(self, error: BaseException) -> None:
        """An error that is about the process, not about a child: stop in order, then raise it to the caller."""
        self._fatal = self._fatal or error
        self.ask_stop()

    async def _started(self, child: Child, before: int, did: Did) -> Answer:
        await child.until(
            lambda: (
                child.tried > before
                or child.wish != "up"
                or child.removed
                or child.state == "stuck"
                or not child.parent.coming_back
            )
        )
        if child.tried > before and child.last_try is not None:
            crash = child.last_crash
            detail = f"{crash.type}: {crash.message}" if child.last_try == "failed" and crash is not None else ""
            return self._answer(child, did if child.last_try == "ready" else child.last_try, detail)
        return self._answer(child, "stuck" if child.state == "stuck" else "overruled")

    def _answer(self, child: Child, did: Did, detail: str = "") -> Answer:
        return Answer(path=child.path, did=did, state=child.state, incarnation=child.incarnation, detail=detail)

    def _commanded(self, path: str) -> Child:
        """The child, if a command can be carried out on it."""
        child = self._find(path)
        if child is self._root:
            raise Refusal("the root is not commanded", where="", do="stop the daemon instead")
        if not self._begun or self._outside.stopping or self._ended:
            raise Refusal("the tree does not run", where=path, do="wait until it runs")
        group = child.parent
        while isinstance(group, Group):
            if group.wish != "up":
                raise Refusal(f"its group {group.path} is {group.state}", where=path, do=f"start {group.path} first")
            group = group.parent
        if child.state == "stuck":
            raise Refusal(
                "its incarnation does not end", code="STUCK", where=path, do="see its child_stuck line, or restart otod"
            )
        return child

    def _find(self, path: str) -> Child:
        child: Child = self._root
        for name in path.split("/") if path else ():
            members = child.members if isinstance(child, Group) else {}
            if name not in members:
                close = difflib.get_close_matches(path, [found.path for found in everything(self._root)], n=1)
                hint = f"did you mean {close[0]}?" if close else "see otoctl tree"
                raise Refusal(f"there is no child {path!r}", code="BAD_ARGUMENT", where=path, do=hint)
            child = members[name]
        return child

    def _family(self, path: str) -> Family:
        group = self._find(path)
        if not isinstance(group, Family):
            raise Refusal(f"it is a {group.kind}, not a family", code="BAD_ARGUMENT", where=path, do="see otoctl tree")
        return group

    def _group(self, spec: GroupSpec | FamilySpec, path: str, parent: Parent) -> Group:
        group: Group
        if isinstance(spec, FamilySpec):
            group = Family(spec, path, parent, self._outside)
        elif spec.strategy == "one_for_one":
            group = Group(spec, path, parent, self._outside)
        else:
            group = Coupled(spec, path, parent, self._outside)
        for child in spec.children:
            group.members[child.name] = self._child(child, f"{path}/{child.name}" if path else child.name, group)
        return group

    def _child(self, spec: Spec, path: str, parent: Group) -> Child:
        if isinstance(spec, ChildSpec):
            return Leaf(spec, path, parent, self._outside, self._mailbox_of(path, spec.capacity))
        return self._group(spec, path, parent)

    def _mailbox_of(self, path: str, capacity: int) -> Mailbox:
        """One mailbox per path for as long as anybody holds it: a member added again gets its old one."""
        mailbox = self._mailboxes.get(path)
        if mailbox is None:
            mailbox = self._mailboxes[path] = Mailbox(path, capacity=capacity)
        mailbox.capacity = capacity
        mailbox.open()
        return mailbox

    # -- the root's parent (child.Parent)

    @property
    def coming_back(self) -> bool:
        return not self._outside.stopping and not self._ended and self._root.failure is None

    def fell(self, child: Child, delay_s: float) -> None:
        raise AssertionError("the root is not restarted")

    def gave_up(self, child: Child, error: ChildExhausted) -> None:
        raise AssertionError("the root has no budget")

    def finished(self, child: Child) -> None:
        """The root came to its end: so does the tree."""

    def forget(self, child: Child) -> None:
        raise AssertionError("the root cannot be removed")

    def poke(self) -> None:
        """Nobody above the root looks."""


def everything(child: Child) -> list[Child]:
    """The child and all below it."""
    below = child.members.values() if isinstance(child, Group) else ()
    return [child, *(found for member in below for found in everything(member))]


def living(child: Child) -> list[str]:
    """The paths of all actors that have a living incarnation."""
    return [found.path for found in everything(child) if isinstance(found, Leaf) and found.life is not None]

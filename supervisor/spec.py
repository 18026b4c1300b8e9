"""What is to be supervised, as data: children, groups of them, families that grow and shrink. Checked as a whole.

A tree is a GroupSpec. Its children are ChildSpecs (actors), further GroupSpecs (fixed members, in order) and
FamilySpecs (any number of strangers, added and removed while running). All three are kept alive by the same rules, so
levels of restart budgets multiply. Names are unique within a group; a child's path is its name after those of its
groups: "traders/alice".
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

from msgspec import Struct
from msgspec.structs import fields, replace

from actors.errors import ConfigError

RestartKind = Literal["permanent", "transient", "temporary"]
"""permanent: always started again. transient: only after a crash. temporary: never."""
Exhausted = Literal["park", "escalate"]
"""When the budget is used up. park: stays down, visible, until an operator starts it. escalate: its group ends."""
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Who restarts with a member that died: nobody; all others; those after it in the list."""
AutoStop = Literal["never", "any_significant", "all_significant"]
"""Does the group end by itself once a significant member, or all of them, came to an end?"""

Start: TypeAlias = Callable[..., Awaitable[None]]
"""async start(inbox, *, task_status): an actor. It calls task_status.started() once it serves its mailbox."""

NAME = re.compile(r"[A-Za-z0-9_.-]+")


class Kept(Struct, frozen=True, kw_only=True):
    """How to keep something alive: what actors, groups and families have in common.

    The delays add up to about 3 s over a full default budget (0.1 + 0.2 + … + 1.6), so that a child which recovers at
    all is ready again well within the 10 s that users do not notice (requirements, "Pauses").
    """

    name: str
    restart: RestartKind = "permanent"
    exhausted: Exhausted = "park"
    intensity: int = 5  # restarts allowed ...
    period_s: float = 60.0  # ... within this sliding window
    delay_s: float = 0.1  # before the first restart; 0: none ever
    delay_factor: float = 2.0  # each further one, until a steady period
    delay_s_max: float = 30.0
    jitter: float = 0.2  # share of the delay, both ways: many that died together do not come back together
    steady_s: float = 10.0  # up for so long: it did recover, the next delay is the first again
    ready_s_max: float = 10.0
    stop_s_max: float = 0.0  # asked to stop, then so long until cancelled; 0: cancelled at once, without asking
    stuck_s: float = 5.0  # cancelled and still there after so long: reported as stuck (closing a socket may take 2 s)
    significant: bool = False  # see AutoStop


class ChildSpec(Kept, frozen=True, kw_only=True):
    """One actor.

    progress_s_max: longest time between two signs of life (take, finish, beat; waiting in take is one). None: not
    watched. last_resort: what is started every last_resort_s while the child is parked, until it returns: a reduced
    form of the actor that only puts things in order.
    """

    start: Start
    capacity: int = 1024  # places in the mailbox
    redeliver: bool = False  # what was in hand at a crash comes again: True only where handling twice is harmless
    progress_s_max: float | None = None
    last_resort: Start | None = None
    last_resort_s: float = 60.0


class GroupSpec(Kept, frozen=True, kw_only=True):
    """Fixed members: started in this order, each ready before the next, stopped in reverse."""

    children: tuple[Spec, ...]
    strategy: Strategy = "one_for_one"
    auto_stop: AutoStop = "never"
    exhausted: Exhausted = "escalate"
    ready_s_max: float = math.inf  # its members have deadlines of their own ...
    stop_s_max: float = math.inf  # ... for stopping too


class FamilySpec(Kept, frozen=True, kw_only=True):
    """Strangers: started and stopped all at once, each restarted alone, added and removed while running."""

    children: tuple[ChildSpec, ...] = ()
    exhausted: Exhausted = "escalate"
    ready_s_max: float = math.inf
    stop_s_max: float = math.inf


Spec: TypeAlias = ChildSpec | GroupSpec | FamilySpec
S = TypeVar("S", bound=Kept)


def check(spec: Spec) -> None:
    """Checks a tree as a whole. Raises ConfigError naming every wrong field with its path and value."""
    faults = list(_faults(spec, spec.name))
    if faults:
        raise ConfigError("; ".join(faults), where="child specs", do="correct them: nothing was started")


def check_member(spec: ChildSpec, family: str) -> None:
    """Checks what is to be added to a family. Raises ConfigError."""
    faults = list(_faults(spec, f"{family}/{spec.name}"))
    if spec.significant:
        faults.append(f"{family}/{spec.name}: significant is True, but a family never stops by itself")
    if faults:
        raise ConfigError("; ".join(faults), where=family, do="correct it: nothing was started")


def with_options(spec: S, options: Mapping[str, Any]) -> S:
    """The spec with fields replaced, as a configuration file gives them. Raises ConfigError on an unknown option."""
    known = [field.name for field in fields(spec)]
    for name, value in options.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(known)}"
            raise ConfigError(f"unknown option {name} = {value!r}", where=spec.name, do=hint)
    return replace(spec, **options)


def _faults(spec: Spec, path: str) -> list[str]:
    faults = [f"{path}: {fault}" for fault in _own_faults(spec)]
    if isinstance(spec, ChildSpec):
        return faults + [f"{path}: {fault}" for fault in _child_faults(spec)]
    names = [child.name for child in spec.children]
    faults += [f"{path}: name {name!r} is used {names.count(name)} times" for name in dict.fromkeys(names)
               if names.count(name) > 1]  # fmt: skip
    if isinstance(spec, GroupSpec):
        faults += [f"{path}: {fault}" for fault in _group_faults(spec)]
    for child in spec.children:
        if not isinstance(child, ChildSpec) and isinstance(spec, FamilySpec):
            faults.append(f"{path}: member {child.name!r} is a {type(child).__name__}, a family holds ChildSpecs only")
        auto_stop = spec.auto_stop if isinstance(spec, GroupSpec) else "never"
        if child.significant and auto_stop == "never":
            faults.append(f"{path}/{child.name}: significant is True, but auto_stop of {path} is 'never'")
        faults += _faults(child, f"{path}/{child.name}")
    return faults


def _own_faults(spec: Kept) -> list[str]:
    faults, name = [], cast(Any, spec.name)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        faults.append(f"name is {name!r}, allowed are letters, digits and _ . -")
    faults += _not_one_of(spec, "restart", RestartKind)
    faults += _not_one_of(spec, "exhausted", Exhausted)
    faults += _not_whole(spec, "intensity", least=0)
    faults += _out_of_range(spec, "period_s", above=0)
    faults += _out_of_range(spec, "delay_s", least=0)
    faults += _out_of_range(spec, "delay_factor", least=1)
    faults += _out_of_range(spec, "delay_s_max", least=0)
    faults += _out_of_range(spec, "jitter", least=0, most=1)
    faults += _out_of_range(spec, "steady_s", least=0)
    faults += _out_of_range(spec, "ready_s_max", above=0, endless=True)
    faults += _out_of_range(spec, "stop_s_max", least=0, endless=not isinstance(spec, ChildSpec))
    faults += _out_of_range(spec, "stuck_s", above=0)
    faults += _not_bool(spec, "significant")
    if not faults and spec.delay_s > spec.delay_s_max:
        faults.append(f"delay_s is {spec.delay_s!r}, above delay_s_max {spec.delay_s_max!r}")
    if spec.significant is True and spec.restart == "permanent":
        faults.append("significant is True, but restart is 'permanent': it never comes to an end")
    return faults


def _child_faults(spec: ChildSpec) -> list[str]:
    faults = _not_callable(spec, "start")
    faults += _not_whole(spec, "capacity", least=1)
    faults += _not_bool(spec, "redeliver")
    faults += _out_of_range(spec, "last_resort_s", above=0)
    if spec.progress_s_max is not None:
        faults += _out_of_range(spec, "progress_s_max", above=0)
    if spec.last_resort is not None:
        faults += _not_callable(spec, "last_resort")
        if spec.exhausted != "park":
            faults.append(f"last_resort is set, but exhausted is {spec.exhausted!r}: only a parked child has one")
    return faults


def _group_faults(spec: GroupSpec) -> list[str]:
    faults = _not_one_of(spec, "strategy", Strategy) + _not_one_of(spec, "auto_stop", AutoStop)
    if spec.strategy != "one_for_one":
        faults += [
            f"exhausted of {child.name!r} is {child.exhausted!r}, must be 'escalate' in a {spec.strategy} group: the "
            "others cannot live without it (the group itself may park)"
            for child in spec.children
            if child.exhausted != "escalate"
        ]
    return faults


def _not_one_of(spec: Kept, field: str, words: Any) -> list[str]:
    value = getattr(spec, field)
    return [] if value in get_args(words) else [f"{field} is {value!r}, must be one of {', '.join(get_args(words))}"]


def _not_callable(spec: Kept, field: str) -> list[str]:
    value = getattr(spec, field)
    return [] if callable(value) else [f"{field} is {value!r}, must be an async function"]


def _not_bool(spec: Kept, field: str) -> list[str]:
    value = getattr(spec, field)
    return [] if isinstance(value, bool) else [f"{field} is {value!r}, must be True or False"]


def _not_whole(spec: Kept, field: str, *, least: int) -> list[str]:
    value = getattr(spec, field)
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return []
    return [f"{field} is {value!r}, must be a whole number >= {least}"]


def _out_of_range(
    spec: Kept,
    field: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    endless: bool = False,
) -> list[str]:
    value = getattr(spec, field)
    number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if number and value >= least and value > above and value <= most and (endless or value != math.inf):
        return []
    bound = f"> {above}" if above > -math.inf else f">= {least}"
    return [f"{field} is {value!r}, must be a number {bound}" + (f" and <= {most}" if most < math.inf else "")]

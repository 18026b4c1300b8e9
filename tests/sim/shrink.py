"""The smallest trouble that still breaks: users, time, families of faults, then single options are taken away for as
long as the same thing goes wrong. What is left can be run again from a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from tests.sim.options import (
    START_MS,
    DiskTrouble,
    Hands,
    NetTrouble,
    Options,
    ProcessTrouble,
    UserOptions,
)

MINUTES_MIN = 0.5

Breaks = Callable[[Options], tuple[str, ...]]
"""Runs options; what goes wrong."""


def kind_of(violation: str) -> str:
    """What goes wrong, without whom it befell, when, and with which amounts."""
    what = re.sub(r"^\S+ \S+: ", "", violation)
    return re.sub(r"[^a-z ]+", "", re.sub(r"\b\w*\d\w*\b|\(.*", "", what))[:40].strip()


def shrink(options: Options, breaks: Breaks, *, wanted: str, tell: Callable[[str], None]) -> tuple[Options, int]:
    """Options of which nothing more can be taken, and how many runs that took. wanted: kind_of the violation."""
    runs = 0

    def still(tried: Options) -> bool:
        nonlocal runs
        runs += 1
        return any(kind_of(what) == wanted for what in breaks(tried))

    smaller = True
    while smaller:
        smaller = False
        for what, tried in _reductions(options):
            if _size(tried) < _size(options) and still(tried):
                options, smaller = tried, True
                tell(f"{runs} runs: goes on {what}")
                break
    return options, runs


def _size(options: Options) -> tuple[int, float, int]:
    """Users, minutes, and the text of what differs from the defaults: whatever is taken away makes one of them less."""
    return len(options.users), options.minutes, len(msgspec.json.encode(_bare(options)))


def _bare(value: Any) -> Any:
    """Only what differs from the defaults."""
    if isinstance(value, Struct):
        return {name: _bare(one) for name, one in _told(value).items()}
    if isinstance(value, tuple | list):
        return [_bare(one) for one in value]
    return value


def _told(value: Struct) -> dict[str, Any]:
    fields = msgspec.structs.fields(value)
    return {f.name: getattr(value, f.name) for f in fields if getattr(value, f.name) != f.default}


def _reductions(options: Options) -> Iterator[tuple[str, Options]]:
    """Large steps first."""
    users = options.users
    if len(users) > 1:
        yield f"with {len(users) // 2} users", replace(options, users=users[: len(users) // 2])
        for user in users:
            yield f"without {user.name}", replace(options, users=tuple(one for one in users if one is not user))
    for family, calm in (
        ("faults", ()), ("net", NetTrouble()), ("disk", DiskTrouble()), ("process", ProcessTrouble()),
        ("hands", Hands()), ("rules", {}),
    ):  # fmt: skip
        if getattr(options, family) != calm:
            yield f"without {family}", replace(options, **{family: calm})
    for minutes in (options.minutes / 2, options.minutes * 0.8):
        if minutes >= MINUTES_MIN:
            yield f"for {minutes:.1f} minutes", _for(options, minutes)
    yield from _single(options)


def _for(options: Options, minutes: float) -> Options:
    return replace(options, minutes=float(f"{minutes:.1f}"))


def _single(options: Options) -> Iterator[tuple[str, Options]]:
    for fault in options.faults:
        left = tuple(one for one in options.faults if one is not fault)
        yield f"without {fault.kind}", replace(options, faults=left)
    for family in ("net", "disk", "process"):
        trouble = getattr(options, family)
        calm = type(trouble)()
        for name in _told(trouble):
            yield (
                f"without {family}.{name}",
                replace(options, **{family: replace(trouble, **{name: getattr(calm, name)})}),
            )
    for act in options.hands.acts:
        acts = tuple(one for one in options.hands.acts if one != act)
        yield f"without {act}", replace(options, hands=replace(options.hands, acts=acts) if acts else Hands())
    for name in options.rules:
        yield f"without {name}", replace(options, rules={n: v for n, v in options.rules.items() if n != name})
    plain = Options(seed=options.seed, users=(), minutes=0)
    for name in ("real_rates", "renew_s", "rotate_s", "pace"):
        yield f"with the usual {name}", replace(options, **{name: getattr(plain, name)})
    yield "at noon", replace(options, start_ms=START_MS)
    for user in options.users:
        usual = UserOptions(name=user.name, trading=user.trading)
        if user != usual:
            users = tuple(usual if one is user else one for one in options.users)
            yield f"with a plain {user.name}", replace(options, users=users)


def save(options: Options, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_bare(options)), indent=1) + b"\n")


def load(path: Path) -> Options:
    """Raises: SystemExit, with what is wrong with the file."""
    try:
        options = msgspec.json.decode(path.read_bytes(), type=Options)
    except (OSError, msgspec.DecodeError) as error:
        sys.exit(f"{path}: {error}")
    rules = {name: tuple(value) if isinstance(value, list) else value for name, value in options.rules.items()}
    return replace(options, rules=rules)

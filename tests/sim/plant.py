"""What a bug on purpose is, and how the daemon comes by it. The bugs are in planted.py and overlooked.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from actors.paper.faults import Fault
from tests.sim.menu import OTO
from tests.sim.options import Options, calm_options

Make = Callable[[Any], Any]
"""Takes the right function, gives the wrong one."""


class Plant(Struct, frozen=True):
    """places: (owner, name, what to put there). profile: of what is drawn; "doubtful": the world below."""

    name: str
    places: tuple[tuple[Any, str, Make], ...]
    profile: str = "harsh"


def doubtful(seed: int, *, users: int, minutes: float) -> Options:
    """A world in which nothing but patient looks can tell whether an order exists: its reply is lost, its frames do not
    come, and the lists lag behind. Drawn worlds have all three at once in one of fifty runs."""
    lag_s = Random(f"{seed}/lag").uniform(2, 11.5)
    faults = (
        Fault(kind="lost_reply", path=OTO, share=0.3),
        Fault(kind="drop_frame", stream="alpha@", share=0.9),
        Fault(kind="read_lag", share=1.0, seconds=lag_s, lists="both"),
    )
    return replace(calm_options(seed, users=users, minutes=minutes, target=100_000), faults=faults)


@contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """Meanwhile the daemon has this bug."""
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in plant.places]
    for owner, name, make in plant.places:
        setattr(owner, name, make(owner.__dict__[name]))
    try:
        yield
    finally:
        for owner, name, right in before:
            setattr(owner, name, right)

"""What a bug on purpose is, and how the daemon comes by it. The bugs are in planted.py and overlooked.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

Make = Callable[[Any], Any]
"""Takes the right function, gives the wrong one."""


class Plant(Struct, frozen=True):
    """places: (owner, name, what to put there)."""

    name: str
    places: tuple[tuple[Any, str, Make], ...]
    profile: str = "harsh"


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

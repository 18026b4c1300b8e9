"""What a child needs of what is above it: its group, and the world outside of the tree."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from actors.errors import ChildExhausted
from actors.ports import Wall
from supervisor.lifecycle import Subscriber

if TYPE_CHECKING:
    from supervisor.child import Child


class Outside:
    """What a tree needs of the world, and whom it tells."""

    def __init__(self, wall: Wall, rng: random.Random, fatal: Callable[[BaseException], None]) -> None:
        self.wall = wall
        self.rng = rng
        self.fatal = fatal
        self.subscribers: list[Subscriber] = []
        self.stopping = False  # the whole tree: nothing is started any more


class Parent(Protocol):
    """What a child needs of its group."""

    @property
    def hurried(self) -> bool:
        """Nobody is to be waited for any more: cancel at once."""
        ...

    @property
    def coming_back(self) -> bool:
        """Is a member that is down now going to be started again by the group?"""
        ...

    @property
    def awaited(self) -> Child | None:
        """The member without which the group does not come up: it starts for the first time."""
        ...

    def fell(self, child: Child, delay_s: float) -> None:
        """A member died and is to be restarted."""
        ...

    def gave_up(self, child: Child, error: ChildExhausted) -> None:
        """A member used up its budget, and the group is to end."""
        ...

    def finished(self, child: Child) -> None:
        """A member came to its end."""
        ...

    def forget(self, child: Child) -> None:
        """A removed member is gone."""
        ...

    def poke(self) -> None:
        """Something about a member has changed."""
        ...

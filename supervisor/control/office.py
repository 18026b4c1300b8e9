"""What the commands work with: the rest of the daemon as control sees it, and one request on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from actors.domain.quotes import Quote
from actors.messages import FeedSnapshot, TraderSnapshot, UserRecord
from actors.ports import Address, Wall
from supervisor.bus import EventBus
from supervisor.control.views import walk
from supervisor.lifecycle import Node


class Office(Protocol):
    """The rest of the daemon as control sees it; the wiring is one."""

    store: Address
    tokens: Address
    wall: Wall
    started_ms: int
    version: str
    mode: str

    def users(self) -> Sequence[str]: ...

    def trader(self, user: str) -> Address | None:
        """None: no trader of this user takes messages."""
        ...

    def snapshot(self, user: str) -> TraderSnapshot | None: ...

    async def user_record(self, user: str) -> UserRecord: ...

    def feed(self, token: str) -> tuple[FeedSnapshot | None, Quote | None]: ...

    def tree(self) -> Node: ...

    async def restart(self, path: str) -> None: ...

    async def force_stop(self, user: str, who: str) -> TraderSnapshot:
        """trading.stop now=true of a trader that does not answer: wanted is stored, the incarnation cancelled."""
        ...


class Call(Struct):
    """One request on its way: args are checked and complete. rate: trio seconds per real second (--speed)."""

    office: Office
    bus: EventBus
    args: dict[str, Any]
    who: str
    rate: float = 1.0
    nodes_seen: dict[str, Node] | None = None

    def nodes(self) -> dict[str, Node]:
        """Every actor by its path, as it was when this request first asked: a tree of a thousand is not built twice."""
        if self.nodes_seen is None:
            self.nodes_seen = {node.path: node for node in walk(self.office.tree())}
        return self.nodes_seen

    def tokens_in_use(self) -> list[str]:
        snapshots = (self.office.snapshot(user) for user in self.office.users())
        return sorted({each.token for each in snapshots if each is not None and each.token})

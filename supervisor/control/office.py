"""What the commands work with: the rest of the daemon as control sees it, and one request on its way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from actors.domain.quotes import Quote
from actors.errors import Refusal
from actors.messages import FeedSnapshot, ListenKey, TraderSnapshot, UserRecord
from actors.ports import Address, PrivateExchange, Wall
from actors.tally import Tally
from supervisor.access import OPERATOR, Access, Rights
from supervisor.bus import EventBus
from supervisor.control.lately import Lately
from supervisor.control.views import walk
from supervisor.keyring import Keyring
from supervisor.lifecycle import Node
from supervisor.people import People
from supervisor.tree import Answer
from supervisor.users import can_trade


class Levers(Struct, frozen=True, kw_only=True):
    """What only the process around the daemon can do; None: this one cannot.

    log_level: sets it, tells the one before. reload: reads the configuration again, tells what is in force now.
    drain: asks for an orderly end. notify: tells people that this is a test, and by which ways.
    """

    log_level: Callable[[str], str] | None = None
    reload: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    drain: Callable[[str], None] | None = None
    notify: Callable[[], Awaitable[Mapping[str, Any]]] | None = None


class Office(Protocol):
    """The rest of the daemon as control sees it; the wiring is one."""

    store: Address
    tokens: Address
    wall: Wall
    started_ms: int
    version: str
    mode: str
    access: Access
    tally: Tally
    people: People
    keyring: Keyring
    levers: Levers

    @property
    def session_host(self) -> str | None:
        """The exchange's host, from which credentials must come; None: a paper exchange."""
        ...

    def users(self) -> Sequence[str]: ...

    def records(self) -> Mapping[str, UserRecord]: ...

    def trader(self, user: str) -> Address | None:
        """None: no trader of this user takes messages."""
        ...

    def snapshot(self, user: str) -> TraderSnapshot | None: ...

    async def user_record(self, user: str) -> UserRecord: ...

    def exchange(self, user: str) -> PrivateExchange: ...

    def feed(self, token: str) -> tuple[FeedSnapshot | None, Quote | None]: ...

    def feeds_shown(self) -> Mapping[str, tuple[FeedSnapshot | None, Quote | None]]: ...

    def listen_key(self, user: str) -> ListenKey | None:
        """Its ages and troubles are shown, never the key."""
        ...

    def figures(self) -> Mapping[str, Any]:
        """What the parts below count of themselves."""
        ...

    def tree(self) -> Node: ...

    async def restart(self, path: str) -> Answer: ...

    async def force_stop(self, user: str, who: str, *, now: bool = True) -> TraderSnapshot:
        """trading.stop of a trader that does not answer: wanted is stored, its incarnation replaced by the next."""
        ...

    def given_up(self, user: str) -> bool:
        """Its trader died too often and was parked."""
        ...

    async def bring_back(self, user: str) -> None:
        """Starts a trader that was given up, if it still is. Raises: Refusal, it does not start."""
        ...


class Call(Struct):
    """One request on its way: args are checked and complete. rate: trio seconds per real second (--speed)."""

    office: Office
    bus: EventBus
    args: dict[str, Any]
    who: str
    rate: float = 1.0
    rights: Rights = OPERATOR
    lately: Lately = field(default_factory=Lately)
    nodes_seen: dict[str, Node] | None = None

    def nodes(self) -> dict[str, Node]:
        """Every actor by its path, as it was when this request first asked: a tree of a thousand is not built twice."""
        if self.nodes_seen is None:
            self.nodes_seen = {node.path: node for node in walk(self.office.tree())}
        return self.nodes_seen

    def users(self) -> list[str]:
        """All users whom this caller may see."""
        users = self.office.users()
        return list(users) if self.rights.sees_all else [user for user in users if user in self.rights.own]

    def lacks(self, user: str) -> str:
        """What a user needs before it can trade, and how it gets there; empty if it has a trader."""
        record = self.office.records().get(user)
        if record is None or can_trade(record):
            return ""
        if record.config is None:
            return f"no configuration yet: config.set (otoctl config set {user} --help)"
        return f"no credentials yet: user.set-credentials (otoctl user set-credentials {user} --help)"

    def tokens_in_use(self) -> list[str]:
        snapshots = (self.office.snapshot(user) for user in self.users())
        return sorted({each.token for each in snapshots if each is not None and each.token})


def not_permitted() -> Refusal:
    """The same words whatever was asked, so that nothing is learned from them."""
    return Refusal(
        "this caller may not do that", code="NOT_PERMITTED", do="the daemon's operators decide: [control] in otod.toml"
    )

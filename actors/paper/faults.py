"""Faults of the exchange as switches: what, for whom, where, how often.

Whoever is about to do something asks `strike()` whether a fault of that kind befalls it; the first that matches is used
up by one. Nothing here does harm itself: the place that asked does. In TOML:

    [[fault]]
    kind = "lost_reply"        # see Kind
    account = "alice"          # left out: everybody
    path = "oto-order/place"   # part of the request's path; left out: all that this kind is about
    times = 3                  # left out: always        skip = 2: not the first two        share = 0.1: one in ten
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

Kind = Literal[
    # the reply to a request; `processed` says whether the request took effect first
    "lost_reply",  # the connection is closed instead; processed unless told otherwise
    "late_reply",  # comes `seconds` later: after the client's time-out; processed unless told otherwise
    "http_error",  # `status` (502; 429/418 with `retry_after`, 403, 5xx)
    "html_body",  # a page with status 200
    "truncated_body",  # half of the JSON; always processed
    "edit_body",  # `set` and `remove` keys of the data, of each of its rows if it is a list
    "error_code",  # an envelope with `code` and `message`: an unknown code, 100001001, a refusal
    "login_expired",  # 100002001
    "verification",  # 100001003 and the risk_challenge headers
    "late_acceptance",  # a placement takes effect `seconds` later; its reply is lost, or `status` if that is given
    # reads
    "read_lag",  # open orders, history and fills (`lists`) show what was `seconds` ago
    "non_atomic",  # history lags `seconds` behind open orders: an order on its way is in neither
    "short_history",  # a page lacks its last `rows` rows
    "crossed_depth",  # fullDepth with the best bid five ticks above the best ask
    "clock_skew",  # the Date header is `seconds` off
    # frames of either socket
    "drop_frame",
    "duplicate_frame",
    "delay_frame",  # `seconds`; what follows on the stream does not wait for it
    "reorder_frame",  # swaps places with the next one of its stream
    "edit_frame",  # `set` keys to values, `remove` keys
    "disconnect",  # the frame is lost and the sockets of its stream are closed
    # listen keys and orders
    "key_death",  # a key that is given out lives only `seconds`
    "partial_fill",  # an order that would trade at once gets only `part` of it now, the rest `seconds` later
    "refuse_release",  # the pending leg is refused when it is released
    "halt",  # trading of `symbol` is halted as long as the fault stands
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
PROCESSED: frozenset[Kind] = frozenset({"lost_reply", "late_reply"})
"""Kinds whose request takes effect unless the fault says `processed = false`."""


class Fault(Struct, kw_only=True, forbid_unknown_fields=True):
    """One switch. The first part says when it strikes, the second what it does (see Kind)."""

    kind: Kind
    account: str | None = None
    path: str = ""
    stream: str = ""  # part of a stream's name: "alpha@", "@aggTrade"
    word: str = ""  # a frame's `e`, `x` or `X`: "TRADE", "FILLED", "aggTrade"
    symbol: str = ""
    times: int | None = None
    skip: int = 0
    share: float = 1.0

    processed: bool | None = None
    seconds: float = 0.0
    status: int = 0
    retry_after: int | None = None
    code: str = "100001001"
    message: str = ""
    lists: Literal["open", "history", "both"] = "both"
    rows: int = 1
    part: Decimal = Decimal("0.5")
    set: dict[str, Any] = {}
    remove: list[str] = []

    @property
    def ms(self) -> int:
        return int(self.seconds * 1000)

    @property
    def takes_effect(self) -> bool:
        """Of faults of a reply: the request is processed before the reply goes wrong."""
        return self.kind in PROCESSED if self.processed is None else self.processed


class Faults:
    """The switches in force. fired: how often each kind struck. rng: None = that of the exchange they are given to."""

    def __init__(self, *faults: Fault, rng: random.Random | None = None) -> None:
        self.fired: Counter[Kind] = Counter()
        self.rng = rng
        self._by_kind: dict[Kind, list[Fault]] = {}
        for fault in faults:
            self.add(fault)

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Faults:
        """From a TOML document's [[fault]] tables. Raises: msgspec.ValidationError naming the key."""
        return cls(*msgspec.convert(document.get("fault", []), list[Fault], strict=False))

    def add(self, fault: Fault) -> Fault:
        self._by_kind.setdefault(fault.kind, []).append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Switches one off; one that is used up already is nothing."""
        standing = self._by_kind.get(fault.kind, [])
        self._by_kind[fault.kind] = [other for other in standing if other is not fault]

    def clear(self) -> None:
        self._by_kind.clear()

    def any(self, kind: Kind) -> bool:
        return bool(self._by_kind.get(kind))

    def strike(
        self,
        kind: Kind,
        *,
        account: str | None = None,
        path: str = "",
        stream: str = "",
        words: tuple[str, ...] = (),
        symbol: str = "",
        lists: str = "",
        takes_effect: bool | None = None,
    ) -> Fault | None:
        """The fault that befalls this occasion, used up by one; None: all goes well."""
        for fault in self._by_kind.get(kind, ()):
            if (
                (fault.account is not None and fault.account != account)
                or fault.path not in path
                or fault.stream not in stream
                or (fault.word and fault.word not in words)
                or (fault.symbol and fault.symbol != symbol)
                or (lists and fault.lists not in ("both", lists))
                or (takes_effect is not None and fault.takes_effect != takes_effect)
                or (fault.share < 1.0 and self._spared(fault.share))
            ):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.remove(fault)
            self.fired[kind] += 1
            return fault
        return None

    def _spared(self, share: float) -> bool:
        assert self.rng is not None, "given to no exchange yet"
        return self.rng.random() >= share

    def halted(self, symbol: str) -> bool:
        """Is trading of this symbol halted? Asking uses nothing up."""
        return any(fault.symbol in ("", symbol) for fault in self._by_kind.get("halt", ()))

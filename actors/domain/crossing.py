"""The self-trade guard: the register of own resting orders of one symbol, over all users of this daemon.

An order counts from the moment it is permitted until its pair is over. A new pair is refused while one of its orders
would cross an opposite order of another user (a BUY at or above a SELL). Orders of the same user never block: a user
has one live pair, and its legs follow each other.

First come, first served: who is refused leaves a claim, and later askers that would cross the claim are refused too,
until the claimant got its turn or did not ask again for CLAIM_MS. So nobody starves behind users that take turns.
Orders without a BUY only reduce (the sale of own inventory): they leave no claim and heed none, only orders that rest.

Pure: time comes in as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from msgspec import Struct

from actors.domain.orders import Side

# A blocked trader looks again with each quote and at the latest after a second; one that has not asked for this long
# has been paused, stopped or priced away.
CLAIM_MS = 3000


class Resting(Protocol):
    """An own order as far as the guard is concerned (actors.messages.OwnOrder has this shape)."""

    @property
    def side(self) -> Side: ...
    @property
    def price(self) -> Decimal: ...


class Crossing(Struct, frozen=True):
    """by: the user in the way, with its pair and the price of its order. claimed: it waits itself, but came first."""

    by: str
    pair_id: str
    price: Decimal
    claimed: bool = False


class _Claim(Struct, frozen=True):
    pair_id: str
    orders: tuple[Resting, ...]
    asked_ms: int  # last time


class Register:
    """Own orders of one symbol: (user, pair id) → orders, and the claims of those who wait, oldest first."""

    def __init__(self) -> None:
        self._orders: dict[tuple[str, str], tuple[Resting, ...]] = {}
        self._claims: dict[str, _Claim] = {}  # by user; the order of insertion is the queue

    def ask(self, user: str, pair_id: str, orders: Iterable[Resting], now_ms: int) -> Crossing | None:
        """May these orders be placed? None: yes, and they are noted. Otherwise the first order in the way.

        Asking again for a pair withdraws what was noted for it, whatever the answer: the asker says that those orders
        are over (else two users that unwind would wait for each other's long gone orders).
        """
        wanted = tuple(orders)
        self._orders.pop((user, pair_id), None)
        reduces = all(order.side == "SELL" for order in wanted)
        self._drop_lapsed(now_ms)
        crossing = self.blocked_by(user, wanted)
        if crossing is None and not reduces:
            crossing = self._claimed_by(user, wanted)
        if crossing is None:
            self._claims.pop(user, None)
            self.note(user, pair_id, wanted)
        elif not reduces:
            # a dict keeps the place of a key that is there: same place in the queue, newest prices
            self._claims[user] = _Claim(pair_id, wanted, now_ms)
        return crossing

    def note(self, user: str, pair_id: str, orders: Iterable[Resting]) -> None:
        """Notes orders that rest already (a refill after a restart): no check, replaces what the pair had."""
        kept = tuple(orders)
        if kept:
            self._orders[user, pair_id] = kept
        else:
            self._orders.pop((user, pair_id), None)

    def keep(self, user: str, pairs: Mapping[str, Iterable[Resting]]) -> None:
        """These are all pairs of the user: what was noted, or claimed, for another one is over."""
        for other, pair_id in [key for key in self._orders if key[0] == user]:
            if pair_id not in pairs:
                del self._orders[other, pair_id]
        self._claims.pop(user, None)
        for pair_id, orders in pairs.items():
            self.note(user, pair_id, orders)

    def over(self, user: str, pair_id: str) -> bool:
        """No order of this pair can rest any more, and it wants none; True if anything was noted."""
        claim = self._claims.get(user)
        if claim is not None and claim.pair_id == pair_id:
            del self._claims[user]
        return self._orders.pop((user, pair_id), None) is not None

    def blocked_by(self, user: str, orders: Sequence[Resting]) -> Crossing | None:
        """The first resting order of another user that one of these would cross."""
        for (other, pair_id), resting in self._orders.items():
            if other != user and (price := _crossed(orders, resting)) is not None:
                return Crossing(other, pair_id, price)
        return None

    @property
    def waiting(self) -> int:
        """How many users have a claim (some may have lapsed)."""
        return len(self._claims)

    def rows(self) -> tuple[tuple[str, str, Side, Decimal], ...]:
        """(user, pair id, side, price) of every noted order, oldest pair first."""
        return tuple(
            (user, pair_id, order.side, order.price)
            for (user, pair_id), orders in self._orders.items()
            for order in orders
        )

    def _drop_lapsed(self, now_ms: int) -> None:
        for user in [user for user, claim in self._claims.items() if now_ms - claim.asked_ms > CLAIM_MS]:
            del self._claims[user]

    def _claimed_by(self, user: str, wanted: Sequence[Resting]) -> Crossing | None:
        for other, claim in self._claims.items():
            if other == user:
                return None  # all before us in the queue let us pass; those behind us do not count
            if (price := _crossed(wanted, claim.orders)) is not None:
                return Crossing(other, claim.pair_id, price, claimed=True)
        return None


def _crossed(orders: Sequence[Resting], others: Sequence[Resting]) -> Decimal | None:
    """The price of the first of `others` that one of `orders` would trade with."""
    for other in others:
        for order in orders:
            buy, sell = (order, other) if order.side == "BUY" else (other, order)
            if buy.side == "BUY" and sell.side == "SELL" and buy.price >= sell.price:
                return other.price
    return None

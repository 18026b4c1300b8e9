"""What traders say to a feed about their own orders: for the self-trade guard (design § 2). Part of messages.py."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from actors.domain.orders import Side


class OwnOrder(Struct, frozen=True):
    """One own order as the self-trade guard sees it; a held pending leg and an unwinding sale included."""

    side: Side
    price: Decimal


class Permit(Struct, frozen=True):
    """May `user` place these orders of `pair_id`? → Granted or Blocked. Granted orders count until Over.

    Only opposite orders of other users that would cross block. Asking again for a pair replaces what it had noted.
    """

    user: str
    pair_id: str
    orders: tuple[OwnOrder, ...]


class Granted(Struct, frozen=True):
    pass


class Blocked(Struct, frozen=True):
    """by: the user whose order stands in the way, with its pair and price."""

    by: str
    pair_id: str
    price: Decimal


class RestingPair(Struct, frozen=True):
    """What of one pair may rest at the exchange."""

    pair_id: str
    symbol: str
    orders: tuple[OwnOrder, ...]


class Resting(Struct, frozen=True):
    """News: all of this user's pairs that may rest at the exchange. Whatever else the feed has noted of it is over."""

    user: str
    pairs: tuple[RestingPair, ...]


class Over(Struct, frozen=True):
    """News: no order of this pair can rest at the exchange any more."""

    user: str
    pair_id: str

"""The two legs of an OTO: what one does to the other (wire § 7). Decisions only; the desk carries them out."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from actors.domain.instrument import Instrument
from actors.paper.numbers import grid_floor, quotient
from actors.paper.orders import Order
from actors.paper.rules import Rules

Sequel = Literal["nothing", "end_partner", "release_partner"]


def released_quantity(
    working: Order, pending: Order, instrument: Instrument, rules: Rules, free_base: Decimal
) -> Decimal:
    """What the pending leg gets when it is released: base asset, on the step, 0 if nothing is left (wire § 7.2).

    free_base: the account's free tokens, those just bought included; they matter for rules.commission_from_free.
    """
    step = instrument.filters.step_size
    if working.side == "SELL":  # never captured: what the sale brought, divided by the reverse price
        return grid_floor(quotient(working.cumulative_quote - working.commission, pending.price), step)
    bought = grid_floor(working.cumulative, step)
    if rules.commission_from_free and free_base >= bought:
        return bought
    return grid_floor(working.cumulative - working.commission, step)


def after_fill(working: Order, rules: Rules) -> Sequel:
    """A working leg was filled, completely or partly."""
    return "release_partner" if working.status == "FILLED" or rules.release_on == "partial" else "nothing"


def after_cancel(order: Order, partner: Order, was_held: bool, rules: Rules) -> Sequel:
    """order was cancelled; was_held: it had been PENDING. What becomes of the other leg (wire § 7.3)."""
    if partner.over:
        return "nothing"
    if order.position == "OTO_WORKING":
        if partner.status != "PENDING":
            return "nothing"  # released on a partial fill: it lives its own life
        return "release_partner" if order.cumulative and rules.partial_cancel == "release" else "end_partner"
    return "end_partner" if was_held and rules.held_cancel == "list" else "nothing"

"""From a reference price and a configuration to legs that the exchange takes: prices, quantities, filters.

Everything is a pure function of its arguments. Rounding never makes a price worse for the user than configured: buy
prices go down to the tick, sell prices up, quantities down to the step; the one exception is the last pair of a day,
whose quantity goes up to the step, so that the target is reached. What the exchange would refuse is found here first:
`violations` knows every filter of wire § 11.

Words: a pair buys `quantity` with its working leg; the exchange then sells what arrived (`pending_quantity`) with the
pending leg. Its *expected notional* is quantity × min(limit, reference), because fills improve on the limit.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from actors.domain.instrument import Filters, Instrument
from actors.domain.money import (
    EXACT,
    ZERO,
    ceil_quotient,
    ceil_to_step,
    ceil_to_tick,
    floor_quotient,
    floor_to_step,
    floor_to_tick,
    nearest,
    notional,
    on_grid,
    percent,
)
from actors.domain.orders import Side
from actors.domain.trading import TradingConfig
from actors.errors import ConfigError

# "with 5 % to spare" of the minimum pair (requirements, the OTO cycle): room for commission rounded per fill, for a
# market that falls before an unwinding sale, and for one change of a filter between two reads of exchange info.
SPARE_PERCENT = Decimal(105)

# A sell limit farther below the market than our own limit of an offset (20 %) is not meant as a price but as "at the
# market": it says nothing about what the sale is worth.
SELL_CREDIT_PERCENT = Decimal(80)

_WHOLE = Decimal(100)  # percent

FilterName = Literal["PRICE_FILTER", "LOT_SIZE", "NOTIONAL", "PERCENT_PRICE", "MAX_NUM_ORDERS"]


class Violation(Struct, frozen=True):
    """One filter that an order would break. value breaks it, allowed is the bound (or the grid) that it breaks."""

    filter: FilterName
    what: str  # "price is no multiple of the tick"
    value: Decimal
    allowed: Decimal

    def __str__(self) -> str:
        return f"{self.filter}: {self.what}: {self.value:f}, allowed {self.allowed:f}"


def leg_prices(reference: Decimal, config: TradingConfig, filters: Filters) -> tuple[Decimal, Decimal]:
    """(buy price, sell price) on the tick grid: reference plus the signed offsets, buy rounded down, sell up.

    Args: reference: quote per base, > 0, the price the offsets apply to.
    Raises: ConfigError, when an offset leaves no positive price (a fixed offset larger than the price).
    """
    assert reference > 0, reference
    tick = filters.tick_size
    raw_buy = _with_offset(reference, config.buy_offset, config)
    raw_sell = _with_offset(reference, config.sell_offset, config)
    buy = floor_to_tick(raw_buy, tick) if raw_buy > 0 else ZERO
    sell = ceil_to_tick(raw_sell, tick) if raw_sell > 0 else ZERO
    for key, offset, price in (("buy_offset", config.buy_offset, buy), ("sell_offset", config.sell_offset, sell)):
        if price <= 0:
            raise ConfigError(
                f"no positive price is left at reference {reference:f}",
                where=f"{key} {offset:f} {config.offset_mode}",
                do="make the offset smaller",
            )
    return buy, sell


def expected_price(limit: Decimal, reference: Decimal) -> Decimal:
    """What a BUY at `limit` is expected to pay: fills improve on the limit, never on the market (wire § 7.1)."""
    return min(limit, reference)


def violations(
    instrument: Instrument,
    side: Side,
    price: Decimal,
    quantity: Decimal,
    *,
    reference: Decimal | None = None,
    open_orders: int = 0,
    pending: bool = False,
) -> tuple[Violation, ...]:
    """Every filter of wire § 11 that this order would break; () when the exchange should take it.

    Args:
        reference: what the percent filters are judged against; None skips them (which price the exchange takes is
            unknown, wire § 11: the last trade is our best guess).
        open_orders: own orders that count against this symbol's limit already. An OTO counts as two from the start
            (wire § 7.4): ask with n for its working and n + 1 for its pending leg.
        pending: a pending leg of an OTO: notional bounds do not hold for it (captured, wire § 11).
    """
    f = instrument.filters
    bounds: list[tuple[bool, FilterName, str, Decimal, Decimal]] = [
        (price < f.min_price, "PRICE_FILTER", "price is too low", price, f.min_price),
        (price > f.max_price, "PRICE_FILTER", "price is too high", price, f.max_price),
        (not on_grid(price, f.tick_size), "PRICE_FILTER", "price is no multiple of the tick", price, f.tick_size),
        (quantity < f.min_quantity, "LOT_SIZE", "quantity is too small", quantity, f.min_quantity),
        (quantity > f.max_quantity, "LOT_SIZE", "quantity is too large", quantity, f.max_quantity),
        (not on_grid(quantity, f.step_size), "LOT_SIZE", "quantity is no multiple of the step", quantity, f.step_size),
    ]  # fmt: skip
    if not pending:
        value = notional(price, quantity)
        bounds.append((value < f.min_notional, "NOTIONAL", "price × quantity is too small", value, f.min_notional))
        if f.max_notional is not None:
            bounds.append((value > f.max_notional, "NOTIONAL", "price × quantity is too large", value, f.max_notional))
    if reference is not None:
        low, high = _percent_bounds(f, side, reference)
        if low is not None:
            bounds.append((price < low, "PERCENT_PRICE", "price is too far below the market", price, low))
        if high is not None:
            bounds.append((price > high, "PERCENT_PRICE", "price is too far above the market", price, high))
    if f.max_open_orders is not None:
        count, limit = Decimal(open_orders + 1), Decimal(f.max_open_orders)
        bounds.append((count > limit, "MAX_NUM_ORDERS", "too many open orders of the symbol", count, limit))
    return tuple(Violation(name, what, value, allowed) for broken, name, what, value, allowed in bounds if broken)


def pending_quantity(quantity: Decimal, fee_rate: Decimal, instrument: Instrument) -> Decimal:
    """What the pending leg of a filled BUY is expected to sell: floor((quantity − base commission) / step).

    An expectation only: the true quantity comes with the release event (wire § 7.2). The commission is rounded to the
    nearest at the base precision; whether the exchange cuts instead is undecided (wire § 12.3), and nearest is never
    the smaller of the two. Args: fee_rate: fraction, 0.0001 is 0.01 %.
    """
    assert 0 <= fee_rate < 1, fee_rate
    commission = nearest(EXACT.multiply(quantity, fee_rate), instrument.base_precision)
    left = EXACT.subtract(quantity, commission)
    return floor_to_step(max(left, ZERO), instrument.filters.step_size)


def minimum_pair(
    instrument: Instrument, *, buy_price: Decimal, sell_price: Decimal, reference: Decimal, buyer_fee: Decimal
) -> Decimal:
    """The smallest quantity with which both legs pass every filter with 5 % to spare, after commission and step floor.

    The working leg is judged at its limit. What it leaves to sell is judged as a plain order at the lower of market
    and limit, although notional bounds spare a pending leg (wire § 11): if the pair has to be unwound, exactly this
    sale must be possible. A limit far below the market (captured: 0.0001 against 0.2269) trades at the market: it
    counts as SELL_CREDIT_PERCENT of it.

    Args: prices: quote per base, > 0. buyer_fee: fraction of the bought base that is kept as commission.
    Returns: base asset on the step grid. That it is also within the maximum filters is for `violations` to say.
    """
    f = instrument.filters
    sale_price = max(min(sell_price, reference), percent(reference, SELL_CREDIT_PERCENT))
    lot = percent(f.min_quantity, SPARE_PERCENT)
    value = percent(f.min_notional, SPARE_PERCENT)
    to_buy = max(ceil_to_step(lot, f.step_size), ceil_quotient(value, buy_price, f.step_size))
    to_sell = max(ceil_to_step(lot, f.step_size), ceil_quotient(value, sale_price, f.step_size))
    quantity = max(to_buy, to_sell)
    # Commission grows with the quantity, so no smaller step than the deficit can help: the first hit is the smallest.
    while (short := EXACT.subtract(to_sell, pending_quantity(quantity, buyer_fee, instrument))) > 0:
        quantity = EXACT.add(quantity, short)
    return quantity


def pair_quantity(
    config: TradingConfig,
    instrument: Instrument,
    *,
    buy_price: Decimal,
    reference: Decimal,
    remaining_quote: Decimal,
    minimum: Decimal,
) -> Decimal:
    """How much the next pair buys.

    A normal pair is the configured amount at the limit (floored to the step), or the configured quantity. When less
    than its expected notional is still to buy, the pair is the last one: it is sized so that its expected notional
    just reaches the remainder (rounded up to the step); a remainder at or below that of the minimum pair is exactly
    one minimum pair. So the overshoot is at most one minimum pair (SC-007).

    Args:
        remaining_quote: nominal USDT still to buy today, > 0.
        minimum: the answer of minimum_pair.
    Returns: base asset on the step grid, never below minimum, within the maximum quantity and notional.
    """
    assert remaining_quote > 0, remaining_quote
    f = instrument.filters
    expected = expected_price(buy_price, reference)
    if config.order_quantity is not None:
        normal = floor_to_step(config.order_quantity, f.step_size)
    else:
        assert config.order_amount is not None, "check_trading lets exactly one of the two through"
        normal = floor_quotient(config.order_amount, buy_price, f.step_size)
    if remaining_quote < notional(expected, normal):
        wanted = ceil_quotient(remaining_quote, expected, f.step_size)
    else:
        wanted = normal
    return min(max(wanted, minimum), _largest(buy_price, f))


def pairs_to_go(remaining: Decimal, per_pair: Decimal) -> int:
    """ceil(remaining / per_pair): 0 when nothing remains. Both in the same unit; per_pair > 0."""
    assert per_pair > 0, per_pair
    return 0 if remaining <= 0 else int(ceil_quotient(remaining, per_pair, Decimal(1)))


def sale_price(
    market: Decimal, step_index: int, config: TradingConfig, average_buy: Decimal, filters: Filters
) -> tuple[Decimal, bool]:
    """(price, at the floor?) of the unwinding sale on rung `step_index` of its ladder.

    Rung 0 is the market, each further one unwind_step_percent of the market lower, never more than
    unwind_floor_percent below the average buy price. Rounded up to the tick, so never below the floor.

    Args: market: quote per base, > 0, read anew for each rung. step_index: 0, 1, 2 … average_buy: quote per base, > 0.
    """
    assert step_index >= 0, step_index
    assert market > 0, market
    assert average_buy > 0, average_buy
    lowered = percent(
        market, EXACT.subtract(Decimal(100), EXACT.multiply(config.unwind_step_percent, Decimal(step_index)))
    )
    floor = percent(average_buy, EXACT.subtract(Decimal(100), config.unwind_floor_percent))
    price = ceil_to_tick(max(lowered, floor, filters.min_price), filters.tick_size)
    return price, lowered <= floor


def sellable(quantity: Decimal, price: Decimal, instrument: Instrument) -> Decimal:
    """How much of a leftover one plain SELL at `price` can sell; 0: dust that no order can sell.

    Floored to the step, capped by the maximum filters; what is below the minimum quantity or notional is dust.
    """
    f = instrument.filters
    lot = min(floor_to_step(quantity, f.step_size), _largest(price, f))
    if lot < f.min_quantity or lot <= 0 or notional(price, lot) < f.min_notional:
        return ZERO
    return lot


def _with_offset(reference: Decimal, offset: Decimal, config: TradingConfig) -> Decimal:
    if config.offset_mode == "fixed":
        return EXACT.add(reference, offset)
    return EXACT.add(reference, percent(reference, offset))


def _percent_bounds(f: Filters, side: Side, reference: Decimal) -> tuple[Decimal | None, Decimal | None]:
    down, up = (
        (f.bid_multiplier_down, f.bid_multiplier_up) if side == "BUY" else (f.ask_multiplier_down, f.ask_multiplier_up)
    )
    low = None if down is None else EXACT.multiply(reference, down)
    high = None if up is None else EXACT.multiply(reference, up)
    return low, high


def _largest(price: Decimal, f: Filters) -> Decimal:
    """The largest quantity on the step grid that maximum quantity and maximum notional allow at this price."""
    most = floor_to_step(f.max_quantity, f.step_size)
    return most if f.max_notional is None else min(most, floor_quotient(f.max_notional, price, f.step_size))

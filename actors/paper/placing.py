"""Order requests: what they ask for, and whether the exchange takes them (wire § 5, § 9, § 11).

Checks in the order in which they are made: shape, symbol, status, tick, step, quantity bounds, notional bounds, percent
price, payment sum, number of open orders, balance. A refused request has changed nothing and is told by its reply only.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct

from actors.domain.instrument import Instrument
from actors.domain.orders import Side
from actors.paper.accounts import PAYMENT_WALLETS, Account, WalletName
from actors.paper.desk import Desk
from actors.paper.floor import Floor
from actors.paper.listing import Listing
from actors.paper.numbers import ZERO, cut, on_grid, product, stripped
from actors.paper.replies import (
    ABOVE_MAXIMUM,
    ABOVE_TOTAL,
    BELOW_MINIMUM,
    ILLEGAL,
    INSUFFICIENT,
    MALFORMED,
    NOT_TRADING,
    OFF_STEP,
    OFF_TICK,
    OUT_OF_RANGE,
    TOO_MANY,
    UNKNOWN_SYMBOL,
    Refused,
)
from actors.paper.rules import Rules

SCALE_MOST = 30
"""Powers of ten, up and down: a longer number is no price. Keeps the arithmetic exact."""

CENT = Decimal("1e-8")
"""The smallest amount of any wallet."""

_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class Wish(Struct, frozen=True, kw_only=True):
    """What a placement asks for. pending_price: of an OTO; None for a plain order."""

    instrument: Instrument
    side: Side
    price: Decimal
    quantity: Decimal
    payments: list[tuple[WalletName, Decimal]]
    pending_price: Decimal | None = None


class Placing:
    def __init__(self, listing: Listing, rules: Rules, floor: Floor, desk: Desk) -> None:
        self._listing = listing
        self._rules = rules
        self._floor = floor
        self._desk = desk

    def place(self, account: Account, body: bytes, now_ms: int) -> str:
        """Returns: the reply's data, the order id as text. Raises: Refused."""
        wish = self._checked(account, self._read(parse(body), "side", "price", "quantity"), orders=1)
        symbol = wish.instrument.symbol
        order = self._desk.place(account, symbol, wish.side, wish.price, wish.quantity, wish.payments, now_ms)
        return str(order.order_id)

    def place_oto(self, account: Account, body: bytes, now_ms: int) -> dict[str, int]:
        """Returns: the reply's data, both order ids as numbers. Raises: Refused."""
        document = parse(body)
        wish = self._read(document, "workingSide", "workingPrice", "workingQuantity")
        pending_price = number(document, "pendingPrice")
        wish = msgspec.structs.replace(wish, pending_price=pending_price)
        wish = self._checked(account, wish, orders=2)
        self._check_price(wish.instrument, "SELL" if wish.side == "BUY" else "BUY", pending_price, pending=True)
        working, pending = self._desk.place_oto(
            account,
            wish.instrument.symbol,
            wish.side,
            wish.price,
            wish.quantity,
            wish.payments,
            cut(pending_price, wish.instrument.price_precision),
            now_ms,
        )
        return {"workingOrderId": working.order_id, "pendingOrderId": pending.order_id}

    # -- inside

    def _read(self, document: Mapping[str, Any], side_key: str, price_key: str, quantity_key: str) -> Wish:
        side = document.get(side_key)
        if side not in ("BUY", "SELL"):
            raise Refused(ILLEGAL, f"ILLEGAL_PARAM: {side_key}")
        symbol = f"{document.get('baseAsset')}{document.get('quoteAsset')}"
        instrument = self._listing.by_symbol.get(symbol)
        if instrument is None:
            raise Refused(UNKNOWN_SYMBOL, f"unknown symbol {symbol}")
        return Wish(
            instrument=instrument,
            side=side,
            price=number(document, price_key),
            quantity=number(document, quantity_key),
            payments=payments(document),
        )

    def _checked(self, account: Account, wish: Wish, *, orders: int) -> Wish:
        """The wish, its numbers on the scale of the symbol however long they were written. Raises: Refused."""
        instrument, limits = wish.instrument, wish.instrument.filters
        if self._floor.closed(instrument.symbol):
            raise Refused(NOT_TRADING, f"{instrument.symbol} is not trading")
        self._check_price(instrument, wish.side, wish.price, pending=False)
        if not on_grid(wish.quantity, limits.step_size):
            step = stripped(limits.step_size)
            raise Refused(OFF_STEP, f"amount must be an integer multiple of the minimum movement {step}")
        if wish.quantity < limits.min_quantity:
            raise Refused(OFF_STEP, f"amount must be at least {stripped(limits.min_quantity)}")
        if wish.quantity > limits.max_quantity:
            raise Refused(ABOVE_MAXIMUM, f"amount must not exceed {stripped(limits.max_quantity)}")
        total = product(wish.price, wish.quantity)
        if total < limits.min_notional:
            raise Refused(BELOW_MINIMUM, f"Total must be greater than {stripped(limits.min_notional)}")
        if limits.max_notional is not None and total > limits.max_notional:
            raise Refused(ABOVE_TOTAL, f"Total must not exceed {stripped(limits.max_notional)}")
        self._check_payment(wish, total)
        standing = sum(order.symbol == instrument.symbol for order in account.open.values())
        if limits.max_open_orders is not None and standing + orders > limits.max_open_orders:
            raise Refused(TOO_MANY, "too many open orders")
        asset = instrument.quote_asset if wish.side == "BUY" else instrument.base_asset
        if any(account.free(wallet, asset) < amount for wallet, amount in wish.payments):
            raise Refused(INSUFFICIENT, "Insufficient balance")
        return msgspec.structs.replace(
            wish,
            price=cut(wish.price, instrument.price_precision),
            quantity=cut(wish.quantity, instrument.quantity_precision),
        )

    def _check_price(self, instrument: Instrument, side: Side, price: Decimal, *, pending: bool) -> None:
        limits = instrument.filters
        if not on_grid(price, limits.tick_size):
            tick = stripped(limits.tick_size)
            raise Refused(OFF_TICK, f"price must be an integer multiple of the minimum movement {tick}")
        if not limits.min_price <= price <= limits.max_price:
            raise Refused(OFF_TICK, f"price must be between {limits.min_price} and {limits.max_price}")
        reference = self._floor.tapes[instrument.symbol].last_price
        if reference is None or (pending and not self._rules.percent_on_pending):
            return
        down = limits.bid_multiplier_down if side == "BUY" else limits.ask_multiplier_down
        up = limits.bid_multiplier_up if side == "BUY" else limits.ask_multiplier_up
        if (down and price < product(reference, down)) or (up and price > product(reference, up)):
            raise Refused(OUT_OF_RANGE, "price is out of the allowed range")

    def _check_payment(self, wish: Wish, total: Decimal) -> None:
        """Σ amounts = price × quantity cut to 8 decimals for a BUY, the quantity for a SELL (wire § 5.3)."""
        paid = sum((amount for _, amount in wish.payments), ZERO)
        due = cut(total, wish.instrument.quote_precision) if wish.side == "BUY" else wish.quantity
        wallets = {wallet for wallet, _ in wish.payments}
        fits = "alpha" not in wallets if wish.side == "BUY" else wallets == {"alpha"}
        if paid != due or not fits:
            names = "price*quantity" if wish.pending_price is None else "workingPrice*workingQuantity"
            raise Refused(ILLEGAL, f"ILLEGAL_PARAM: {names} must be the same as sum(paymentDetail.amount)")


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object, its numbers exact. Raises: Refused."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidOperation, RecursionError) as error:
        raise Refused(ILLEGAL, "ILLEGAL_PARAM: body") from error


def exact(value: Any) -> Decimal | None:
    """A positive finite number, sent as number or as text (wire § 1.3); None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    if not amount.is_finite() or amount <= 0:
        return None
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int), amount
    return amount if amount.adjusted() <= SCALE_MOST and exponent >= -SCALE_MOST else None


def number(document: Mapping[str, Any], key: str) -> Decimal:
    amount = exact(document.get(key))
    if amount is None:
        raise Refused(MALFORMED, f"wrong {key}")
    return amount


def payments(document: Mapping[str, Any]) -> list[tuple[WalletName, Decimal]]:
    """paymentDetails → (wallet, amount), several of one wallet added up."""
    details = document.get("paymentDetails")
    sums: dict[WalletName, Decimal] = {}
    for detail in details if isinstance(details, list) else []:
        wallet = PAYMENT_WALLETS.get(str(detail.get("paymentWalletType"))) if isinstance(detail, dict) else None
        amount = exact(detail.get("amount")) if wallet else None
        if wallet is None or amount is None or not on_grid(amount, CENT):
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: paymentDetails")
        sums[wallet] = sums.get(wallet, ZERO) + amount
    if not sums:
        raise Refused(ILLEGAL, "ILLEGAL_PARAM: paymentDetails")
    return list(sums.items())

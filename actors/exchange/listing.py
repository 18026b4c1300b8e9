"""What can be traded: token list, exchange info with its filters, fee rate (wire § 3.6, § 3.7, § 11, § 12.1).

The lists are long and belong to many users, so an odd row is set aside with its reason instead of failing the list:
its token is then unknown, which pauses only those who want it. If no row is good, the protocol has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from actors.domain.instrument import Filters, Instrument, Token
from actors.errors import ProtocolChanged
from actors.exchange.numbers import EXACT, Figure
from actors.exchange.shapes import Millis, RowShape, Shape, Word, changed

UNLIMITED = Decimal(10**18)
"""Stands for an absent upper bound of price or quantity; above every bound seen (9999999999), and recordable."""

FEE_UNIT = 6  # get-fee-rate counts in millionths: 100 is 0.0001 (wire § 12.1)
_FEE_MAX = Decimal("0.1")  # no trade costs more: the unit would have changed

Places = Annotated[int, Meta(ge=0, le=30)]

# -- tokens


class _TokenRow(Struct):
    alphaId: Annotated[str, Meta(min_length=1, max_length=64)]
    symbol: Word | None = None
    chainId: Word | None = None
    contractAddress: Annotated[str, Meta(max_length=200)] | None = None
    mulPoint: Annotated[int, Meta(ge=0, le=1000)] | None = None
    listingCex: bool | None = None
    offline: bool | None = None
    offsell: bool | None = None
    stockState: bool | None = None
    fullyDelisted: bool | None = None
    listingTime: Millis | None = None
    onlineTge: bool | None = None
    onlineAirdrop: bool | None = None


class _FullInfo(Struct):
    metaInfo: _TokenRow


class Tokens(Struct, frozen=True):
    """tokens: as listed, an alphaId may stand twice (see merge_tokens). unreadable: rows set aside, with the reason."""

    tokens: tuple[Token, ...]
    unreadable: tuple[str, ...]


_raw_rows: Shape[list[Raw]] = Shape(list[Raw], of="token list (wire § 3.6)")
_token_rows: RowShape[_TokenRow] = RowShape(_TokenRow, of="token list (wire § 3.6)")
_full_info: Shape[_FullInfo] = Shape(_FullInfo, of="token full info (wire § 3)")


def read_tokens(data: Raw) -> Tokens:
    """Rows of the token list or of aggTicker24. Raises: ProtocolChanged when not one row is readable."""
    rows, unreadable = _token_rows.read(_raw_rows.read(data))
    return Tokens(tuple(_token(row) for row in rows), tuple(unreadable))


def read_token_info(data: Raw) -> Token:
    """The token of a full-info reply. Raises: ProtocolChanged."""
    return _token(_full_info.read(data).metaInfo)


def _token(row: _TokenRow) -> Token:
    return Token(
        alpha_id=row.alphaId,
        name=row.symbol or "",
        chain_id=row.chainId,
        contract=row.contractAddress,
        mul_point=row.mulPoint,
        listing_cex=row.listingCex,
        offline=row.offline,
        offsell=row.offsell,
        halted=row.stockState,
        fully_delisted=row.fullyDelisted,
        listed_ms=row.listingTime,
        online_tge=row.onlineTge,
        online_airdrop=row.onlineAirdrop,
    )


def merge_tokens(tokens: Iterable[Token]) -> tuple[tuple[Token, ...], tuple[str, ...]]:
    """One token per alphaId, in the order of the list, and a warning for each that stood there more than once.

    Of rows with one alphaId the smallest mulPoint counts (never count more volume than is sure), a flag that is set
    in one of them is set, and what one leaves out another may say.
    """
    merged: dict[str, Token] = {}
    warnings: dict[str, str] = {}
    for token in tokens:
        known = merged.get(token.alpha_id)
        if known is not None:
            warnings[token.alpha_id] = f"{token.alpha_id} stands in the token list more than once; rows merged"
        merged[token.alpha_id] = token if known is None else _merged(known, token)
    return tuple(merged.values()), tuple(warnings.values())


def _merged(one: Token, other: Token) -> Token:
    """Of two different names, chains … the first row's stays."""
    fields: dict[str, object] = {}
    for name in Token.__struct_fields__:
        first, second = getattr(one, name), getattr(other, name)
        if first is None or second is None or first == "":
            fields[name] = second if first in (None, "") else first
        elif isinstance(first, bool):
            fields[name] = first or second
        else:
            fields[name] = min(first, second) if name == "mul_point" else first
    return msgspec.convert(fields, Token)


# -- exchange info


class _FilterRow(Struct):
    """Every key of every kind, the inapplicable ones null or absent."""

    filterType: Word
    minPrice: Figure | None = None
    maxPrice: Figure | None = None
    tickSize: Figure | None = None
    stepSize: Figure | None = None
    minQty: Figure | None = None
    maxQty: Figure | None = None
    limit: Annotated[int, Meta(ge=0)] | None = None
    minNotional: Figure | None = None
    maxNotional: Figure | None = None
    multiplierUp: Figure | None = None
    multiplierDown: Figure | None = None
    bidMultiplierUp: Figure | None = None
    bidMultiplierDown: Figure | None = None
    askMultiplierUp: Figure | None = None
    askMultiplierDown: Figure | None = None


class _SymbolRow(Struct):
    symbol: Annotated[str, Meta(min_length=1, max_length=64)]
    status: Word
    baseAsset: Word
    quoteAsset: Word
    pricePrecision: Places
    quantityPrecision: Places
    baseAssetPrecision: Places
    quotePrecision: Places
    filters: list[_FilterRow]


class _ExchangeInfo(Struct):
    symbols: list[Raw]


class Instruments(Struct, frozen=True):
    """unreadable: symbols set aside, with the reason: an odd row, or no price or quantity grid."""

    instruments: tuple[Instrument, ...]
    unreadable: tuple[str, ...]


_exchange_info: Shape[_ExchangeInfo] = Shape(_ExchangeInfo, of="exchange info (wire § 3.7)")
_symbol_rows: RowShape[_SymbolRow] = RowShape(_SymbolRow, of="exchange info (wire § 3.7)")


def read_instruments(data: Raw) -> Instruments:
    """Raises: ProtocolChanged when not one symbol is usable though some are listed."""
    rows, unreadable = _symbol_rows.read(_exchange_info.read(data).symbols)
    instruments: list[Instrument] = []
    first: ProtocolChanged | None = None
    for row in rows:
        try:
            instruments.append(_instrument(row))
        except ProtocolChanged as error:
            first = first or error
            unreadable.append(error.what)
    if first is not None and not instruments:
        raise first
    return Instruments(tuple(instruments), tuple(unreadable))


def _instrument(row: _SymbolRow) -> Instrument:
    return Instrument(
        symbol=row.symbol,
        base_asset=row.baseAsset,
        quote_asset=row.quoteAsset,
        status=row.status,
        price_precision=row.pricePrecision,
        quantity_precision=row.quantityPrecision,
        base_precision=row.baseAssetPrecision,
        quote_precision=row.quotePrecision,
        filters=_filters(row.symbol, row.filters),
    )


def _filters(symbol: str, rows: list[_FilterRow]) -> Filters:
    """The strictest of all filters of a symbol: several kinds say the same in two ways (wire § 11)."""
    by_kind: dict[str, list[_FilterRow]] = {}
    for row in rows:
        by_kind.setdefault(row.filterType, []).append(row)

    def strictest(choose: Callable[[Iterable[Decimal]], Decimal], *sources: tuple[str, str]) -> Decimal | None:
        """sources: (filter type, key). A value of 0 switches a limit off, as on the spot market [I]."""
        found = [value for kind, key in sources for row in by_kind.get(kind, ()) if (value := getattr(row, key))]
        return choose(found) if found else None

    tick = strictest(max, ("PRICE_FILTER", "tickSize"))
    step = strictest(max, ("LOT_SIZE", "stepSize"))
    if tick is None or step is None:
        raise changed("exchange info (wire § 11)", f"{symbol} has no {'PRICE_FILTER' if tick is None else 'LOT_SIZE'}")
    orders = [row.limit for row in by_kind.get("MAX_NUM_ORDERS", ()) if row.limit]
    percent, by_side = "PERCENT_PRICE", "PERCENT_PRICE_BY_SIDE"
    return Filters(
        tick_size=tick,
        min_price=strictest(max, ("PRICE_FILTER", "minPrice")) or tick,
        max_price=strictest(min, ("PRICE_FILTER", "maxPrice")) or UNLIMITED,
        step_size=step,
        min_quantity=strictest(max, ("LOT_SIZE", "minQty")) or step,
        max_quantity=strictest(min, ("LOT_SIZE", "maxQty")) or UNLIMITED,
        min_notional=strictest(max, ("MIN_NOTIONAL", "minNotional"), ("NOTIONAL", "minNotional")) or Decimal(0),
        max_notional=strictest(min, ("MAX_NOTIONAL", "maxNotional"), ("NOTIONAL", "maxNotional")),
        bid_multiplier_up=strictest(min, (percent, "multiplierUp"), (by_side, "bidMultiplierUp")),
        bid_multiplier_down=strictest(max, (percent, "multiplierDown"), (by_side, "bidMultiplierDown")),
        ask_multiplier_up=strictest(min, (percent, "multiplierUp"), (by_side, "askMultiplierUp")),
        ask_multiplier_down=strictest(max, (percent, "multiplierDown"), (by_side, "askMultiplierDown")),
        max_open_orders=min(orders) if orders else None,
    )


# -- fee rate, payment assets


class _FeeRate(Struct):
    buyerCommission: Figure
    sellerCommission: Figure


_fee_rate: Shape[_FeeRate] = Shape(_FeeRate, of="get-fee-rate (wire § 12.1)")
_assets: Shape[list[str]] = Shape(list[Word], of="get-from-asset (wire § 3)")


def read_fee_rate(data: Raw) -> tuple[Decimal, Decimal]:
    """(buyer, seller) as a fraction. Raises: ProtocolChanged, also for a rate above 10 %."""
    wire = _fee_rate.read(data)
    buyer, seller = EXACT.scaleb(wire.buyerCommission, -FEE_UNIT), EXACT.scaleb(wire.sellerCommission, -FEE_UNIT)
    if max(buyer, seller) > _FEE_MAX:
        raise changed(_fee_rate.of, "a commission above 10 %: the unit is no longer one millionth")
    return buyer, seller


def read_assets(data: Raw) -> tuple[str, ...]:
    """Assets that can pay, e.g. ("USDT", "USDC", "U"). Raises: ProtocolChanged."""
    return tuple(_assets.read(data))

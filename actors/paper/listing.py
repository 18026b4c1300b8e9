"""What the paper exchange lists: tokens and symbols of our own making.

KOGE has the grid of the captured ALPHA_22; the others are there for their edges: short and long prices, coarse steps,
a multiplier, a ticker that two tokens carry, a delisted and an unsellable token, a row that says next to nothing.
Names, contracts and figures are invented. Source of the shapes: wire § 3.6, § 3.7, § 11.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from actors.domain.instrument import Filters, Instrument

CHAINS = {"56": "BSC", "1": "Ethereum", "CT_501": "Solana", "8453": "Base"}


class Listed(Struct, frozen=True, kw_only=True):
    """One row of the token list. price: USDT, where a synthetic market starts. None: the row does not have the key."""

    alpha_id: str
    ticker: str  # `symbol` of the row; not unique
    name: str
    chain_id: str
    contract: str
    price: Decimal
    supply: Decimal = Decimal(100_000_000)
    mul_point: int | None = 1
    listed_ms: int = 1_788_220_800_000  # 2026-09-01
    listing_cex: bool = False
    offline: bool = False
    offsell: bool = False
    online_tge: bool = False
    online_airdrop: bool = False
    sparse: bool = False  # the row carries alphaId and price only, as one of 404 captured rows did


class Listing:
    """What can be traded now. Several instruments per token are possible (USDT, USDC), and several rows per alphaId."""

    def __init__(self, tokens: Iterable[Listed], instruments: Iterable[Instrument]) -> None:
        self.tokens = tuple(tokens)
        self.by_symbol = {instrument.symbol: instrument for instrument in instruments}

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return tuple(self.by_symbol.values())

    def token_of(self, symbol: str) -> Listed:
        """The token whose symbol this is. Raises: KeyError, not listed."""
        alpha_id = self.by_symbol[symbol].base_asset
        token = self.token(alpha_id)
        if token is None:
            raise KeyError(alpha_id)
        return token

    def token(self, alpha_id: str) -> Listed | None:
        return next((token for token in self.tokens if token.alpha_id == alpha_id), None)

    def price(self, symbol: str) -> Decimal:
        """The price around which a market of this symbol starts."""
        return self.token_of(symbol).price

    def relist(self, instrument: Instrument) -> None:
        """A listed symbol gets other filters, precisions or another status, as tokens do overnight (reliability F42).

        Its price grid may become coarser, not finer: orders in the book stay on it.
        """
        assert instrument.price_precision <= self.by_symbol[instrument.symbol].price_precision, instrument
        self.by_symbol[instrument.symbol] = instrument

    def retoken(self, token: Listed) -> None:
        """A token's row changes: offline, another multiplier."""
        self.tokens = tuple(token if other.alpha_id == token.alpha_id else other for other in self.tokens)


def instrument(
    alpha_id: str,
    quote: str = "USDT",
    *,
    decimals: int = 8,
    step: str = "0.01",
    quantity_decimals: int = 8,
    max_quantity: str = "4000000",
    max_price: str = "1000",
    multiplier: tuple[str, str] = ("0.2", "5"),
    status: str = "TRADING",
) -> Instrument:
    """A symbol with the usual filters (wire § 11): tick = 10^-decimals, min price = tick, min quantity = step.

    multiplier: down and up of both percent filters.
    """
    down, up = map(Decimal, multiplier)
    tick = Decimal(1).scaleb(-decimals)
    filters = Filters(
        tick_size=tick,
        min_price=tick,
        max_price=Decimal(max_price),
        step_size=Decimal(step),
        min_quantity=Decimal(step),
        max_quantity=Decimal(max_quantity),
        min_notional=Decimal("0.1"),
        max_notional=Decimal(1_000_000),
        bid_multiplier_up=up,
        bid_multiplier_down=down,
        ask_multiplier_up=up,
        ask_multiplier_down=down,
        max_open_orders=200,
    )
    return Instrument(
        symbol=alpha_id + quote,
        base_asset=alpha_id,
        quote_asset=quote,
        status=status,
        price_precision=decimals,
        quantity_precision=quantity_decimals,
        base_precision=quantity_decimals,
        quote_precision=8,
        filters=filters,
    )


def _contract(number: int) -> str:
    return f"0x{number:040x}"


def demo_listing() -> Listing:
    """The listing of `otod paper` and `otod exchange`."""

    def token(number: int, ticker: str, name: str, price: str, *, chain_id: str = "56", **more: object) -> Listed:
        row = {"alpha_id": f"ALPHA_{number}", "ticker": ticker, "name": name, "chain_id": chain_id}
        return Listed(**row, contract=_contract(0xA1FA0000 + number), price=Decimal(price), **more)  # type: ignore[arg-type]

    tokens = (
        token(22, "KOGE", "Paper Koge", "48", supply=Decimal(3_388_228)),
        token(901, "LUMI", "Paper Lumi", "0.2269", mul_point=4, online_airdrop=True),
        token(902, "PICO", "Paper Pico", "0.000005665", chain_id="8453", mul_point=2, online_tge=True),
        token(903, "GRAIN", "Paper Grain", "0.000000031244"),
        token(904, "TWIN", "Paper Twin One", "1.25"),
        token(905, "TWIN", "Paper Twin Two", "0.031", chain_id="1"),
        token(906, "GONE", "Paper Gone", "0.5", offline=True, offsell=True),
        token(907, "SPOTTY", "Paper Spotty", "3.1", listing_cex=True),
        token(908, "STUCK", "Paper Stuck", "0.07", offsell=True),
        token(909, "QUIET", "Paper Quiet", "0.9", chain_id="CT_501", mul_point=None),
        token(910, "BLANK", "Paper Blank", "0.0123", sparse=True),
    )
    wide = ("0.00001", "100000")
    instruments = (
        instrument("ALPHA_22", step="0.0001", max_quantity="19909", max_price="100000", multiplier=wide),
        instrument("ALPHA_22", "USDC", step="0.0001", max_quantity="19909", max_price="100000", multiplier=wide),
        instrument("ALPHA_901"),
        instrument("ALPHA_902", decimals=9, step="0.10", quantity_decimals=2, max_quantity="9999999999"),
        instrument("ALPHA_903", decimals=12, step="1", quantity_decimals=2, max_quantity="99999999999"),
        instrument("ALPHA_904", step="0.001"),
        instrument("ALPHA_905"),
        instrument("ALPHA_906", step="0.001", status="DELISTED", multiplier=wide),
        instrument("ALPHA_907", step="0.001"),
        instrument("ALPHA_908"),
        instrument("ALPHA_909", decimals=10, step="1", quantity_decimals=1, max_quantity="9999999999"),
        instrument("ALPHA_910"),
    )
    return Listing(tokens, instruments)

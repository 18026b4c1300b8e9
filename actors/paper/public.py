"""Public REST calls (wire § 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from actors.domain.instrument import Instrument
from actors.paper.api import Request
from actors.paper.faults import Faults
from actors.paper.floor import Floor
from actors.paper.listing import CHAINS, Listed, Listing
from actors.paper.numbers import ZERO, fixed, product, quotient, stripped
from actors.paper.reads import integer
from actors.paper.replies import ILLEGAL, Refused, instrument_row, levels_rows
from actors.paper.rules import Rules
from actors.paper.state import State
from actors.paper.streams import print_row, ticker_figures

P = "/bapi/defi/v1/public/alpha-trade"
W = "/bapi/defi/v1/public/wallet-direct/buw/wallet/cex/alpha"
DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
CROSSED_TICKS = 5  # as in the snapshot of 2026-05-21 (wire § 3.2)
INTERVALS_MS = {
    "1s": 1_000, "15s": 15_000, "1m": 60_000, "3m": 180_000, "5m": 300_000, "15m": 900_000, "30m": 1_800_000,
    "1h": 3_600_000, "2h": 7_200_000, "4h": 14_400_000, "6h": 21_600_000, "8h": 28_800_000, "12h": 43_200_000,
    "1d": 86_400_000,
}  # fmt: skip
"""Longer ones of wire § 3.3 are refused: the tape does not go back so far."""

Call = Callable[[Request, int], Any]


class Public:
    def __init__(self, state: State, listing: Listing, rules: Rules, faults: Faults, floor: Floor) -> None:
        self._state = state
        self._listing = listing
        self._rules = rules
        self._faults = faults
        self._floor = floor
        self.calls: dict[tuple[str, str], Call] = {
            ("GET", f"{P}/agg-trades"): self._agg_trades,
            ("GET", f"{P}/fullDepth"): self._full_depth,
            ("GET", f"{P}/klines"): self._klines,
            ("GET", f"{P}/agg-klines"): self._agg_klines,
            ("GET", f"{P}/ticker"): self._ticker,
            ("GET", f"{P}/get-exchange-info"): self._exchange_info,
            ("GET", f"{P}/get-fee-rate"): self._fee_rate,
            ("GET", f"{P}/get-from-asset"): lambda request, now_ms: ["USDT", "USDC", "U"],
            ("GET", f"{P}/aggTicker24"): self._token_list,
            ("GET", f"{W}/all/token/list"): self._token_list,
            ("GET", f"{W}/token/full/info"): self._token_info,
            ("GET", f"{W}/chain/list"): self._chains,
            ("GET", f"{W}/token/pair/cfg/list"): lambda request, now_ms: {
                "stockAssetList": ["USDT"],
                "tokenAssetList": [],
            },
        }

    # -- market data

    def _agg_trades(self, request: Request, now_ms: int) -> list[dict[str, Any]]:
        """fromId or startTime: the first `limit` (500, at most 1000) from there; else the newest. Ascending by id."""
        query, instrument = request.query, self._instrument(request.query)
        prints = self._floor.tapes[instrument.symbol].select(
            from_id=optional(query, "fromId"),
            start_ms=optional(query, "startTime"),
            end_ms=optional(query, "endTime"),
            limit=min(integer(query, "limit", 500), 1_000),
        )
        return [print_row(item, instrument) for item in prints]

    def _full_depth(self, request: Request, now_ms: int) -> dict[str, Any]:
        instrument = self._instrument(request.query)
        limit = integer(request.query, "limit", 500)
        if limit not in DEPTHS:
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: limit")
        book = self._floor.books[instrument.symbol]
        bids, asks = (levels_rows(levels, instrument) for levels in book.depth(limit))
        if asks and self._faults.strike("crossed_depth", symbol=instrument.symbol):
            ask = book.asks.best()
            assert ask is not None
            price = ask.price + CROSSED_TICKS * instrument.filters.tick_size
            bids = [(fixed(price, instrument.price_precision), asks[0][1]), *bids][:limit]
        return {
            "lastUpdateId": book.update_id,
            "symbol": instrument.symbol,
            "bids": bids,
            "asks": asks,
            "E": now_ms,
            "T": now_ms,
        }

    def _klines(self, request: Request, now_ms: int) -> list[list[Any]]:
        """12 columns; all text but the last (wire § 3.3)."""
        query, instrument = request.query, self._instrument(request.query)
        length_ms = INTERVALS_MS.get(query.get("interval", ""))
        if length_ms is None:
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: interval")
        bars = self._floor.tapes[instrument.symbol].bars(
            length_ms,
            start_ms=optional(query, "startTime"),
            end_ms=optional(query, "endTime"),
            limit=min(integer(query, "limit", 500), 1_500),
        )
        rows = []
        for bar in bars:
            prices = [fixed(p, instrument.price_precision) for p in (bar.open, bar.high, bar.low, bar.close)]
            volumes = [fixed(bar.volume, instrument.quantity_precision), str(bar.start_ms + length_ms - 1)]
            taker = [fixed(bar.taker_volume, instrument.quantity_precision), fixed(bar.taker_quote, 8)]
            rows.append([str(bar.start_ms), *prices, *volumes, fixed(bar.quote, 8), str(bar.trades), *taker, 0])
        return rows

    def _agg_klines(self, request: Request, now_ms: int) -> list[list[str]]:
        """7 columns of the token's aggregated price, which here is that of its book (wire § 3.4)."""
        query = request.query
        length_ms = INTERVALS_MS.get(query.get("interval", ""))
        token = self._by_contract(query, "tokenAddress")
        if length_ms is None or token is None:
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: interval or token")
        tape = self._floor.tapes[f"{token.alpha_id}USDT"]
        bars = tape.bars(length_ms, start_ms=None, end_ms=None, limit=min(integer(query, "limit", 500), 1_500))
        return [
            [
                str(bar.start_ms),
                *(stripped(figure) for figure in (bar.open, bar.high, bar.low, bar.close, bar.quote)),
                str(bar.start_ms + length_ms - 1),
            ]
            for bar in bars
        ]

    def _ticker(self, request: Request, now_ms: int) -> dict[str, Any]:
        instrument = self._instrument(request.query)
        figures = ticker_figures(self._floor.tapes[instrument.symbol], instrument, now_ms)
        if figures is None:
            raise Refused(ILLEGAL, f"no trades of {instrument.symbol} yet")
        return figures

    # -- what is listed

    def _exchange_info(self, request: Request, now_ms: int) -> dict[str, Any]:
        quotes = dict.fromkeys(instrument.quote_asset for instrument in self._listing.instruments)
        symbols = [
            instrument_row(instrument, "HALT" if self._faults.halted(instrument.symbol) else instrument.status)
            for instrument in self._listing.instruments
        ]
        assets = [{"asset": quote} for quote in quotes]
        return {"timezone": "UTC", "assets": assets, "symbols": symbols, "orderTypes": ""}

    def _fee_rate(self, request: Request, now_ms: int) -> dict[str, int]:
        self._instrument(request.query)
        return {"buyerCommission": self._rules.buyer_millionths, "sellerCommission": self._rules.seller_millionths}

    def _token_list(self, request: Request, now_ms: int) -> list[dict[str, Any]]:
        return [self._token_row(token, now_ms) for token in self._listing.tokens]

    def _token_info(self, request: Request, now_ms: int) -> dict[str, Any]:
        token = self._by_contract(request.query, "contractAddress")
        if token is None:
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: contractAddress")
        row = self._token_row(token, now_ms)

        def part(*names: str) -> dict[str, Any]:
            return {name: row[name] for name in names if name in row}

        meta = part("tokenId", "name", "symbol", "chainId", "chainName", "contractAddress", "decimals", "alphaId")
        meta |= part("tradeDecimal", "listingTime", "onlineAirdrop") | {"trading": not token.offline}
        figures = ("volume24h", "marketCap", "fdv", "liquidity", "priceHigh24h", "priceLow24h", "count24h", "holders")
        return {"metaInfo": meta, "statsInfo": part(*figures), "priceInfo": part("price", "percentChange24h")}

    def _chains(self, request: Request, now_ms: int) -> list[dict[str, str]]:
        return [{"chainId": chain_id, "chainName": name} for chain_id, name in CHAINS.items()]

    # -- inside

    def _instrument(self, query: Mapping[str, str]) -> Instrument:
        instrument = self._listing.by_symbol.get(query.get("symbol", ""))
        if instrument is None:
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: symbol")
        return instrument

    def _by_contract(self, query: Mapping[str, str], name: str) -> Listed | None:
        contract = query.get(name, "").lower()
        return next((token for token in self._listing.tokens if token.contract.lower() == contract), None)

    def _token_row(self, token: Listed, now_ms: int) -> dict[str, Any]:
        """A row of the token list (wire § 3.6)."""
        symbol = f"{token.alpha_id}USDT"
        tape = self._floor.tapes.get(symbol)
        price = tape.last_price if tape and tape.last_price is not None else token.price
        if token.sparse:
            return {"alphaId": token.alpha_id, "price": stripped(price)}
        day = tape.day(now_ms) if tape else None
        change = quotient((day.close - day.open) * 100, day.open) if day else ZERO
        worth = stripped(product(price, token.supply))
        row: dict[str, Any] = {
            "tokenId": f"{int(token.contract, 16):032X}"[-32:],
            "chainId": token.chain_id,
            "chainIconUrl": "https://example.invalid/icon.png",
            "chainName": CHAINS[token.chain_id],
            "contractAddress": token.contract,
            "name": token.name,
            "symbol": token.ticker,
            "iconUrl": "https://example.invalid/icon.png",
            "price": stripped(price),
            "percentChange24h": fixed(change, 2),
            "volume24h": stripped(day.quote if day else ZERO),
            "marketCap": worth,
            "fdv": worth,
            "liquidity": stripped(product(price, token.supply) / 100),
            "totalSupply": stripped(token.supply),
            "circulatingSupply": stripped(token.supply),
            "holders": "4711",
            "decimals": 18,
            "listingCex": token.listing_cex,
            "hotTag": False,
            "cexCoinName": token.ticker if token.listing_cex else "",
            "canTransfer": False,
            "denomination": 1,
            "offline": token.offline,
            "tradeDecimal": 8,
            "alphaId": token.alpha_id,
            "offsell": token.offsell,
            "priceHigh24h": stripped(day.high if day else price),
            "priceLow24h": stripped(day.low if day else price),
            "count24h": str(day.trades if day else 0),
            "onlineTge": token.online_tge,
            "onlineAirdrop": token.online_airdrop,
            "score": 1,
            "cexOffDisplay": token.listing_cex,
            "stockState": self._faults.halted(symbol),
            "listingTime": token.listed_ms,
            "bnExclusiveState": False,
        }
        if token.mul_point is not None:
            row["mulPoint"] = token.mul_point
        return row


def optional(query: Mapping[str, str], name: str) -> int | None:
    """A whole number of the query, None if it is left out. Raises: Refused."""
    return integer(query, name, 0) if query.get(name) else None

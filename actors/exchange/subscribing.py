"""Stream names and the frames that subscribe to them (wire § 6.1, § 6.2).

Names carry the symbol in lower case. At most 5 frames a second may be sent on a socket (wire § 10.2), so subscribe to
several streams at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

ALL_TOKENS = "came@allTokens@ticker24"


def agg_trade_stream(symbol: str) -> str:
    return f"{symbol.lower()}@aggTrade"


def trade_stream(symbol: str) -> str:
    return f"{symbol.lower()}@trade"


def book_ticker_stream(symbol: str) -> str:
    return f"{symbol.lower()}@bookTicker"


def full_depth_stream(symbol: str, *, pace_ms: int = 100) -> str:
    assert pace_ms in (0, 100, 500), pace_ms
    return f"{symbol.lower()}@fulldepth@{pace_ms}ms"


def kline_stream(symbol: str, interval: str) -> str:
    return f"{symbol.lower()}@kline_{interval}"


def user_stream(listen_key: str) -> str:
    """A secret, like the key in it."""
    return f"alpha@{listen_key}"


def subscribe(streams: Sequence[str], *, request_id: int) -> str:
    """The text frame; acknowledged with the same id."""
    return _request("SUBSCRIBE", streams, request_id)


def unsubscribe(streams: Sequence[str], *, request_id: int) -> str:
    return _request("UNSUBSCRIBE", streams, request_id)


def _request(method: str, streams: Sequence[str], request_id: int) -> str:
    assert streams, "an empty subscription"
    return msgspec.json.encode({"method": method, "params": list(streams), "id": request_id}).decode()

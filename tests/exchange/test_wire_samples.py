"""Every captured or documented sample is read, and its values are the ones it shows."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from actors.domain.orders import NoAnswer, Refused
from actors.exchange import account, listing, market, news, orders, stream
from actors.exchange.classify import Success, classify
from tests.shared import SHARED, needs_shared

D = Decimal
FILES = sorted((SHARED / "wire").glob("*.json"))


class Sample(msgspec.Struct):
    """The parts of a sample file as the bytes they had on the wire."""

    meta: dict[str, Any]
    request: Raw = Raw(b"")
    response: Raw = Raw(b"")
    frame: Raw = Raw(b"")
    reply: dict[str, Any] | None = None


def load(path: Path) -> Sample:
    return msgspec.json.decode(path.read_bytes(), type=Sample)


def sample(name: str) -> Sample:
    return load(SHARED / "wire" / f"{name}.json")


def data_of(name: str) -> Raw:
    verdict = classify(200, {}, bytes(sample(name).response), "read")
    assert isinstance(verdict, Success)
    return verdict.data


def message(name: str) -> Any:
    return stream.read_frame(bytes(sample(name).frame))


READERS: dict[str, Callable[[Raw], Any]] = {
    "rest.agg_klines": market.read_agg_klines,
    "rest.agg_ticker24": listing.read_tokens,
    "rest.agg_trades": market.read_agg_trades,
    "rest.avg_cost": account.read_average_cost,
    "rest.exchange_info": listing.read_instruments,
    "rest.fee_rate": listing.read_fee_rate,
    "rest.from_asset": listing.read_assets,
    "rest.full_depth": market.read_depth,
    "rest.klines": market.read_klines,
    "rest.listen_key": account.read_listen_key,
    "rest.open_orders": orders.read_orders,
    "rest.order_history": orders.read_orders,
    "rest.order_place": orders.read_order_id,
    "rest.oto_place": orders.read_oto_ids,
    "rest.order_cancel": bytes,
    "rest.terms_agreement": account.read_terms,
    "rest.ticker": market.read_ticker,
    "rest.token_full_info": listing.read_token_info,
    "rest.token_list": listing.read_tokens,
    "rest.user_score": account.read_user_score,
    "rest.user_trades": lambda data: orders.read_executions(
        data, symbol="ALPHA_971USDT", order_id="3570338" if b"3570338" in bytes(data) else "3570419"
    ),
    "rest.user_volume": account.read_user_volume,
    "rest.wallet_alpha": account.read_alpha_wallet,
    "rest.wallet_asset": account.read_wallets,
}


@needs_shared
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_sample_is_understood(path):
    one = load(path)
    if bytes(one.frame):
        assert not isinstance(stream.read_frame(bytes(one.frame)), news.Unknown)
    elif one.reply is not None:
        verdict = classify(one.reply["status"], one.reply["headers"], one.reply["body_text"].encode(), "placement")
        assert isinstance(verdict, NoAnswer)
    elif one.meta["kind"] == "rest.error":
        assert isinstance(classify(200, {}, bytes(one.response), "placement"), Refused | NoAnswer)
    else:
        assert READERS[one.meta["kind"]](data_of(path.stem)) is not None

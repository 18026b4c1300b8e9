"""Whatever arrives, only the tree's own errors are raised, and they hold no secret."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from actors.errors import OtodError
from actors.exchange import account, listing, market, orders, reports, stream
from actors.exchange.shapes import TEXT_MAX, redact
from tests.exchange.own import FRAMES, REPLIES

READERS = [
    account.read_alpha_wallet,
    account.read_average_cost,
    account.read_listen_key,
    account.read_terms,
    account.read_user_score,
    account.read_user_volume,
    account.read_wallets,
    listing.read_assets,
    listing.read_fee_rate,
    listing.read_instruments,
    listing.read_token_info,
    listing.read_tokens,
    market.read_agg_klines,
    market.read_agg_trades,
    market.read_depth,
    market.read_klines,
    market.read_ticker,
    orders.read_order_id,
    orders.read_orders,
    orders.read_oto_ids,
    reports.read_report,
    lambda data: orders.read_executions(data, symbol="ALPHA_7USDT", order_id="700010"),
]

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def quietly(read: Any, data: Any) -> None:
    try:
        read(data)
    except OtodError as error:
        caught = error
    else:
        return
    assert len(caught.what) <= TEXT_MAX


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_an_error_of_ours(data):
    quietly(stream.read_frame, data)
    for read in READERS:
        quietly(read, Raw(data))


@given(documents)
def test_any_document_is_read_or_refused(document):
    data = msgspec.json.encode(document)
    for read in READERS:
        quietly(read, Raw(data))
    quietly(stream.read_frame, data)
    quietly(stream.read_frame, b'{"stream":"alpha@k","data":' + data + b"}")


@st.composite
def damaged(draw: st.DrawFn, sources: dict[str, Raw]) -> bytes:
    """One of our samples with a slice replaced by something else."""
    text = bytes(sources[draw(st.sampled_from(sorted(sources)))])
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 20)))
    filling = st.binary(max_size=10) | st.sampled_from([b'"NaN"', b"null", b"-1", b"1e999", b"{}", b'"', b"9" * 30])
    return text[:start] + draw(filling) + text[end:]


@given(damaged(FRAMES))
def test_a_damaged_frame_is_a_message_or_an_error_of_ours(data):
    quietly(stream.read_frame, data)


@given(damaged({name: msgspec.json.decode(raw, type=dict[str, Raw])["data"] for name, raw in REPLIES.items()}))
def test_a_damaged_reply_is_read_or_refused(data):
    for read in READERS:
        quietly(read, Raw(data))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Total must be greater than 0.1", "Total must be greater than 0.1"),
        ("ILLEGAL_PARAM: workingPrice*workingQuantity must be the same as sum(paymentDetail.amount)",) * 2,
        ("登录状态已经失效，请重新登录！",) * 2,
        ("price=0.0001 is off", "price=0.0001 is off"),
        ("csrftoken=abcdef; p20t=web.1.2", "csrftoken=***; p20t=***"),
        ("Set-Cookie: a=b; c=d", "Set-Cookie: ***"),
        ("bad header b'Cookie: cr00=1234ABCD'", "bad header b'Cookie: ***"),
        ("key 00112233445566778899aabbccddeeff!", "key ***!"),
        ("alpha@00112233445566778899aabbccddeeff", "alpha@***"),
        ("one\ntwo\x00\x1bthree", "one two three"),
        ("", ""),
    ],
)
def test_foreign_words_are_fit_for_a_log(text, shown):
    assert redact(text) == shown


@given(st.text(max_size=3000))
def test_redacted_text_is_one_bounded_line(text):
    line = redact(text)
    assert len(line) <= TEXT_MAX
    assert "\n" not in line


def test_no_float_is_made_on_the_way():
    noisy = b"197.435668405199980000000000000001"
    assert account.read_user_volume(Raw(b'{"totalVolume":' + noisy + b"}")) == Decimal(noisy.decode())

"""Frames of the streams, in all the ways they may be odd."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from actors.errors import ProtocolChanged, StreamLost
from actors.exchange import news, subscribing
from actors.exchange.stream import FRAME_MAX, read_frame
from tests.exchange.own import frame

D = Decimal
KEY = "k0k0k0k0k0k0k0k0k0k0k0k0k0k0k0k0"


# -- our own frames, so that this suite says something without ../shared


def test_a_plain_order_belongs_to_no_list():
    report = read_frame(frame("plain_new"))
    assert (report.order_id, report.list_id, report.position) == ("700003", None, None)
    assert (report.side, report.quantity, report.execution, report.event_id) == ("SELL", D(20), None, "9000000001")


def test_ids_of_a_report_may_be_numbers_or_texts():
    report = read_frame(frame("oto_fill"))
    assert (report.order_id, report.list_id, report.position) == ("700010", "88", "working")
    assert report.execution is not None
    assert (report.execution.fill_id, report.execution.trade_id) == ("9000000002", "501")


def test_a_trade_and_a_crossed_book():
    trade, book = read_frame(frame("agg_trade")), read_frame(frame("book_ticker"))
    assert (trade.symbol, trade.trade.agg_id, trade.trade.price, trade.trade.buyer_maker) == (
        "ALPHA_7USDT",
        31,
        D("2.5001"),
        True,
    )
    assert book.ticker.bid > book.ticker.ask


# -- reports that must not be booked


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (('"l": "8.00"', '"l": "0"'), "l or L"),
        (('"L": "2.5"', '"L": "0.00"'), "l or L"),
        (('"l": "8.00", ', ""), "l or L"),
        (('"Y": "20", ', ""), "Y missing"),
        (('"n": "0.0008", ', ""), "n missing"),
        (('"N": "ALPHA_7", ', ""), "N missing"),
        (('"t": "501", ', ""), "t missing"),
    ],
)
def test_a_fill_with_a_part_missing_is_never_booked_as_zero(change, difference):
    with pytest.raises(ProtocolChanged, match=f"{difference}.* order 700010 of ALPHA_7USDT"):
        read_frame(frame("oto_fill", change))


def test_a_commission_of_nothing_needs_no_asset():
    report = read_frame(frame("oto_fill", ('"n": "0.0008", "N": "ALPHA_7"', '"n": "0", "N": null')))
    assert report.execution is not None
    assert (report.execution.commission, report.execution.commission_asset) == (0, "")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (('"z": "20.00"', '"z": "NaN"'), r"\$\.z"),
        (('"z": "20.00", ', ""), "`z`"),
        (('"S": "BUY"', '"S": "HOLD"'), r"\$\.S"),
        (('"S": "BUY", ', ""), "`S`"),
        (('"i": 700010, ', ""), "`i`"),
        (('"i": 700010', '"i": null'), r"\$\.i"),
        (('"T": 1760000000400', '"T": "1760000000400"'), r"\$\.T"),
        (('"E": 1760000000500', '"E": 1760000000500000000'), r"\$\.E"),
        (('"X": "PARTIALLY_FILLED", ', ""), "`X`"),
        (('"id": "9000000002"', '"id": ""'), r"\$\.id"),
    ],
)
def test_a_required_field_that_is_missing_or_odd_is_named(change, difference):
    with pytest.raises(ProtocolChanged, match=difference) as caught:
        read_frame(frame("oto_fill", change))
    assert KEY not in str(caught.value)


def test_unknown_fields_are_ignored_and_unknown_words_kept():
    report = read_frame(frame("plain_new", ('"st": 1', '"st": 1, "new": {"a": [1e999]}'), ('"x": "NEW"', '"x": "ODD"')))
    assert (report.kind, report.status) == ("ODD", "NEW")


@pytest.mark.parametrize(
    ("change", "position"),
    [
        (('"cp": "OTO_WORKING"', '"cp": "OTO_PENDING"'), "pending"),
        (('"cp": "OTO_WORKING"', '"cp": "OTOCO_ABOVE"'), None),
        (('"ct": "OTO"', '"ct": "OTOCO"'), None),
        (('"ct": "OTO", ', ""), "working"),
    ],
)
def test_lists_of_another_kind_are_not_ours_to_manage(change, position):
    report = read_frame(frame("oto_fill", change))
    assert (report.position, report.list_id) == (position, "88")


# -- frames that are no data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1}', news.Ack(1)),
        ('{"id": null, "result": null}', news.Ack(None)),
        ('{"id": "a1", "result": null, "error": null}', news.Ack("a1")),
        ('{"error": {"code": 2, "msg": "Invalid request"}, "id": 3}', news.StreamRefused(3, "2", "Invalid request")),
        ('{"error": {}}', news.StreamRefused(None, "None", "")),
        ('{"e": "serverShutdown", "E": 1}', news.ServerShutdown()),
        ('  {"stream": "x@y", "data": {"e": "serverShutdown"}}', news.ServerShutdown()),
        ('{"stream": "alpha@k", "data": {"e": "eventStreamTerminated"}}', news.KeyLapsed("eventStreamTerminated")),
        ('{"e": "listenKeyExpired", "listenKey": "k"}', news.KeyLapsed("listenKeyExpired")),
    ],
)
def test_answers_and_notices(text, message):
    assert read_frame(text.encode()) == message


@pytest.mark.parametrize(
    ("text", "stream", "word"),
    [
        ('{"stream": "alpha_7usdt@newStream", "data": {"e": "brandNew"}}', "*@newStream", "brandNew"),
        ('{"stream": "alpha@KEY", "data": {"e": "balanceUpdate"}}', "alpha@***", "balanceUpdate"),
        ('{"stream": "came@stockToken@metaInfo@change", "data": {"x": 1}}', "came@change", ""),
        ('{"stream": "came@0x07@56@kline_1s", "data": {"e": 5}}', "came@kline_1s", ""),
        ('{"stream": "KEY", "data": null}', "***", ""),
        ('{"stream": "!x@arr", "data": "text"}', "*@arr", ""),
        ('{"stream": "x@y", "id": 4}', "*@y", ""),
        ("{}", "", ""),
        ('{"data": {"e": "KEYKEYKEY"}}', "", "***"),
    ],
)  # fmt: skip
def test_unknown_frames_are_kept_to_be_counted(text, stream, word):
    assert read_frame(text.replace("KEY", KEY).encode()) == news.Unknown(stream, word)


def test_an_array_of_messages_is_a_batch():
    one = bytes(msgspec.json.decode(frame("agg_trade"), type=dict[str, msgspec.Raw])["data"])
    batch = read_frame(b'{"stream":"!x@arr","data":[' + one + b"," + one + b',{"e":"odd"},7]}')
    assert isinstance(batch, news.Batch)
    assert [type(message).__name__ for message in batch.messages] == ["AggTrade", "AggTrade", "Unknown", "Unknown"]


@pytest.mark.parametrize(
    "data", [b"", b"hello", b'{"stream":', b'{"a":1}x', b'{"stream":"\xff","data":{}}', b'{"x":' + b"[" * 100_000]
)
def test_a_frame_that_is_no_json_ends_the_connection(data):
    with pytest.raises(StreamLost):
        read_frame(data)


def test_an_absurdly_long_frame_ends_the_connection():
    with pytest.raises(StreamLost, match="bytes"):
        read_frame(b" " * (FRAME_MAX + 1))


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "5",
        '{"stream": 5, "data": {}}',
        '{"error": "text"}',
        '{"data": {"e": "aggTrade"}}',
        '{"data": {"e": "aggTrade", "s": "A", "E": 1, "a": 1, "p": "0", "q": "1", "T": 1}}',
        '{"data": {"e": "kline", "k": {"i": "1m", "o": 1, "c": 1, "h": 1, "l": 1, "v": 1}}}',
        '{"data": {"e": "kline", "s": "A", "E": 1, "k": {"i": "1m", "o": 1, "c": 1, "h": 1, "l": 1, "v": 1, "t": 1,'
        ' "T": 2, "x": true}}}',
        '{"data": {"e": "depthUpdate", "s": "A", "E": 1, "T": 1, "U": 1, "u": 1, "pu": 1, "b": [["1"]], "a": []}}',
    ],
)
def test_a_known_message_of_another_shape_is_a_change_of_protocol(text):
    with pytest.raises(ProtocolChanged):
        read_frame(text.encode())


# -- what we send


def test_stream_names_are_in_lower_case_but_for_the_kind():
    symbol = "ALPHA_7USDT"
    assert subscribing.agg_trade_stream(symbol) == "alpha_7usdt@aggTrade"
    assert subscribing.book_ticker_stream(symbol) == "alpha_7usdt@bookTicker"
    assert subscribing.trade_stream(symbol) == "alpha_7usdt@trade"
    assert subscribing.full_depth_stream(symbol) == "alpha_7usdt@fulldepth@100ms"
    assert subscribing.kline_stream(symbol, "1m") == "alpha_7usdt@kline_1m"
    assert subscribing.user_stream("abc") == "alpha@abc"


def test_requests_carry_method_streams_and_id():
    assert subscribing.subscribe(["a@b", "c@d"], request_id=1) == '{"method":"SUBSCRIBE","params":["a@b","c@d"],"id":1}'
    assert subscribing.unsubscribe(["a@b"], request_id=2) == '{"method":"UNSUBSCRIBE","params":["a@b"],"id":2}'
    with pytest.raises(AssertionError):
        subscribing.subscribe([], request_id=1)

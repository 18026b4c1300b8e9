"""Frames as they come and go (contract § 3)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from actors.errors import ActorCrashed, OtodError, Refusal
from supervisor.control import protocol
from supervisor.control.protocol import (
    FRAME_BYTES_MAX,
    Request,
    amount,
    decode,
    decode_event,
    did_you_mean,
    encode_event,
    encode_refusal,
    encode_reply,
    error_object,
    mean_price_text,
    parse_time,
    plain,
    rfc3339,
    rounded,
)

TEN_MS = 1_795_168_800_000


def refusal(frame: bytes) -> Refusal:
    _, request = decode(frame)
    assert isinstance(request, Refusal)
    assert request.code == "BAD_FRAME"
    assert request.do
    return request


# -- requests


def test_a_whole_frame_is_read():
    frame = b'{"v":1,"id":"any","cmd":"trading.status","args":{"user":"alice"}}'
    assert decode(frame) == ("any", Request(cmd="trading.status", args={"user": "alice"}, id="any"))


def test_version_id_and_args_may_be_left_out():
    assert decode(b'{"cmd":"system.status"}') == (None, Request(cmd="system.status", args={}, id=None))


def test_an_id_may_be_a_number():
    assert decode(b'{"id":7,"cmd":"x"}')[0] == 7


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b'"\xff"',
        b'"\\ud800"',
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b"{}",
        b'{"cmd":1}',
        b'{"cmd":null}',
        b'{"cmd":"x","args":[]}',
        b'{"cmd":"x","args":"user"}',
        b'{"v":2,"cmd":"x"}',
        b'{"v":true,"cmd":"x"}',
        b'{"v":"1","cmd":"x"}',
        b'{"id":1.5,"cmd":"x"}',
        b'{"id":true,"cmd":"x"}',
        b'{"id":{},"cmd":"x"}',
        b'{"id":99999999999999999999999,"cmd":"x"}',
        b'{"cmd":"x"} {"cmd":"y"}',
        b'{"cmd":"x"',
        b"[" * 100_000,
        b'{"cmd":' * 100_000,
        b"1" * 5_000,
        json.dumps({"id": "x" * 129, "cmd": "x"}).encode(),
    ],
)
def test_a_malformed_frame_is_refused_with_what_to_do(frame):
    refusal(frame)


def test_a_frame_beyond_the_limit_is_refused_unread():
    assert "too long" in refusal(b" " * FRAME_BYTES_MAX + b"{}").what


def test_a_misspelt_field_is_named_with_the_right_one():
    error = refusal(b'{"cmd":"x","arg":{}}')
    assert "'arg'" in error.what
    assert error.do == "did you mean args?"


def test_a_refused_frame_is_still_answered_to_its_id():
    assert decode(b'{"id":"seven","cmd":1}')[0] == "seven"


def test_numbers_in_arguments_stay_exact():
    _, request = decode(b'{"cmd":"x","args":{"amount":0.1000000000000000055511151231257827}}')
    assert request.args["amount"] == Decimal("0.1000000000000000055511151231257827")


@given(st.binary(max_size=200))
def test_f84_any_bytes_are_answered(frame):
    check_answerable(frame)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
near_frames = st.fixed_dictionaries(
    {},
    optional={
        "v": st.sampled_from([1, 1, 1, 2, "1", None, True]) | json_values,
        "id": st.text(max_size=5) | st.integers() | json_values,
        "cmd": st.sampled_from(["trading.status", "system.tree", "x", ""]) | json_values,
        "args": st.dictionaries(st.text(max_size=5), json_values, max_size=3) | json_values,
        "more": json_values,
    },
)


@given(near_frames)
def test_any_document_is_answered(document):
    check_answerable(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def check_answerable(frame):
    request_id, request = decode(frame)
    if isinstance(request, Refusal):
        reply = json.loads(encode_refusal(request_id, request))
        assert reply["error"]["code"] == "BAD_FRAME"
        assert reply["error"]["message"]
    else:
        assert isinstance(request.cmd, str)
        assert isinstance(request.args, dict)


# -- replies and events


def test_a_reply_has_the_contracts_shape():
    assert json.loads(encode_reply("any", {"a": 1})) == {"v": 1, "id": "any", "ok": True, "data": {"a": 1}}


def test_a_refusal_has_the_contracts_shape():
    error = Refusal("no user 'alcie'", code="USER_UNKNOWN", do="did you mean alice?")
    assert json.loads(encode_refusal("any", error)) == {
        "v": 1,
        "id": "any",
        "ok": False,
        "error": {"code": "USER_UNKNOWN", "message": "no user 'alcie'", "hint": "did you mean alice?"},
    }


def test_a_refusal_names_the_place_and_may_have_no_hint():
    error = error_object(Refusal("not live", code="PAIR_UNKNOWN", where="traders/alice"))
    assert error == {"code": "PAIR_UNKNOWN", "message": "not live [traders/alice]", "hint": None}


def test_an_error_without_a_code_of_the_contract_is_internal():
    assert error_object(ActorCrashed("died"))["code"] == "INTERNAL"
    strange = OtodError("x")
    strange.code = "MADE_UP"
    assert error_object(strange)["code"] == "INTERNAL"


def test_an_event_frame_is_its_topic_and_one_object():
    frame = encode_event(
        "fill.alice", boot="b", seq=3, at_ms=TEN_MS, kind="filled", payload={"price": Decimal("48.10"), "side": "BUY"}
    )
    topic, event = decode_event(frame)
    assert frame.startswith(b"fill.alice {")
    assert topic == "fill.alice"
    assert event == {
        "v": 1,
        "boot": "b",
        "seq": 3,
        "at": "2026-11-20T10:00:00.000Z",
        "kind": "filled",
        "price": "48.1",
        "side": "BUY",
    }


# -- values


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("48.024100000000000000", "48.0241"),
        ("1E+2", "100"),
        ("0E-18", "0"),
        ("-0.00", "0"),
        ("500", "500"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("-1.50", "-1.5"),
    ],
)
def test_amounts_are_plain_decimal_text(value, text):
    assert amount(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=18))
def test_amounts_keep_every_digit(value):
    assert Decimal(amount(value)) == value
    assert "E" not in amount(value)


def test_rounding_is_for_percentages():
    assert rounded(Decimal("63.8149"), 2) == "63.81"
    assert rounded(Decimal("3.6667"), 1) == "3.7"
    assert rounded(Decimal("100.00"), 2) == "100"


def test_a_mean_price_keeps_eight_digits_however_cheap_the_token_is():
    assert mean_price_text(Decimal("47.888888888888")) == "47.88888889"
    assert mean_price_text(Decimal("0.0000000312591239876")) == "0.000000031259124"
    assert mean_price_text(Decimal("0.00000000000000031259")) == "0.000000000000000313"
    assert (mean_price_text(Decimal(0)), mean_price_text(Decimal("1E+3"))) == ("0", "1000")


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_times_come_back_to_the_millisecond(at_ms):
    text = rfc3339(at_ms)
    assert len(text) == 24
    assert parse_time(text) == at_ms


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20t10:00:00z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T12:00:00+02:00", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00:00.5Z", datetime(2026, 11, 20, 10, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_times_are_read_with_any_zone(text, moment):
    assert parse_time(text) == round(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-11-20T10:00:00", "2026-13-01", "2026-11-20 10:00:00Z", "20261120"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):
        parse_time(text)


class Inner(Struct, frozen=True):
    price: Decimal
    intent_at: int


def test_payloads_become_plain():
    payload = {
        "inner": Inner(Decimal("1.50"), TEN_MS),
        "since_ms": TEN_MS,
        "placed_ms": TEN_MS,
        "at_ms": TEN_MS,
        "exchange_time": TEN_MS,
        "step_ms": 1500,
        "many": (Decimal(1), None, True),
        "odd": ValueError("x"),
    }
    assert plain(payload) == {
        "inner": {"price": "1.5", "intent_at": "2026-11-20T10:00:00.000Z"},
        "since": "2026-11-20T10:00:00.000Z",
        "placed_at": "2026-11-20T10:00:00.000Z",
        "happened_at": "2026-11-20T10:00:00.000Z",
        "exchange_time": "2026-11-20T10:00:00.000Z",
        "step_ms": 1500,
        "many": ["1", None, True],
        "odd": "x",
    }


# -- help


def test_the_nearest_word_is_offered_else_all_of_them():
    assert did_you_mean("alcie", ["alice", "bob"]) == "did you mean alice?"
    assert did_you_mean("zzz", ["alice", "bob"], say="there are") == "there are alice, bob"
    assert did_you_mean("zzz", ["alice"]) == ""
    assert did_you_mean("zzz", [], say="there are") == ""
    assert did_you_mean("zzz", map(str, range(20)), say="there are").endswith("(20 in all)")


def test_a_wrong_value_is_repeated_cut_and_on_one_line():
    assert protocol.echo("a\nb") == "'a\\nb'"
    assert len(protocol.echo("x" * 10_000)) < 70
    assert protocol.echo(Decimal("1E+999999999")) == "'1E+999999999'"


@pytest.mark.parametrize("number", ["1e999999999999999999999", "9" * 5000, "1e-999999999999999999999", "-1e400"])
def test_a_number_beyond_all_bounds_is_an_error_reply_at_most(number):
    _, request = decode(f'{{"id":"7","cmd":"x","args":{{"n":{number}}}}}'.encode())
    assert isinstance(request, Request) or request.code == "BAD_FRAME"

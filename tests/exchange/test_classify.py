"""What a reply means, as a table: wire § 9, design § 4 item 2."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.orders import NoAnswer, Refused
from actors.exchange.classify import RETRY_AFTER_MAX_S, Success, classify, retry_after_s
from actors.exchange.envelope import BODY_MAX, read_envelope

PAGE = b"<!DOCTYPE html><html><title>Attention</title></html>"


def envelope(code: Any, message: Any = None, success: Any = False, **more: Any) -> bytes:
    body = {"code": code, "message": message, "messageDetail": None, "data": None, **more}
    return msgspec.json.encode(body if success is None else {**body, "success": success})


def word(verdict: object) -> str:
    """ "success", "refused CODE", or the trouble."""
    match verdict:
        case Success():
            return "success"
        case Refused(code=code):
            return f"refused {code}"
        case NoAnswer(trouble=trouble):
            return trouble
    raise AssertionError(verdict)


# (reply, verdict on a placement, verdict on a cancel or a read); a reply: (status, headers, body)
CODES = [
    ((200, {}, envelope("000000", success=True)), "success", "success"),
    ((200, {}, envelope("000000", success=None)), "success", "success"),
    ((201, {}, envelope("000000", success=True)), "success", "success"),
    ((200, {}, envelope("000000", success=False)), "unreadable", "unreadable"),
    ((400, {}, envelope("000000", success=True)), "unreadable", "unreadable"),
    ((200, {}, envelope(0, success=True)), "unknown_code", "unknown_code"),
    ((200, {}, envelope("000002", "ILLEGAL_PARAM: must be the same")), "refused 000002", "refused 000002"),
    ((200, {}, envelope("481020")), "refused 481020", "refused 481020"),
    ((200, {}, envelope("481013", "Total must be greater than 0.1")), "refused 481013", "refused 481013"),
    ((400, {}, envelope("481011")), "refused 481011", "refused 481011"),
    ((200, {}, envelope("481099", success=None)), "refused 481099", "unknown_code"),
    ((200, {}, envelope("481020", success=True)), "unknown_code", "unknown_code"),
    ((200, {}, envelope(481020)), "refused 481020", "refused 481020"),
    ((200, {}, envelope("4810200")), "unknown_code", "refused 4810200"),
    ((200, {}, envelope("48102")), "unknown_code", "refused 48102"),
    ((200, {}, envelope("２", "a digit, but not ours")), "unknown_code", "refused ２"),
    ((200, {}, envelope("349999", "no such order")), "unknown_code", "refused 349999"),
    ((400, {}, envelope("349999", "no such order")), "unknown_code", "refused 349999"),
    ((200, {}, envelope("349999", success=None)), "unknown_code", "unknown_code"),
    ((200, {}, envelope("100001001", "系统异常", messageDetail={"title": None})), "system", "system"),
    ((200, {}, envelope("100002001", "登录状态已经失效，请重新登录！")), "session", "session"),
    ((500, {}, envelope("100002001")), "session", "session"),
    ((200, {}, envelope("100001003", "step flows have not finish")), "human", "human"),
    ((200, {}, envelope("100001008")), "human", "human"),
    ((403, {}, envelope("100001003")), "human", "human"),
    ((200, {}, envelope("777", "step flows have not finish")), "human", "human"),
    ((200, {}, envelope("777", "请检查是否已登录")), "session", "session"),
    ((200, {}, envelope("777", "Too frequent, please slow down")), "throttled", "throttled"),
    ((200, {}, envelope("777", "操作过于频繁，请稍后再试")), "throttled", "throttled"),
    ((200, {}, envelope("481030", "Orders too frequent")), "throttled", "throttled"),
    ((200, {}, envelope("481020", "请检查是否已登录")), "refused 481020", "refused 481020"),  # the code decides
    ((200, {}, envelope("000000", "too frequent", success=True)), "success", "success"),
]
SPOT = [
    ((400, {}, b'{"code":-1003,"msg":"Too many requests."}'), "throttled", "throttled"),
    ((400, {}, b'{"code":-1015,"msg":"Too many new orders"}'), "throttled", "throttled"),
    ((400, {}, b'{"code":-1021,"msg":"Timestamp for this request"}'), "clock", "clock"),
    ((400, {}, b'{"code":-1022,"msg":"Signature"}'), "session", "session"),
    ((400, {}, b'{"code":-2014,"msg":"API-key"}'), "session", "session"),
    ((400, {}, b'{"code":"-2015","msg":"API-key"}'), "session", "session"),
    ((400, {}, b'{"code":-1001,"msg":"Internal"}'), "system", "system"),
    ((400, {}, b'{"code":-2011,"msg":"Unknown order sent."}'), "unknown_code", "refused -2011"),
    ((400, {}, b'{"code":-2013,"msg":"Order does not exist."}'), "unknown_code", "refused -2013"),
    ((400, {}, b'{"code":-2010,"msg":"insufficient balance"}'), "unknown_code", "refused -2010"),
    ((400, {}, b'{"code":-1013,"msg":"Filter failure: LOT_SIZE"}'), "unknown_code", "refused -1013"),
    ((400, {}, b'{"code":-1125,"msg":"This listenKey does not exist."}'), "unknown_code", "refused -1125"),
]
TRANSPORT = [
    ((429, {}, b""), "throttled", "throttled"),
    ((418, {}, PAGE), "throttled", "throttled"),
    ((429, {}, envelope("481020")), "throttled", "throttled"),
    ((401, {}, b""), "session", "session"),
    ((401, {}, envelope("481020")), "session", "session"),
    ((403, {}, PAGE), "blocked", "blocked"),
    ((403, {}, envelope("481020")), "blocked", "blocked"),
    ((451, {}, b""), "blocked", "blocked"),
    ((302, {"Location": "/login"}, b""), "blocked", "blocked"),
    ((408, {}, b""), "system", "system"),
    ((500, {}, b"oops"), "system", "system"),
    ((502, {}, PAGE), "system", "system"),
    ((503, {}, envelope("481020")), "system", "system"),
    ((504, {}, envelope("000000", success=True)), "system", "system"),
    ((200, {}, PAGE), "blocked", "blocked"),
    ((200, {"Content-Type": "text/html; charset=utf-8"}, b"Please enable cookies"), "blocked", "blocked"),
    ((404, {}, b"\xef\xbb\xbf \r\n<html>"), "blocked", "blocked"),
    ((200, {}, b""), "unreadable", "unreadable"),
    ((200, {}, b"OK"), "unreadable", "unreadable"),
    ((200, {}, b"[]"), "unreadable", "unreadable"),
    ((200, {}, b"{}"), "unreadable", "unreadable"),
    ((200, {}, b'{"code":null,"success":true}'), "unreadable", "unreadable"),
    ((200, {}, b'{"code":["000000"]}'), "unreadable", "unreadable"),
    ((200, {}, b'{"code":"000000","success":"yes"}'), "unreadable", "unreadable"),
    ((200, {}, envelope("000000", success=True)[:-1]), "unreadable", "unreadable"),
    ((200, {}, b'{"code":"000000","data":"\xff\xfe","success":true}'), "success", "success"),  # only a decoder may say
    ((200, {}, b'{"code":"00\xff"}'), "unreadable", "unreadable"),
    ((200, {}, b'{"data":' + b"[" * 100_000), "unreadable", "unreadable"),
]
LENGTH = [
    ((200, {"Content-Length": "999"}, envelope("000000", success=True)), "unreadable", "unreadable"),
    ((200, {"Content-Length": "999"}, envelope("481020")), "unreadable", "unreadable"),
    ((200, {"Content-Length": "x"}, envelope("481020")), "unreadable", "unreadable"),
    ((200, {"Content-Length": str(len(envelope("481020")))}, envelope("481020")), "refused 481020", "refused 481020"),
    (
        (200, {"Content-Length": "31", "Content-Encoding": "gzip"}, envelope("481020")),
        "refused 481020",
        "refused 481020",
    ),
]
VERIFICATION = [
    ((200, {"risk_challenge_biz_no": "n", "risk_challenge_enable_flow": "true"}, envelope("000000")), "human", "human"),
    ((200, {"Risk_Challenge_Enable_Flow": "TRUE"}, envelope("481020")), "human", "human"),
    ((200, {"risk_challenge_biz_no": "n"}, envelope("481020")), "human", "human"),
    ((429, {"risk_challenge_biz_no": "n"}, b""), "human", "human"),
    (
        (200, {"risk_challenge_biz_no": "", "risk_challenge_enable_flow": "false"}, envelope("481020")),
        "refused 481020",
        "refused 481020",
    ),
    (
        (200, {"risk_challenge_biz_no": "n", "risk_challenge_enable_flow": "false"}, envelope("481020")),
        "refused 481020",
        "refused 481020",
    ),
]


@pytest.mark.parametrize(("reply", "placement", "other"), CODES + SPOT + TRANSPORT + LENGTH + VERIFICATION)
def test_one_verdict_per_reply(reply, placement, other):
    assert word(classify(*reply, "placement")) == placement
    assert word(classify(*reply, "cancel")) == other
    assert word(classify(*reply, "read")) == other


def test_no_status_makes_a_refusal_or_a_success_of_a_body_that_is_none():
    for status in range(100, 600):
        assert isinstance(classify(status, {}, b"", "placement"), NoAnswer), status
        assert isinstance(classify(status, {}, PAGE, "placement"), NoAnswer), status


@given(
    st.integers(-1, 10_000),
    st.dictionaries(
        st.sampled_from(["retry-after", "Date", "content-length", "content-type", "risk_challenge_biz_no"]), st.text()
    ),
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: envelope(text, text)),
    st.sampled_from(["placement", "cancel", "read"]),
)
def test_any_reply_has_a_verdict(status, headers, body, kind):
    verdict = classify(status, headers, body, kind, now_ms=1)
    if isinstance(verdict, NoAnswer) and verdict.retry_after_s is not None:
        assert 0 <= verdict.retry_after_s <= RETRY_AFTER_MAX_S


@given(st.text(max_size=12).filter(lambda code: code not in ("000000", "000002") and not code.startswith("4810")))
def test_a_placement_is_refused_by_known_codes_only(code):
    assert isinstance(classify(200, {}, envelope(code), "placement"), NoAnswer)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "999999999"}, RETRY_AFTER_MAX_S),
        (
            {"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"},
            30.0,
        ),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, 20.0),  # from now_ms
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 -0000"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e3"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, seconds):
    now_ms = 1795168810000  # 2026-11-20T10:00:10Z
    assert retry_after_s(headers, now_ms=now_ms) == seconds


def test_a_date_without_any_clock_says_nothing():
    assert retry_after_s({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}) is None


def test_every_no_answer_carries_what_the_exchange_asks_to_wait():
    verdict = classify(503, {"Retry-After": "7"}, b"", "placement")
    assert verdict == NoAnswer("system", "HTTP 503, the exchange had a fault, the outcome is unknown", 7.0)


def test_texts_tell_code_and_words_but_no_secret():
    secret = "p20t=web.0123456789ABCDEF0123456789"
    verdict = classify(200, {}, envelope("777", f"line\n1 {secret} 00112233445566778899aabbccddeeff end"), "placement")
    assert isinstance(verdict, NoAnswer)
    assert verdict.text == "HTTP 200, the code is not in the wire sheet: code 777 line 1 p20t=*** *** end"
    refused = classify(200, {}, envelope("000002", "x" * 5000), "placement")
    assert isinstance(refused, Refused)
    assert len(refused.text) <= 200


def test_the_first_words_are_taken_from_message_or_msg():
    spot = read_envelope(b'{"code":-2013,"msg":"Order does not exist.","message":null}')
    assert spot is not None
    assert (spot.code, spot.text, spot.spot) == ("-2013", "Order does not exist.", True)
    odd = read_envelope(b'{"code":"1","message":{"a":1},"messageDetail":[[]]}')
    assert odd is not None
    assert odd.text == ""


def test_an_absurdly_long_body_is_not_even_parsed():
    assert read_envelope(b" " * (BODY_MAX + 1)) is None


def test_total_of_paged_replies_is_kept_when_it_is_a_count():
    assert classify(200, {}, envelope("000000", success=True, total=7), "read").total == 7
    assert classify(200, {}, envelope("000000", success=True, total="7"), "read").total is None
    assert classify(200, {}, envelope("000000", success=True, total=-1), "read").total is None

"""What a reply means: exactly one of success, refused, or no answer.

Only `Refused` lets a caller assume that no order exists, so for a placement it needs a definite word: a known refusal
code of the order calls. Whatever else is not a success is `NoAnswer`, with the reason that tells which pause it
deserves; the caller then asks for the state and never places again (design § 4 item 2, wire § 9).

The order of the questions matters, the first that applies decides:
    the exchange asks its owner for a verification   headers of wire § 2, on any status, whatever the body says
    429, 418                                         throttled
    a code or a text for session or verification     on any status
    401, 403, 451, 3xx, 5xx                          session, blocked, blocked, blocked, system
    a page instead of an envelope                    blocked; other unreadable bodies: unreadable
    the code                                         success, refused, or a reason for no answer
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from msgspec import Raw, Struct

from actors.domain.orders import NoAnswer, Refused
from actors.errors import Trouble
from actors.exchange.envelope import SUCCESS, Envelope, read_envelope
from actors.exchange.shapes import redact

Kind = Literal["placement", "cancel", "read"]

RETRY_AFTER_MAX_S = 7 * 24 * 3600.0  # a longer ban is as good as this one: the owner has to look


class Success(Struct, frozen=True):
    """data: the payload, still JSON (`null` if there was none). total: of paged replies, top level (wire § 1.2)."""

    data: Raw
    total: int | None = None


Verdict = Success | Refused | NoAnswer

_REFUSED_PLACEMENT = re.compile(r"000002|4810[0-9]{2}", re.ASCII).fullmatch

_TROUBLE_BY_CODE: dict[str, Trouble] = {
    "100002001": "session",  # login expired
    "100001003": "human",  # verification steps not finished
    "100001008": "human",  # wrong second-factor code
    "100001001": "system",  # system error: outcome unknown
    # The spot family and the signed API; not seen on /bapi. The last paragraph of wire § 9.
    "-1003": "throttled",
    "-1015": "throttled",
    "-1021": "clock",
    "-1022": "session",  # bad signature: the credentials do not fit
    "-2014": "session",
    "-2015": "session",
    "-1000": "system",  # the family's general "unknown", "disconnected", "unexpected", "time-out", "overloaded" [I]
    "-1001": "system",
    "-1006": "system",
    "-1007": "system",
    "-1008": "system",
}

# Texts are decided on only where the sheet knows no code (wire § 2, § 9); the language follows a header of the session.
_FREQUENCY = re.compile(
    r"too (?:frequent|many requests|often|fast)|frequently|rate.?limit|频繁|頻繁|次数过多", re.IGNORECASE
)
_VERIFICATION = re.compile(
    r"step flows? ha(?:ve|s) not finish|verification (?:steps?|is|required)|risk.?challenge|安全验证|身份验证|验证步骤",
    re.IGNORECASE,
)
_LOGGED_OUT = re.compile(r"检查是否已登录|请重新登录|please log ?in", re.IGNORECASE)

_TROUBLE_BY_STATUS: dict[int, Trouble] = {401: "session", 403: "blocked", 451: "blocked", 408: "system", 425: "system"}

_DO: dict[Trouble, str] = {
    "not_sent": "nothing left this machine",
    "no_reply": "the reply was lost",
    "session": "the login is no longer valid",
    "human": "the exchange asks the owner for an extra verification",
    "throttled": "too many requests",
    "blocked": "a front-end filter answered instead of the exchange",
    "clock": "our clock and the exchange's differ",
    "system": "the exchange had a fault, the outcome is unknown",
    "unreadable": "the body is no envelope",
    "unknown_code": "the code is not in the wire sheet",
}


def classify(status: int, headers: Mapping[str, str], body: bytes, kind: Kind, *, now_ms: int | None = None) -> Verdict:
    """One verdict on one HTTP reply.

    Args:
        status, body: as received, the body decoded from its content encoding.
        headers: names in any case.
        kind: of the call: "placement" of an order, "cancel", or "read" for all others.
        now_ms: wall time, to understand a Retry-After that is a date in a reply without a Date.
    Returns: never raises; texts are redacted.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    envelope = read_envelope(body) if _whole(lower, body) else None
    trouble = _trouble(status, lower, body, envelope, kind)
    if trouble is not None:
        return NoAnswer(trouble, _text(status, envelope, trouble), retry_after_s(lower, now_ms=now_ms))
    assert envelope is not None, "an unreadable reply has a trouble"
    if envelope.code == SUCCESS:
        return Success(envelope.data, envelope.total)
    return Refused(envelope.code, redact(envelope.text))


def _trouble(
    status: int, headers: Mapping[str, str], body: bytes, envelope: Envelope | None, kind: Kind
) -> Trouble | None:
    """Why the reply decides nothing; None if it is a success or a refusal."""
    if _asks_for_verification(headers):
        return "human"
    if status in (429, 418):
        return "throttled"
    worded = _worded(envelope) if envelope is not None else None
    if worded in ("session", "human"):
        return worded
    if status in _TROUBLE_BY_STATUS:
        return _TROUBLE_BY_STATUS[status]
    if 300 <= status < 400:
        return "blocked"
    if not 200 <= status < 500:
        return "system"
    if envelope is None:
        return "blocked" if _is_page(headers, body) else "unreadable"
    if envelope.code == SUCCESS:
        # A success that calls itself a failure, or comes with an error status, is no definite word of either.
        return None if envelope.success is not False and status < 300 else "unreadable"
    if worded is not None:
        return worded
    if kind == "placement":
        definite = _REFUSED_PLACEMENT(envelope.code) is not None and envelope.success is not True
    else:
        definite = envelope.success is False or (envelope.spot and envelope.success is None)
    return None if definite else "unknown_code"


def _worded(envelope: Envelope) -> Trouble | None:
    """The trouble that an envelope names, by its code, else by its text."""
    if envelope.code == SUCCESS:
        return None
    if envelope.code in _TROUBLE_BY_CODE:
        return _TROUBLE_BY_CODE[envelope.code]
    text = envelope.text
    if _FREQUENCY.search(text):
        return "throttled"
    if _REFUSED_PLACEMENT(envelope.code):
        return None
    if _VERIFICATION.search(text):
        return "human"
    return "session" if _LOGGED_OUT.search(text) else None


def _asks_for_verification(headers: Mapping[str, str]) -> bool:
    flow = headers.get("risk_challenge_enable_flow", "").strip().lower()
    number = headers.get("risk_challenge_biz_no", "").strip()
    return flow == "true" or (number != "" and flow != "false")


def _whole(headers: Mapping[str, str], body: bytes) -> bool:
    """False if the body is not as long as announced; with a content encoding the announced length is another one."""
    announced = headers.get("content-length", "").strip()
    if not announced or headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return True
    return announced.isascii() and announced.isdigit() and announced.lstrip("0") == (str(len(body)).lstrip("0"))


def _is_page(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "").lower() or body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def _text(status: int, envelope: Envelope | None, trouble: Trouble) -> str:
    said = f"HTTP {status}, {_DO[trouble]}"
    if envelope is None or envelope.code == SUCCESS:
        return said
    return redact(f"{said}: code {envelope.code} {envelope.text}".rstrip())


def retry_after_s(headers: Mapping[str, str], *, now_ms: int | None = None) -> float | None:
    """Seconds the exchange asks us to wait; None if it does not say, or not readably.

    Retry-After is seconds or a date. A date is measured from the reply's own Date, else from now_ms.
    headers: names in lower case.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text, re.ASCII):
        return min(float(text), RETRY_AFTER_MAX_S)  # sim-ok: seconds, not money
    until_s = _date_s(text)
    from_s = _date_s(headers.get("date", ""))
    if from_s is None and now_ms is not None:
        from_s = now_ms / 1000
    if until_s is None or from_s is None:
        return None
    return min(max(until_s - from_s, 0.0), RETRY_AFTER_MAX_S)


def _date_s(text: str) -> float | None:
    """An HTTP date as seconds since 1970 UTC."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

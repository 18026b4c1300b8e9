"""Control frames: bytes ↔ structs (contract § 3). Pure: no socket, no clock.

A request is one JSON object, a reply is one, an event is `topic SPACE object`. Whatever arrives, `decode` gives
either a request or a refusal that can be sent back: a malformed frame costs its sender an error reply, nobody anything.

On the wire amounts are decimal text (`amount`), times RFC 3339 UTC with milliseconds (`rfc3339`), counts and seconds
bare numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from actors.errors import OtodError, Refusal

VERSION = 1
FRAME_BYTES_MAX = (
    1 << 20
)  # a pasted cURL text or a users.toml is some 100 kB; a megabyte leaves room and bounds the work
ID_CHARS_MAX = 128  # ids are kept for ten minutes and echoed
ECHO_CHARS_MAX = 60  # how much of a wrong value an error repeats
NEAR_AMONG_MAX = 200  # words that one is compared with: some 3 ms, in which the loop does nothing else

CODES = frozenset({
    "BAD_FRAME", "BAD_ARGUMENT", "COMMAND_UNKNOWN", "USER_UNKNOWN", "TOKEN_UNKNOWN", "TOKEN_AMBIGUOUS", "PAIR_UNKNOWN",
    "NOT_PERMITTED", "PAUSED", "REFUSED", "STALE_REVISION", "TIMEOUT", "STUCK", "STORE_UNAVAILABLE", "INTERNAL",
})  # fmt: skip
"""Every code that an error frame may carry."""

USER_NAME = re.compile(r"[a-z0-9_-]{1,32}")

RequestId = str | int | None
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_FORM = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?", re.IGNORECASE)
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_FIELDS = ("v", "id", "cmd", "args")


class Request(Struct, frozen=True, kw_only=True):
    """One request as it came: the command may be unknown and the arguments wrong, but the frame is well formed."""

    cmd: str
    args: dict[str, Any]
    id: RequestId = None


# -- requests


def decode(frame: bytes) -> tuple[RequestId, Request | Refusal]:
    """Reads a request frame; never raises.

    Returns: the id to answer to (None where it could not be read), and the request, or BAD_FRAME with what is wrong.
    """
    if len(frame) > FRAME_BYTES_MAX:
        return None, _bad_frame(f"a frame of {len(frame)} bytes is too long", f"send at most {FRAME_BYTES_MAX}")
    try:
        document = _DECODER.decode(frame)
    except RecursionError:
        return None, _bad_frame("the JSON is nested too deeply", "send one flat object")
    except ArithmeticError:
        return None, _bad_frame("a number that is too large to be one", "write amounts as text")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return None, _bad_frame(f"not UTF-8 JSON: {error}", 'send an object like {"cmd":"system.status"}')
    if not isinstance(document, dict):
        return None, _bad_frame("a frame must be one JSON object", 'send an object like {"cmd":"system.status"}')
    request_id = document.get("id")
    if not _is_id(request_id):
        return None, _bad_frame(
            f"id {echo(request_id)} is no id", f"send text of at most {ID_CHARS_MAX} characters, or a whole number"
        )
    return request_id, _request(request_id, document)


def _request(request_id: RequestId, document: dict[str, Any]) -> Request | Refusal:
    for field in document:
        if field not in _FIELDS:
            return _bad_frame(f"unknown field {echo(field)}", did_you_mean(field, _FIELDS, say="a frame has"))
    version = document.get("v", VERSION)
    if version != VERSION or isinstance(version, bool):
        return _bad_frame(f"version {echo(version)} is not spoken here", f'send "v":{VERSION} or leave it out')
    cmd = document.get("cmd")
    if not isinstance(cmd, str):
        return _bad_frame("cmd is missing or no text", 'name a command: {"cmd":"system.commands"} lists them')
    args = document.get("args")
    if args is None:
        args = {}
    if not isinstance(args, dict):
        return _bad_frame("args is no object", 'send "args":{"user":"alice"}')
    return Request(cmd=cmd, args=args, id=request_id)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= ID_CHARS_MAX
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63)


def _bad_frame(what: str, do: str) -> Refusal:
    return Refusal(what, code="BAD_FRAME", do=do)


# -- replies and events


def encode_reply(request_id: RequestId, data: Any) -> bytes:
    return msgspec.json.encode({"v": VERSION, "id": request_id, "ok": True, "data": data})


def encode_refusal(request_id: RequestId, error: OtodError, data: Any = None) -> bytes:
    """data: with several users, each one's own error; left out otherwise."""
    frame: dict[str, Any] = {"v": VERSION, "id": request_id, "ok": False, "error": error_object(error)}
    if data is not None:
        frame["data"] = data
    return msgspec.json.encode(frame)


def error_object(error: OtodError) -> dict[str, Any]:
    """{"code", "message", "hint"}; hint None where there is nothing to advise."""
    where = f" [{error.where}]" if error.where else ""
    code = error.code if error.code in CODES else "INTERNAL"
    return {"code": code, "message": f"{error.what}{where}", "hint": error.do or None}


def encode_event(topic: str, *, boot: str, seq: int, at_ms: int, kind: str, payload: Mapping[str, Any]) -> bytes:
    """`topic {"v":1,"boot":…,"seq":…,"at":…,"kind":…, payload…}`. Subscribers match on `topic` with the space."""
    head = {"v": VERSION, "boot": boot, "seq": seq, "at": rfc3339(at_ms), "kind": kind}
    return topic.encode() + b" " + msgspec.json.encode(head | plain(payload))


def decode_event(frame: bytes) -> tuple[str, dict[str, Any]]:
    """The other side of encode_event. Raises: ValueError, a frame without a space or with something else than JSON."""
    topic, _, document = frame.partition(b" ")
    return topic.decode(), msgspec.json.decode(document, type=dict[str, Any])


# -- values


def amount(value: Decimal) -> str:
    """Exact decimal text without exponent and trailing zeros: Decimal("48.0240") is "48.024", Decimal("1E+2") "100"."""
    assert value.is_finite(), value
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def rounded(value: Decimal, places: int) -> str:
    """Decimal text rounded to so many places, for percentages and basis points: never for money."""
    return amount(round(value, places))


PRICE_DIGITS = 8
PRICE_PLACES_MAX = 18


def mean_price_text(value: Decimal) -> str:
    """Decimal text with so many digits behind the point, or so many that count where the token is that cheap."""
    return rounded(value, min(PRICE_PLACES_MAX, max(PRICE_DIGITS, PRICE_DIGITS - 1 - value.adjusted())))


def rfc3339(at_ms: int) -> str:
    """1795168800000 is "2026-11-20T10:00:00.000Z"."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """RFC 3339 with a zone, or a date (its midnight UTC), as ms since 1970. Raises: ValueError with the reason."""
    if not _TIME_FORM.fullmatch(text):
        raise ValueError("is no time like 2026-11-20T10:00:00Z, nor a date like 2026-11-20")
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is beyond the years 1 to 9999 in UTC") from None
    return (moment - _EPOCH) // timedelta(milliseconds=1)


TIME_MS_MIN = 100_000_000_000  # 1973: no duration that we tell is as long, so a larger number of ms is a moment


def plain(value: Any) -> Any:
    """A tree that JSON can hold: amounts as text, structs as objects, moments as RFC 3339.

    A moment is a whole number of ms since 1970 under a name that ends in `_ms`, `_at` or `_time`; `since_ms` is sent as
    `since`, other `…_ms` as `…_at`.
    """
    if isinstance(value, Decimal):
        return amount(value)
    if isinstance(value, Struct):
        return plain(msgspec.structs.asdict(value))
    if isinstance(value, Mapping):
        return dict(_plain_item(str(name), item) for name, item in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)


def _plain_item(name: str, value: Any) -> tuple[str, Any]:
    is_moment = isinstance(value, int) and value >= TIME_MS_MIN and name.endswith(("_ms", "_at", "_time"))
    if not is_moment:
        return name, plain(value)
    outside = {"since_ms": "since", "at_ms": "happened_at"}.get(name) or re.sub(r"_ms$", "_at", name)
    return outside, rfc3339(value)


# -- help in errors


def echo(value: Any) -> str:
    """A wrong value as an error shows it: quoted, cut, on one line."""
    text = repr(str(value) if isinstance(value, Decimal) else value)
    return text if len(text) <= ECHO_CHARS_MAX else f"{text[:ECHO_CHARS_MAX]}…"


def did_you_mean(word: str, known: Iterable[str], *, say: str = "", most: int = 8) -> str:
    """A hint: the nearest known word, else what there is (`say` introduces the list)."""
    from difflib import get_close_matches  # 3 ms to import, and only mistakes need it

    words = sorted(known)
    among = words if len(words) <= NEAR_AMONG_MAX else [each for each in words if each[:1] == word[:1]]
    near = get_close_matches(word[:ECHO_CHARS_MAX], among[:NEAR_AMONG_MAX], n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    if not words or not say:
        return ""
    more = f" … ({len(words)} in all)" if len(words) > most else ""
    return f"{say} {', '.join(words[:most])}{more}"

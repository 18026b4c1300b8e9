"""The frame around every REST payload: `{"code", "message", "messageDetail", "data", "success"}` (wire § 1.2).

Keys may be absent, null, or of a surprising type (`messageDetail` was an object once); only the code counts. Two forms
without that frame are read as well: the spot family's errors `{"code": -1003, "msg": "…"}` (wire § 9), and a bare
`{"listenKey": "…"}` (wire § 10.3).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from actors.exchange.shapes import redact

SUCCESS = "000000"
BODY_MAX = 32 * 1024 * 1024  # bytes; exchange info of 735 symbols has 2 MB


class Envelope(Struct, frozen=True):
    """code: as text, leading zeros matter; "-1003" for the spot family's number. data: `null` when absent."""

    code: str
    text: str
    data: Raw
    success: bool | None
    total: int | None
    spot: bool


class _Wire(Struct):
    code: str | int | None = None
    message: Any = None
    msg: Any = None
    messageDetail: Raw = Raw(b"null")  # of any type; not even its JSON matters
    data: Raw = Raw(b"null")
    success: Any = None
    total: Any = None
    listenKey: Raw | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(_Wire, float_hook=str)


def read_envelope(body: bytes) -> Envelope | None:
    """None when the body is no envelope: no JSON, no object, no code. Never raises."""
    if len(body) > BODY_MAX:
        return None
    try:
        wire = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if wire.code is None:
        if wire.listenKey is msgspec.UNSET:
            return None
        return Envelope(SUCCESS, "", Raw(body), None, None, False)
    if wire.success is not None and type(wire.success) is not bool:
        return None
    code = redact(str(wire.code))
    return Envelope(
        code=code,
        text=_first_text(wire.message, wire.msg),
        data=wire.data,
        success=wire.success,
        total=wire.total if type(wire.total) is int and wire.total >= 0 else None,
        spot=code.startswith("-"),
    )


def _first_text(*candidates: Any) -> str:
    return next((text for text in candidates if type(text) is str and text), "")

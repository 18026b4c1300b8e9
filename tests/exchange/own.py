"""Our own samples (tests/data/exchange), as the bytes of a reply or a frame."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Raw

from actors.exchange.classify import Success, classify

_DATA = Path(__file__).resolve().parents[1] / "data" / "exchange"


def _load(name: str) -> dict[str, Raw]:
    return msgspec.json.decode((_DATA / name).read_bytes(), type=dict[str, Raw])


REPLIES = _load("replies.json")
FRAMES = _load("frames.json")


def reply(name: str) -> bytes:
    return bytes(REPLIES[name])


def data_of(name: str) -> Raw:
    """The payload of a reply, unwrapped as the gateways do it."""
    verdict = classify(200, {}, reply(name), "read")
    assert isinstance(verdict, Success)
    return verdict.data


def frame(name: str, *changes: tuple[str, str]) -> bytes:
    """The frame, each (old, new) replaced in its text."""
    text = bytes(FRAMES[name]).decode()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text.encode()


def raw(text: str) -> Raw:
    return Raw(text.encode())

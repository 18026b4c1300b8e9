"""What must never be read in a log: cookies, csrf tokens, listen keys, keys and ciphertexts of the vault. Pure.

Two nets, one above the other: fields are hidden by their name whatever they hold, and texts are searched for what such
secrets look like, because an exception or a library's message may carry one anywhere. Hiding too much is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

HIDDEN = "[hidden]"
DEPTH_MAX = 8  # deeper than anything we log
SHORT = 25  # characters; the shortest secret known by its look has more
SEPARATOR = re.compile("[:=,]| -b|--cookie")
TEXT_MAX = 8_000  # characters of one text: a body of an answer must not fill the journal

NAMES = re.compile(
    r"(set)?cookies?|csrftoken|listenkeys?|authorization|password|secrets?|credentials|ciphertext|headers|curl"
    r"|(master|vault|private|fernet|api)keys?|p20t|cr00|d1og|r2o1|f30l|s9r1"
)
"""Names of fields, in lower case and without - and _, whose values are hidden whole. The last are session cookies."""

_NAME = r"(?:(?:set-)?cookies?|csrftoken|authorization|p20t|cr00|d1og|r2o1|f30l|s9r1|listen_?key)"
_IS = r"\\?[\"']?\s*[:=,]\s*b?\\?"
PATTERNS = (
    # a header, an item of a dict or a list of pairs, a keyword: name, separator, quoted text or the rest of the line
    (re.compile(rf"(?i)(\b{_NAME}{_IS})(?:\{{[^}}]*\}}|\"[^\"\r\n]*\"?|'[^'\r\n]*'?|[^\r\n]+)"), rf"\1{HIDDEN}"),
    # curl's options for cookies
    (re.compile(r"(?i)((?:^|\s)(?:-b|--cookie)[\s=]+)(?:\$?'[^']*'?|\"[^\"]*\"?|\S+)"), rf"\1{HIDDEN}"),
    # listen keys and most session cookies: 32 or more hexadecimal digits; other long tokens
    (re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{32,}(?![0-9A-Za-z])"), HIDDEN),
    (re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{60,}(?![0-9A-Za-z])"), HIDDEN),
    # a vault key (44 characters of base64), what it encrypted, signed web tokens
    (re.compile(r"(?<![\w-])[\w-]{43}="), HIDDEN),
    (re.compile(r"gAAAA[\w-]{20,}=*"), HIDDEN),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
)


def redact(value: Any, depth: int = 0) -> Any:
    """The value as plain data (text, numbers, lists, dicts) without secrets."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= DEPTH_MAX:
        return redact_text(repr(value))
    match value:
        case str():
            return redact_text(value)
        case bytes() | bytearray():
            return redact_text(value.decode("latin-1"))
        case Decimal():
            return str(value)
        case msgspec.Struct():
            return redact(msgspec.structs.asdict(value), depth + 1)
        case Mapping():
            return {
                str(redact(name, depth + 1)): HIDDEN if is_secret(name) else redact(item, depth + 1)
                for name, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [redact(item, depth + 1) for item in value]
        case BaseException():
            return redact_text(f"{type(value).__name__}: {value}")
        case _:
            return redact_text(repr(value))


def redact_text(text: str) -> str:
    if len(text) < SHORT and not SEPARATOR.search(text):  # most fields: too short for a key, and no name with a value
        return text
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… ({len(text)} characters)"


def is_secret(name: object) -> bool:
    text = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    return NAMES.fullmatch(text.lower().replace("-", "").replace("_", "")) is not None

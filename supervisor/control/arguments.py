"""Arguments of commands as data, and what a value must be. Pure, and quick to import."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from supervisor.control.protocol import USER_NAME, parse_time

Kind = Literal[
    "text", "user", "users", "flag", "count", "time", "setting", "names", "document", "secret", "secrets"
]  # fmt: skip

TYPES: Mapping[Kind, str] = {
    "text": "text of at most 200 characters; of `choices` or matching `form` where it has them",
    "user": "the name of a user: [a-z0-9_-]{1,32}",
    "users": "a list of 1 to 10000 such names",
    "flag": "true or false",
    "count": "a whole number from `least` to `most`",
    "time": "RFC 3339 with a zone, 2026-11-20T10:00:00Z, or a date, 2026-11-20 (its midnight UTC)",
    "setting": "a value of the trading configuration: an amount (decimal text or a number), a word, a list of words",
    "names": "a list of texts, or a text with commas between them",
    "document": "an object: a users document, parsed from TOML",
    "secret": "a text of at most 262144 characters, never repeated",
    "secrets": "an object of at most 400 texts, never repeated",
}
"""What system.commands says of each kind."""

TEXT_CHARS_MAX = 200
USERS_MAX = 10_000
NAMES_MAX = 50
SECRET_CHARS_MAX = 256 * 1024  # a pasted request; a browser's whole session has some 10 kB
SECRETS_MAX = 400
LIMIT_MAX = 1000  # a page that a reply frame and a reader can hold
QUIET: frozenset[Kind] = frozenset({"document", "secret", "secrets"})
"""Kinds whose values are never repeated, not even in an error."""


class Argument(Struct, frozen=True, kw_only=True):
    """One argument of a command.

    kind: see TYPES; a time is handed to the command as ms. form: what a text must match. choices: the only words.
    """

    name: str
    kind: Kind
    about: str
    required: bool = False
    default: str | int | bool | None = None
    choices: tuple[str, ...] = ()
    form: str = ""
    least: int = 1
    most: int = 1


class Command(Struct, frozen=True, kw_only=True):
    """One command. acts: it changes something, so a repeated request is answered from memory (design § 10).

    on_users: takes `user`, `users` or `all`, and is performed and answered for each user by itself. common: also for
    callers that are limited to certain users, and about what those see.
    """

    name: str
    about: str
    args: tuple[Argument, ...] = ()
    acts: bool = False
    on_users: bool = False
    common: bool = False
    example: dict[str, Any] = {}

    @property
    def area(self) -> str:
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(".")[2]


def value_of(argument: Argument, value: Any) -> Any:
    """Raises: ValueError with what is allowed; the text follows the name and the value."""
    match argument.kind:
        case "text":
            return _text(argument, value)
        case "user":
            return _user(value)
        case "users":
            if not isinstance(value, list) or not 1 <= len(value) <= USERS_MAX:
                raise ValueError(f"must be a list of 1 to {USERS_MAX} user names")
            return tuple(dict.fromkeys(_user(name) for name in value))
        case "flag":
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
            return value
        case "count":
            if not isinstance(value, int) or isinstance(value, bool) or not argument.least <= value <= argument.most:
                raise ValueError(f"must be a whole number from {argument.least} to {argument.most}")
            return value
        case "setting":
            return _setting(value)
        case "names":
            return _names(value)
        case "document":
            if not isinstance(value, dict):
                raise ValueError("must be an object")
            return value
        case "secret":
            if not isinstance(value, str) or not 1 <= len(value) <= SECRET_CHARS_MAX:
                raise ValueError(f"must be text of 1 to {SECRET_CHARS_MAX} characters")
            return value
        case "secrets":
            if not isinstance(value, dict) or len(value) > SECRETS_MAX:
                raise ValueError(f"must be an object of at most {SECRETS_MAX} texts")
            return value
        case "time":
            if not isinstance(value, str):
                raise ValueError("must be text like 2026-11-20T10:00:00Z")
            return parse_time(value)


def _text(argument: Argument, value: Any) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise ValueError(f"must be text of at most {TEXT_CHARS_MAX} characters")
    if argument.choices and value not in argument.choices:
        raise ValueError(f"must be one of {', '.join(argument.choices)}")
    if argument.form and not re.fullmatch(argument.form, value):
        raise ValueError(f"must look like {argument.about.removeprefix('e.g. ')} ({argument.form})")
    return value


def _user(value: Any) -> str:
    if not isinstance(value, str) or not USER_NAME.fullmatch(value):
        raise ValueError(f"must be a user name: {USER_NAME.pattern}")
    return value


def _setting(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= TEXT_CHARS_MAX:
        return value
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return value
    return _names(value, "must be text, a number, or a list of texts")


def _names(value: Any, otherwise: str = "") -> tuple[str, ...]:
    """A list of texts; one text stands for a list of its words between commas."""
    words = value.split(",") if isinstance(value, str) and not otherwise else value
    if not isinstance(words, list) or len(words) > NAMES_MAX:
        raise ValueError(otherwise or f"must be a list of at most {NAMES_MAX} texts")
    if not all(isinstance(word, str) and len(word) <= TEXT_CHARS_MAX for word in words):
        raise ValueError(otherwise or f"must be a list of texts of at most {TEXT_CHARS_MAX} characters")
    return tuple(word.strip() for word in words)

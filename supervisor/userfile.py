"""The users document (`etc/users.toml`, `otoctl user apply`) and the trading configuration, checked as a whole.

    [users.alice]
    trading = { token = "KOGE", target_volume = "500", order_amount = "50", buy_offset = "0.05", sell_offset = "-0.05" }
    credentials = { cookies = { paper_account = "alice" }, headers = {} }     # or credentials_file = "alice.json"

All that is wrong is said at once, with key, value and what is allowed; nobody is taken over from a document with a
mistake in it. Upper limits guard against slips of the decimal point: beyond them a value is refused unless `force`.
What depends on the token (grids, minimum amounts) is judged when a pair is sized, not here.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from actors.domain.trading import AUTO_RESUMABLE, PAUSE_REASONS, TradingConfig
from supervisor.document import (
    Amount,
    ListOf,
    Problem,
    Problems,
    Rule,
    Text,
    Whole,
    Word,
    Wrong,
    near,
    parse_file,
    show,
    unknown,
)
from supervisor.users import Secrets, UserWish

USER_NAME = r"[a-z0-9_-]{1,32}"  # contract § 3
KEYS_MAX = 400  # of one table: a browser's session has some 60 cookies, a configuration 18 keys
PROBLEMS_MAX = 500  # that one answer names; a document of a megabyte could hold 100,000, and each takes its time
ORDER_SYMBOL = re.compile(r"ALPHA_[0-9]+(USDT|USDC|U)", re.ASCII | re.IGNORECASE).fullmatch
CREDENTIALS_BYTES_MAX = 256 * 1024  # a browser's whole session has some 10 kB
SECRET_CHARS = re.compile(r"[^\x00-\x1f\x7f]*").fullmatch  # what a header line can carry
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII).fullmatch


class _Token:
    """A short name; the catalogue says later whether it exists."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,64}", value):
            raise Wrong('the short name of a token, "KOGE"')
        if ORDER_SYMBOL(value):
            raise Wrong('the short name of a token, "KOGE", never an order symbol')
        return value


class _Reasons:
    """A list of pause reasons (or text with commas) that may end by themselves."""

    def read(self, value: Any) -> tuple[str, ...]:
        words = [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value
        return ListOf(_Reason()).read(words)


class _Reason:
    def read(self, value: Any) -> str:
        if isinstance(value, str) and value in AUTO_RESUMABLE:
            return value
        if isinstance(value, str) and value in PAUSE_REASONS:
            raise Wrong(f"a reason that may end by itself: {', '.join(sorted(AUTO_RESUMABLE))}")
        raise Wrong(f"one of {', '.join(sorted(AUTO_RESUMABLE))}{near(value, AUTO_RESUMABLE)}")


_PERCENT, _USDT, _S = " in percent", " in USDT", " of seconds"

TRADING: Mapping[str, Rule[Any]] = {
    "token": _Token(),
    "target_volume": Amount("0", "1e12", above=True, unit=_USDT),
    "target_points": Whole(1, 40),
    "order_amount": Amount("0", "1e12", above=True, unit=_USDT),
    "order_quantity": Amount("0", "1e18", above=True, unit=" of the token"),
    "offset_mode": Word("percentage", "fixed"),
    "buy_offset": Amount("-1e9", "1e9"),
    "sell_offset": Amount("-1e9", "1e9"),
    "reference": Word("last"),
    "timeout_seconds": Amount("1", "86400", unit=_S),
    "volatility_threshold": Amount("0", "1000", above=True, unit=_PERCENT),
    "interval_seconds": Amount("0", "86400", unit=_S),
    "unwind_step_percent": Amount("0", "100", above=True, unit=_PERCENT),
    "unwind_step_seconds": Amount("0.5", "3600", unit=_S),
    "unwind_floor_percent": Amount("0", "99", unit=_PERCENT),
    "max_wear_usdt": Amount("0", "1e12", above=True, unit=_USDT),
    "max_wear_bps": Amount("0", "10000", above=True, unit=" in bps"),
    "auto_resume": _Reasons(),
}

SLIPS: Mapping[str, Decimal] = {
    "target_volume": Decimal(1_000_000),  # 19 points of a token without multiplier
    "target_points": Decimal(20),  # 2^20 is a million USDT
    "order_amount": Decimal(50_000),  # hundreds of times the mean trade of a token (128 USD, probes § 7)
    "volatility_threshold": Decimal(50),
    "unwind_step_percent": Decimal(5),
    "unwind_floor_percent": Decimal(20),
}
"""Key -> the largest value that is taken for meant. Beyond it: a slip, unless forced."""

OFFSET_SLIP = Decimal(20)  # percent
ONE_OF = (("target_volume", "target_points"), ("order_amount", "order_quantity"))
REQUIRED = ("token", "buy_offset", "sell_offset")


def check_trading(
    mapping: Any, *, force: bool = False, where: str = "trading"
) -> tuple[TradingConfig | None, tuple[Problem, ...]]:
    """A trading configuration as somebody wrote it: (the configuration, ()) or (None, everything that is wrong).

    Args:
        mapping: keys of requirements.md "Trading configuration"; amounts text, int or Decimal; None counts as absent.
        force: values beyond the limits against slips are meant.
    """
    if not isinstance(mapping, Mapping):
        return None, (Problem(where, show(mapping), "a table"),)
    if len(mapping) > KEYS_MAX:
        return None, (Problem(where, None, f"a table of {len(mapping)} keys; there are {len(TRADING)}"),)
    written = {str(key): value for key, value in mapping.items() if value is not None}
    problems: list[Problem] = []
    found: dict[str, Any] = {}
    for key, value in written.items():
        rule = TRADING.get(key)
        if rule is None:
            problems.append(Problem(f"{where}.{key}", None, unknown(key, TRADING, {})))
            continue
        try:
            found[key] = rule.read(value)
        except Wrong as wrong:
            problems.append(Problem(f"{where}.{key}", show(value), f"allowed: {wrong}"))
    for key in REQUIRED:
        if key not in written:
            problems.append(Problem(f"{where}.{key}", None, "missing; it is required"))
    for pair in ONE_OF:
        given = [key for key in pair if key in written]
        if len(given) != 1:
            count = "both are there" if given else "missing"
            problems.append(Problem(f"{where}.{pair[0]}", None, f"{count}; exactly one of {' and '.join(pair)}"))
    if not force:
        problems += _slips(found, where)
    problems += _impossible(found, where)
    if problems:
        return None, tuple(problems)
    return TradingConfig(**found), ()


def _slips(found: Mapping[str, Any], where: str) -> list[Problem]:
    limits = dict(SLIPS)
    if found.get("offset_mode", "percentage") == "percentage":
        limits |= {"buy_offset": OFFSET_SLIP, "sell_offset": OFFSET_SLIP}
    return [
        Problem(f"{where}.{key}", show(found[key]), f"beyond {limit:f}: a slip of the decimal point? If meant: --force")
        for key, limit in limits.items()
        if key in found and abs(found[key]) > limit
    ]


def _impossible(found: Mapping[str, Any], where: str) -> list[Problem]:
    """A percentage that leaves no price; not even force makes sense of it."""
    if found.get("offset_mode", "percentage") != "percentage":
        return []
    return [
        Problem(f"{where}.{key}", show(found[key]), "allowed: above -100 percent, else no price is left")
        for key in ("buy_offset", "sell_offset")
        if key in found and found[key] <= -100
    ]


# -- users

USER_KEYS = ("display_name", "email", "trading", "credentials", "credentials_file")
_DISPLAY_NAME = Text(
    r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]{0,100}",  # nor what turns the writing around
    "text of at most 100 characters, in one line",
)
_EMAIL = Text(r"|[^\s@]{1,64}@[^\s@]{1,190}", "an e-mail address")


def load_users(source: Path | Mapping[str, Any], *, force: bool = False) -> tuple[UserWish, ...]:
    """The users that a document asks for, in its order.

    source: a file, whose credentials_file entries are relative to it; or a parsed document (of a control frame), in
    which nobody may name files of this machine.
    Raises: Problems, everything that is wrong at once (never showing a secret); ConfigError, an unreadable file.
    """
    if isinstance(source, Path):
        return _users(parse_file(source), force, base=source.parent, label=str(source))
    return _users(source, force, base=None, label="the users document")


def _users(document: Mapping[str, Any], force: bool, *, base: Path | None, label: str) -> tuple[UserWish, ...]:
    problems: list[Problem] = []
    wishes: list[UserWish] = []
    strangers = (str(key) for key in document if key != "users")
    problems += [Problem(key, None, unknown(key, ["users"], {})) for key in islice(strangers, KEYS_MAX)]
    users = document.get("users", {})
    if not isinstance(users, Mapping) or not users:
        problems.append(Problem("users", None, "missing: one table [users.NAME] for each user"))
        users = {}
    for name, table in users.items():
        if len(problems) >= PROBLEMS_MAX:
            problems.append(Problem("users", None, "there may be more wrong: mend these first"))
            break
        wish, wrong = check_user(str(name), table, force=force, base=base)
        problems += wrong
        if wish is not None:
            wishes.append(wish)
    if problems:
        raise Problems(problems, where=label)
    return tuple(wishes)


def check_user(
    name: str, table: Any, *, force: bool = False, base: Path | None = None
) -> tuple[UserWish | None, tuple[Problem, ...]]:
    """One user as somebody wrote it; base: where relative credentials_file are, None: none may be named."""
    where = f"users.{name}"
    problems: list[Problem] = []
    if not re.fullmatch(USER_NAME, name):
        problems.append(Problem(where, None, "allowed in a user name: a-z 0-9 _ -, at most 32 characters"))
    if not isinstance(table, Mapping):
        return None, (*problems, Problem(where, show(table), "a table"))
    if len(table) > KEYS_MAX:
        return None, (*problems, Problem(where, None, f"a table of {len(table)} keys; there are {len(USER_KEYS)}"))
    strangers = [str(key) for key in table if key not in USER_KEYS]
    problems += [Problem(f"{where}.{key}", None, unknown(key, USER_KEYS, {})) for key in strangers]
    texts: dict[str, str | None] = {}
    for key, rule in (("display_name", _DISPLAY_NAME), ("email", _EMAIL)):
        try:
            texts[key] = None if table.get(key) is None else rule.read(table[key])
        except Wrong as wrong:
            problems.append(Problem(f"{where}.{key}", show(table[key]), f"allowed: {wrong}"))
    trading: TradingConfig | None = None
    if table.get("trading") is not None:
        trading, wrong_keys = check_trading(table["trading"], force=force, where=f"{where}.trading")
        problems += wrong_keys
    secrets, wrong_secrets = _secrets(table, where, base)
    problems += wrong_secrets
    if problems:
        return None, tuple(problems)
    wish = UserWish(
        user=name, display_name=texts["display_name"], email=texts["email"], trading=trading, secrets=secrets
    )
    return wish, ()


def _secrets(table: Mapping[str, Any], where: str, base: Path | None) -> tuple[Secrets | None, list[Problem]]:
    """Credentials of a user's table. No problem ever shows a value."""
    inline, file = table.get("credentials"), table.get("credentials_file")
    if file is None:
        return check_secrets(inline, f"{where}.credentials") if inline is not None else (None, [])
    at = f"{where}.credentials_file"
    if inline is not None:
        return None, [Problem(at, None, "there are credentials as well; exactly one of the two")]
    if base is None:
        return None, [Problem(at, None, "a file of another machine; put the credentials into the document")]
    if not isinstance(file, str) or not file:
        return None, [Problem(at, show(file), 'allowed: the path of a JSON file {"cookies": {…}, "headers": {…}}')]
    try:
        data = (base / file).read_bytes()
    except OSError as error:
        return None, [Problem(at, show(file), f"cannot be read: {error.strerror}")]
    if len(data) > CREDENTIALS_BYTES_MAX:
        return None, [Problem(at, show(file), f"larger than {CREDENTIALS_BYTES_MAX} bytes: not a credentials file")]
    try:
        document = msgspec.json.decode(data.removeprefix(BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, [Problem(at, show(file), 'no JSON of the form {"cookies": {…}, "headers": {…}}')]
    return check_secrets(document, at)


def check_secrets(document: Any, where: str) -> tuple[Secrets | None, list[Problem]]:
    """{"cookies": {name: value}, "headers": {name: value}}, either may be absent, not both empty."""
    if not isinstance(document, Mapping):
        return None, [Problem(where, None, "a table with cookies and headers")]
    if any(len(each) > KEYS_MAX for each in (document, *document.values()) if isinstance(each, Mapping)):
        return None, [Problem(where, None, f"more than {KEYS_MAX} cookies or headers")]
    problems = [
        Problem(f"{where}.{key}", None, unknown(str(key), ["cookies", "headers"], {}))
        for key in document
        if key not in ("cookies", "headers")
    ]
    found: dict[str, dict[str, str]] = {}
    for kind in ("cookies", "headers"):
        values = document.get(kind, {})
        if not isinstance(values, Mapping):
            problems.append(Problem(f"{where}.{kind}", None, "a table of names and texts"))
            continue
        for name, value in values.items():
            if not isinstance(name, str) or not HEADER_NAME(name):
                problems.append(Problem(f"{where}.{kind}", None, f"a name that HTTP cannot carry: {show(name)}"))
            elif not isinstance(value, str) or not SECRET_CHARS(value):
                problems.append(Problem(f"{where}.{kind}.{name}", None, "text in one line, without control characters"))
        found[kind] = dict(values)
    if not problems and not any(found.values()):
        problems.append(Problem(where, None, "neither a cookie nor a header"))
    if problems:
        return None, problems
    return Secrets(cookies=found["cookies"], headers=found["headers"]), []

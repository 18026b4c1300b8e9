"""Reads a parsed TOML document into frozen structs, key by key, and says everything that is wrong at once.

What may stand under a key is a *rule*, written into the struct's annotation: `x: Annotated[float, Seconds(1, 9)] = 3`.
So key, type, bounds and default stand in one line, and neither a test nor a reader has to look elsewhere.
A key that no struct has is an error with the nearest word. Numbers never pass through a float before they are judged:
documents are parsed with `parse_float=Decimal`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, get_args, get_type_hints

from msgspec import Struct

from actors.adapters.dialer import endpoint
from actors.domain.money import EXACT
from actors.errors import ConfigError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S", bound=Struct)

SHOWN_CHARS = 60  # of a wrong value, in an error
INTEGERS, DECIMALS = 20, 18  # of an amount: what DECIMAL(38,18) holds


class Problem(Struct, frozen=True):
    """One thing that is wrong. key: its path, "exchange.mode"; value: as written, None if absent or a secret."""

    key: str
    value: str | None
    allowed: str  # what may stand there, or what to do

    def __str__(self) -> str:
        written = "" if self.value is None else f" = {self.value}"
        return f"{self.key}{written}: {self.allowed}"


class Problems(ConfigError):
    """A document with something wrong in it. problems: all of it, in the order of the document."""

    def __init__(self, problems: Iterable[Problem], *, where: str) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} mistake{'s' if count > 1 else ''}"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{head} in {where}{lines}")


class Wrong(Exception):
    """Raised by rules; its text says what is allowed."""


class Rule(Protocol[T_co]):
    def read(self, value: Any) -> T_co:
        """The value as the struct holds it. Raises: Wrong."""
        ...


# -- rules


class Number:
    """A number of the document (not text), low to high, as float: seconds, rates, factors."""

    unit = ""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def read(self, value: Any) -> float:
        if not _is_number(value) or not self.low <= value <= self.high:
            raise Wrong(f"a number{self.unit} from {self.low:g} to {self.high:g}")
        return float(value)


class Seconds(Number):
    unit = " of seconds"


class Whole:
    """A whole number, low to high; digits in text are taken too (the command line has nothing else)."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def read(self, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise Wrong(f"a whole number from {self.low} to {self.high}")
        return value


class Amount:
    """An exact decimal, text or number of the document. above: low itself is not allowed."""

    def __init__(self, low: str, high: str, *, above: bool = False, unit: str = "") -> None:
        self.low, self.high, self.above, self.unit = Decimal(low), Decimal(high), above, unit

    def read(self, value: Any) -> Decimal:
        amount = _decimal(value)
        if amount is None or amount > self.high or amount < self.low or (self.above and amount == self.low):
            written = f", written like 50 or 0.05, at most {DECIMALS} digits after the point" if amount is None else ""
            bounds = f"{'above' if self.above else 'from'} {self.low:f} to {self.high:f}"
            raise Wrong(f"an amount{self.unit} {bounds}{written}")
        return amount


def _decimal(value: Any) -> Decimal | None:
    """None: no plain decimal that DECIMAL(38,18) holds. Floats are refused: they lost digits before they came here."""
    if isinstance(value, str) and _PLAIN(value.strip()):
        amount = Decimal(value.strip())
    elif _is_number(value):
        amount = Decimal(value)
    else:
        return None
    exponent = amount.as_tuple().exponent
    too_large = amount and amount.adjusted() >= INTEGERS  # asked without arithmetic, which 1e400000000 would overflow
    if not isinstance(exponent, int) or exponent < -DECIMALS or too_large:
        return None
    return EXACT.quantize(amount, Decimal(1)) if exponent > 0 else EXACT.plus(amount)  # 1e3 is 1000, -0 is 0


def _is_number(value: Any) -> bool:
    """TOML's inf and nan are numbers there, not here; a bool is an int to Python."""
    return not isinstance(value, bool) and (
        isinstance(value, int) or (isinstance(value, Decimal) and value.is_finite())
    )


_PLAIN = re.compile(rf"[+-]?[0-9]{{1,{INTEGERS}}}(\.[0-9]{{1,{DECIMALS}}})?", re.ASCII).fullmatch


class Word:
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def read(self, value: Any) -> str:
        if isinstance(value, str) and value in self.words:
            return value
        raise Wrong(f"{_listed(self.words)}{near(value, self.words)}")


class Text:
    """Text that a pattern matches as a whole. allowed: the pattern in words."""

    def __init__(self, pattern: str, allowed: str) -> None:
        self._matches = re.compile(pattern).fullmatch
        self.allowed = allowed

    def read(self, value: Any) -> str:
        if isinstance(value, str) and self._matches(value):
            return value
        raise Wrong(self.allowed)


class Url:
    """scheme "http" or "ws": the encrypted form of it, the plain one to loopback only. path: may it have one?"""

    def __init__(self, scheme: str, *, path: bool) -> None:
        self.scheme, self.path = scheme, path

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong(f"a URL {self.scheme}s://host[:port]")
        try:
            found = endpoint(value, plain=self.scheme, secure=f"{self.scheme}s", where="")
        except ConfigError as error:
            raise Wrong(f"{error.what}; {error.do} (plain {self.scheme}:// only to loopback)") from None
        if not self.path and found.target != "/":
            raise Wrong(f"{self.scheme}s://host[:port] without a path")
        return value


class Auto(Generic[T]):
    """What the rule allows, or "auto": None in the struct, decided by whoever uses it."""

    def __init__(self, rule: Rule[T]) -> None:
        self.rule = rule

    def read(self, value: Any) -> T | None:
        if value == "auto":
            return None
        try:
            return self.rule.read(value)
        except Wrong as wrong:
            raise Wrong(f'"auto", or {wrong}') from None


class ListOf(Generic[T]):
    """A list, each element by the rule, none twice."""

    def __init__(self, rule: Rule[T]) -> None:
        self.rule = rule

    def read(self, value: Any) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise Wrong("a list")
        found: list[T] = []
        for element in value:
            try:
                read = self.rule.read(element)
            except Wrong as wrong:
                raise Wrong(f"each element: {wrong} (not {show(element)})") from None
            if read in found:
                raise Wrong(f"each element once ({show(element)} stands there twice)")
            found.append(read)
        return tuple(found)


class MapOf(Generic[T]):
    """A table: keys by one rule, values by another."""

    def __init__(self, keys: Rule[str], values: Rule[T]) -> None:
        self.keys, self.values = keys, values

    def read(self, value: Any) -> dict[str, T]:
        if not isinstance(value, Mapping):
            raise Wrong("a table")
        found: dict[str, T] = {}
        for key, element in value.items():
            try:
                found[self.keys.read(key)] = self.values.read(element)
            except Wrong as wrong:
                raise Wrong(f"{key}: {wrong}") from None
        return found


class Flag:
    def read(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise Wrong("true or false")
        return value


class SecretUrls:
    """A list of URLs that may hold secrets: none of them is shown, wrong ones by their place in the list."""

    secret = True

    def read(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise Wrong("a list of URLs")
        for number, each in enumerate(value, start=1):
            if not isinstance(each, str) or not re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", each):
                raise Wrong(f"a list of URLs, SERVICE://…; element {number} is none")
        if len(set(value)) < len(value):
            raise Wrong("a list of URLs, each of them once")
        return tuple(value)


class UidOrName:
    """A numeric uid, or the name of a group or user, as the system knows it."""

    def read(self, value: Any) -> int | str:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 - 1:
            return value
        if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", value):
            return value
        raise Wrong("a uid (number) or the name of a group or user")


# -- documents


def parse_file(path: Path) -> dict[str, Any]:
    """Raises: ConfigError: unreadable, or no TOML."""
    try:
        text = path.read_bytes().decode("utf-8-sig")  # some editors begin a file with a mark
    except OSError as error:
        raise ConfigError(f"cannot read it: {error.strerror}", where=str(path), do="name another file") from None
    except UnicodeDecodeError:
        raise ConfigError("it is not UTF-8 text", where=str(path), do="save it as UTF-8") from None
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f"no TOML: {error}", where=str(path), do="compare with the example in etc/") from None


def read_table(
    kind: type[S], table: Any, problems: list[Problem], *, path: str = "", words: Mapping[str, str] | None = None
) -> S:
    """The table as a `kind`; what is wrong is added to problems and stands at its default in the result.

    kind: all fields have defaults and a rule each, or are tables themselves. words: key -> "in [section]", to say where
    a misplaced key belongs.
    """
    if not isinstance(table, Mapping):
        problems.append(Problem(path, show(table), "a table"))
        return kind()
    rules = rules_of(kind)
    found: dict[str, Any] = {}
    for key, value in table.items():
        at = f"{path}.{key}" if path else str(key)
        rule = rules.get(key)
        if rule is None:
            problems.append(Problem(at, None, unknown(key, rules, words or {})))
        elif isinstance(rule, type):
            found[key] = read_table(rule, value, problems, path=at, words=words)
        else:
            try:
                found[key] = rule.read(value)
            except Wrong as wrong:
                shown = None if getattr(rule, "secret", False) else show(value)
                problems.append(Problem(at, shown, f"allowed: {wrong}"))
    return kind(**found)


def rules_of(kind: type[Struct]) -> dict[str, Any]:
    """Key -> its rule, or the struct of its sub-table."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint if isinstance(hint, type) else get_args(hint)[1] for name, hint in hints.items()}


def unknown(key: str, known: Iterable[str], elsewhere: Mapping[str, str]) -> str:
    known = list(known)
    hint = f"; it belongs {elsewhere[key]}" if key in elsewhere else near(key, known)
    return f"no such key{hint or f'; known are {_listed(known)}'}"


def near(value: Any, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(value[:SHOWN_CHARS], list(words), n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]}?" if close else ""


def show(value: Any) -> str:
    """A value as its document wrote it, about, and not at length."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, Mapping):
        text = "a table"
    else:
        text = str(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)

"""What a browser's "copy as cURL" holds, in the forms for bash, cmd and PowerShell; or JSON. Pure.

A session with the exchange is cookies and headers that its owner copies out of a logged-in browser (wire § 2). What is
pasted is read, never run. It is read strictly: exactly one request, only what browsers write; all that is wrong or
missing is said at once, and nothing that is said ever holds a value.

    read_session(text) ─▶ bash | cmd | PowerShell | JSON ─▶ Pasted(url, cookies, headers, left_out)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from actors.adapters.http import OWN_HEADERS
from supervisor.document import Problem, Problems
from supervisor.userfile import CREDENTIALS_BYTES_MAX, HEADER_NAME, SECRET_CHARS, check_secrets
from supervisor.users import Secrets

COOKIES_MAX, HEADERS_MAX = 300, 100  # a browser's session has some 60 and 30
TOKENS_MAX = 4 * (COOKIES_MAX + HEADERS_MAX)
PARTS_MAX = 10_000  # quoted and plain pieces of all words; each costs some 2 µs, in which nobody trades
HOW = 'in the browser: network tab, a request to the exchange, "copy as cURL"'

CALLS_OWN = frozenset({"x-trace-id", "x-ui-request-trace", "pragma", "cache-control", "accept", "priority", "range"})
CALLS_OWN_STARTS = ("if-", "sec-fetch-", "risk_challenge", ":")
"""Headers that belong to the copied call alone: trace ids, caching, and answers to a verification (wire § 2)."""


class Pasted(Struct, frozen=True, kw_only=True):
    """left_out: names of headers that were not taken over."""

    url: str
    secrets: Secrets
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Pasted({self.secrets!r})"


class Unreadable(Exception):
    """What is wrong with the text as a whole; never holds a piece of it."""


def read_session(text: str, *, where: str = "curl", host: str | None = None) -> Pasted:
    """The session that a paste describes.

    host: the exchange's, to which the copied request must have gone, and whose private calls need the header csrftoken
    (wire § 2); None: any, as for a paper exchange, where a cookie alone is an account.
    Raises: Problems, everything that is wrong and missing at once, without any value.
    """
    try:
        if len(text.encode("utf-8", "surrogatepass")) > CREDENTIALS_BYTES_MAX:
            raise Unreadable(f"larger than {CREDENTIALS_BYTES_MAX} bytes: not one copied request")
        if text.lstrip().startswith("{"):
            return _read_json(text, where)
        url, lines, cookies = _form_of(text)(text)
    except Unreadable as error:
        raise Problems([Problem(where, None, str(error))], where="the pasted text") from None
    problems: list[Problem] = []
    pasted = _gather(url, lines, cookies, where, problems)
    if host is not None:
        problems += _lacking(pasted, host, where)
    if problems:
        raise Problems(problems, where="the pasted text")
    return pasted


def _form_of(text: str) -> Callable[[str], _Request]:
    start = text.lstrip()[:40].lower()
    if start.startswith(("invoke-webrequest", "$session")):
        return _read_powershell
    if curl := re.match(r"curl(\.exe)?\s+(?P<first>\$?'|\^\")?", start):
        if curl["first"]:
            return _read_cmd if curl["first"] == '^"' else _read_bash  # values may hold anything: only the start tells
        return _read_cmd if re.search(r"\^[\"\r\n]|\^[ \t]*$", text) else _read_bash
    raise Unreadable(f"neither a copied request nor JSON; {HOW}")


_Request = tuple[str, list[tuple[str, str]], list[str]]
"""URL, header lines as (name, value), cookie lines as "a=b; c=d"."""


# -- what the forms have in common


def _gather(
    url: str, lines: Iterable[tuple[str, str]], cookie_lines: list[str], where: str, problems: list[Problem]
) -> Pasted:
    headers: dict[str, str] = {}
    left_out: list[str] = []
    for name, value in lines:
        key = name.strip().lower()
        if key == "cookie":
            cookie_lines.append(value)
        elif key in OWN_HEADERS or key in CALLS_OWN or key.startswith(CALLS_OWN_STARTS):
            left_out.append(key)
        elif not HEADER_NAME(key):
            problems.append(Problem(f"{where}.headers", None, "a header name that HTTP cannot carry"))
        elif not SECRET_CHARS(value) or not value.isascii():
            problems.append(Problem(f"{where}.headers.{key}", None, "plain text in one line"))
        elif headers.setdefault(key, value.strip()) != value.strip():
            problems.append(Problem(f"{where}.headers.{key}", None, "stands there twice, with different values"))
    cookies: dict[str, str] = {}
    if len(set(cookie_lines)) > 1:
        problems.append(Problem(f"{where}.cookies", None, "several cookie lines that differ; copy the request again"))
    for part in cookie_lines[0].split(";") if cookie_lines else ():
        name, is_one, value = part.strip().partition("=")
        if not part.strip():
            continue
        if not is_one or not _COOKIE_NAME(name) or not _COOKIE_VALUE(value):
            problems.append(Problem(f"{where}.cookies", None, "a piece that is no name=value; copy the request again"))
        else:
            cookies.setdefault(name, value)  # of two the browser sends the one of the closer path first
    if not cookies and not problems:
        problems.append(Problem(f"{where}.cookies", None, f"missing: no cookies; be logged in, then {HOW}"))
    if len(cookies) > COOKIES_MAX or len(headers) > HEADERS_MAX:
        problems.append(Problem(where, None, f"more than {COOKIES_MAX} cookies or {HEADERS_MAX} headers"))
    return Pasted(url=url, secrets=Secrets(cookies=cookies, headers=headers), left_out=tuple(sorted(set(left_out))))


_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}").fullmatch
_COOKIE_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*").fullmatch


def _lacking(pasted: Pasted, host: str, where: str) -> list[Problem]:
    problems: list[Problem] = []
    if pasted.url:
        try:
            found = urlsplit(pasted.url).hostname
        except ValueError:
            found = None
        if found != host:
            problems.append(Problem(f"{where}.url", None, f"the request did not go to {host}; copy one that did"))
    return problems + lacking(pasted.secrets, where)


def lacking(secrets: Secrets, where: str) -> list[Problem]:
    """What a session with the real exchange needs and this one has not (wire § 2)."""
    problems: list[Problem] = []
    names = {name.lower() for name in secrets.headers}
    if "csrftoken" not in names:
        problems.append(
            Problem(f"{where}.headers.csrftoken", None, "missing; copy a request whose path begins with /bapi")
        )
    if not secrets.cookies and "cookie" not in names:
        problems.append(Problem(f"{where}.cookies", None, "missing; be logged in when you copy"))
    return problems


def _read_json(text: str, where: str) -> Pasted:
    try:
        document = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Unreadable('no JSON of the form {"cookies": {…}, "headers": {…}}') from None
    secrets, problems = check_secrets(document, where)
    if secrets is None:
        raise Problems(problems, where="the pasted text")
    return Pasted(url="", secrets=secrets)


# -- curl


WITH_VALUE = {
    "-H": "header", "--header": "header", "-b": "cookie", "--cookie": "cookie", "-A": "user-agent",
    "--user-agent": "user-agent", "-e": "referer", "--referer": "referer", "--url": "url", "-X": "", "--request": "",
    "-d": "", "--data": "", "--data-raw": "", "--data-binary": "", "--data-urlencode": "", "--data-ascii": "",
}  # fmt: skip
"""Options that browsers write; "": of no interest here."""
ALONE = frozenset({"--compressed", "--insecure", "-k", "-i", "-s", "-L", "--location", "--http2", "-g", "--globoff"})


def _read_bash(text: str) -> _Request:
    return _read_words(_bash_words(text))


def _read_cmd(text: str) -> _Request:
    return _read_words(_cmd_words(_without_carets(text)))


def _read_words(words: list[str]) -> _Request:
    """The argument list of one curl. Raises: Unreadable."""
    url, lines, cookies = "", [], []
    rest = iter(words[1:])
    for word in rest:
        if word in WITH_VALUE:
            value = next(rest, None)
            if value is None:
                raise Unreadable(f"{word} has nothing behind it: the end is missing; copy the request again")
            kind = WITH_VALUE[word]
            if kind == "header":
                name, colon, content = value.partition(":")
                if not colon:
                    raise Unreadable("a -H that is no `name: value`; copy the request again")
                lines.append((name, content.strip()))
            elif kind == "cookie":
                cookies.append(value)
            elif kind == "url":
                url = value
            elif kind:
                lines.append((kind, value))
        elif word.startswith("-"):
            if word not in ALONE:
                raise Unreadable("an option that browsers do not write; copy the request again, unchanged")
        elif word in ("curl", "curl.exe", ";", "&", "&&"):
            raise Unreadable("several requests; copy a single one")
        elif url:
            raise Unreadable("more than one address; copy a single request, unchanged")
        else:
            url = word
    return url, lines, cookies


# -- bash


_ANSI_C = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b", "E": "\x1b"}
_ANSI_C_NUMBER = re.compile(r"x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})")
_BASH_PARTS = re.compile(
    r"'(?P<single>[^']*)'|\$'(?P<ansi>(?:[^'\\]|\\.)*)'|\"(?P<double>(?:[^\"\\$`]|\\.)*)\""
    r"|\\(?P<escaped>.)|(?P<plain>[^\s'\"\\$`;|&<>()]+)|(?P<space>\s+)",
    re.DOTALL,
)


def _bash_words(text: str) -> list[str]:
    words: list[str] = []
    word: str | None = None
    at = parts = 0
    text = re.sub(r"\\\r?\n", " ", text.strip())
    while at < len(text):
        part = _BASH_PARTS.match(text, at)
        if part is None:
            raise Unreadable("a quote that does not end, or more than one plain curl command; copy it again, unchanged")
        at = part.end()
        if part.lastgroup == "space":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + _bash_text(part)
        parts += 1
        if len(words) > TOKENS_MAX or parts > PARTS_MAX:
            raise Unreadable("too many words for one copied request")
    return words if word is None else [*words, word]


def _bash_text(part: re.Match[str]) -> str:
    found = part[part.lastgroup or 0]
    match part.lastgroup:
        case "ansi":
            return re.sub(
                r"\\(x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[0-7]{1,3}|.)", _ansi, found, flags=re.DOTALL
            )
        case "double":
            return re.sub(r"\\([\"\\$`])", r"\1", found)
        case _:
            return found


def _ansi(escape: re.Match[str]) -> str:
    code = escape[1]
    number = _ANSI_C_NUMBER.fullmatch(code)
    if number is None:
        return _ANSI_C.get(code, code)
    value = int(number[4], 8) if number[4] else int(number[1] or number[2] or number[3], 16)
    if value > 0x10FFFF:
        raise Unreadable("a character that does not exist; copy the request again")
    return chr(value)


# -- cmd


def _without_carets(text: str) -> str:
    """What cmd.exe hands on: a caret outside of quotes makes the next character plain, at a line's end it joins."""
    made: list[str] = []
    quoted = False
    characters = iter(text.strip().replace("\r\n", "\n"))
    for character in characters:
        if character == "^" and not quoted:
            character = next(characters, "")
            made.append("" if character == "\n" else character)
            continue
        if character == '"':
            quoted = not quoted
        elif character == "\n":
            character = " "
        elif character == "&" and not quoted:
            raise Unreadable("several requests; copy a single one")
        made.append(character)
    return "".join(made)


_CMD_PARTS = re.compile(r'(?P<quote>\\*")|(?P<space>\s+)|(?P<plain>[^\s"\\]+|\\+)')


def _cmd_words(line: str) -> list[str]:
    """The words of a Windows command line: two quotes inside quotes are one.

    To Windows backslashes count only before a quote; but browsers double every one, and what they had is wanted.
    """
    words: list[str] = []
    word: str | None = None
    quoted, at, parts = False, 0, 0
    while at < len(line):
        part = _CMD_PARTS.match(line, at)
        assert part is not None, "every character is one of the three"
        at = part.end()
        if part.lastgroup == "space" and not quoted:
            if word is not None:
                words.append(word)
            word = None
        elif part.lastgroup == "quote":
            slashes = len(part[0]) - 1
            word = (word or "") + "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            elif quoted and line[at : at + 1] == '"':
                word, at = word + '"', at + 1
            else:
                quoted = not quoted
        else:
            word = (word or "") + part[0].replace("\\\\", "\\")
        parts += 1
        if len(words) > TOKENS_MAX or parts > PARTS_MAX:
            raise Unreadable("too many words for one copied request")
    if quoted:
        raise Unreadable("a quote that does not end: the end is missing; copy the request again")
    return words if word is None else [*words, word]


# -- PowerShell


_TEXT = r'"((?:[^"`]|`.|""){0,16384})"'  # bounded, so that no text makes the search below take long
_PS_COOKIE = re.compile(rf"New-Object\s+System\.Net\.Cookie\(\s*{_TEXT}\s*,\s*{_TEXT}", re.DOTALL)
_PS_HEADERS = re.compile(r"-Headers\s+@\{")
_PS_ITEM = re.compile(rf"\s*{_TEXT}\s*=\s*{_TEXT}\s*;?", re.DOTALL)
_PS_AGENT = re.compile(rf"\$session\.UserAgent\s*=\s*{_TEXT}")
_PS_URL = re.compile(rf"-Uri\s+{_TEXT}")
_PS_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _read_powershell(text: str) -> _Request:
    if text.count("Invoke-WebRequest") > 1:
        raise Unreadable("several requests; copy a single one")
    asked = text.find("Invoke-WebRequest")
    url = _PS_URL.search(text, asked) if asked >= 0 and text.count("-Uri") <= HEADERS_MAX else None
    if url is None:
        raise Unreadable("no address: the end is missing; copy the request again")
    count = text.count("System.Net.Cookie(")
    if count > COOKIES_MAX:
        raise Unreadable("too many cookies for one copied request")
    cookies = [f"{_powershell(name)}={_powershell(value)}" for name, value in _PS_COOKIE.findall(text)]
    if len(cookies) != count or any(";" in cookie for cookie in cookies):
        raise Unreadable("a cookie that cannot be read; copy the request again, unchanged")
    agent = _PS_AGENT.search(text) if text.count("$session.UserAgent") == 1 else None
    lines = [("user-agent", _powershell(agent[1]))] if agent else []
    block = _PS_HEADERS.search(text, asked)
    if block is not None:
        lines += _powershell_items(text, block.end())
    return _powershell(url[1]), lines, ["; ".join(cookies)] if cookies else []


def _powershell_items(text: str, at: int) -> list[tuple[str, str]]:
    """The items of a hash table whose opening brace ends at `at`."""
    found: list[tuple[str, str]] = []
    while (item := _PS_ITEM.match(text, at)) is not None and len(found) <= HEADERS_MAX:
        found.append((_powershell(item[1]), _powershell(item[2])))
        at = item.end()
    if not text[at : at + 1000].lstrip().startswith("}"):
        raise Unreadable("headers that cannot be read; copy the request again, unchanged")
    return found


def _powershell(text: str) -> str:
    """The text of a double-quoted literal. Raises: Unreadable, something would have to be run to know it."""
    return _PS_SPECIAL.sub(_powershell_character, text)


_PS_SPECIAL = re.compile(r"`(?P<escaped>.)|\"\"|\$\(\[char\](?P<code>[0-9]{1,6})\)|(?P<dollar>\$)", re.DOTALL)


def _powershell_character(it: re.Match[str]) -> str:
    if it["dollar"]:
        raise Unreadable("a $ that browsers do not write; copy the request again, unchanged")
    if it["code"]:
        return chr(int(it["code"]))
    return _PS_ESCAPES.get(it["escaped"], it["escaped"]) if it["escaped"] else '"'

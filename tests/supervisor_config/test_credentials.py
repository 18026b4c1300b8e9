"""Pastes of a browser's "copy as cURL", in the forms that browsers write; nothing said of one holds a value."""

from __future__ import annotations

import os
import random
import re
import time

import pytest

from supervisor.credentials import read_session
from supervisor.document import Problems

CANARY = "c4n4ryC0ok1e"
TOKEN = "0123456789abcdef0123456789abcdef"
URL = "https://www.binance.com/bapi/defi/v1/private/alpha-trade/order/get-open-order"
HOST = "www.binance.com"

BASH = f"""curl '{URL}' \\
  -H 'accept: */*' \\
  -H 'accept-language: en-GB,en;q=0.9' \\
  -H 'clienttype: web' \\
  -b 'p20t={CANARY}; cr00=x=y; lang=en' \\
  -H 'csrftoken: {TOKEN}' \\
  -H $'device-info: it\\'s \\u0021 {CANARY}' \\
  -H 'x-trace-id: 4711' \\
  --data-raw '{{}}' \\
  --compressed"""

CMD = f"""curl ^"{URL}^?a^=1^&b^=2^" ^
  -H ^"accept: */*^" ^
  -H ^"clienttype: web^" ^
  -b ^"p20t={CANARY}; cr00=x=y; q=^\\^"a^%^b^\\^"^" ^
  -H ^"csrftoken: {TOKEN}^" ^
  --data-raw ^"^{{^}}^"
"""

CMD_OLD = f"""curl "{URL}" ^
  -H "clienttype: web" ^
  -H "cookie: p20t={CANARY}; cr00=x"%"y" ^
  -H "csrftoken: {TOKEN}" ^
  --compressed
"""

POWERSHELL = f"""$session = New-Object Microsoft.PowerShell.Commands.WebRequestSession
$session.UserAgent = "Mozilla/5.0 (X11)"
$session.Cookies.Add((New-Object System.Net.Cookie("p20t", "{CANARY}", "/", ".binance.com")))
$session.Cookies.Add((New-Object System.Net.Cookie("q", "a`"b`$c", "/", "www.binance.com")))
Invoke-WebRequest -UseBasicParsing -Uri "{URL}" `
-Method "POST" `
-WebSession $session `
-Headers @{{
"authority"="www.binance.com"
  "method"="POST"
  "csrftoken"="{TOKEN}"
  "clienttype"="web"
}} `
-ContentType "application/json" `
-Body "{{}}"
"""


def wrong(text: str, host: str | None = HOST) -> str:
    with pytest.raises(Problems) as caught:
        read_session(text, host=host)
    said = str(caught.value) + repr(caught.value.problems)
    assert CANARY not in said
    assert TOKEN not in said
    return said


def complaint(text: str, host: str | None) -> str:
    try:
        read_session(text, host=host)
    except Problems as error:
        return str(error)
    return ""


def test_bash_form():
    pasted = read_session(BASH, host=HOST)
    assert pasted.secrets.cookies == {"p20t": CANARY, "cr00": "x=y", "lang": "en"}
    assert pasted.secrets.headers["csrftoken"] == TOKEN
    assert pasted.secrets.headers["device-info"] == f"it's ! {CANARY}"
    assert pasted.left_out == ("accept", "x-trace-id")
    assert CANARY not in repr(pasted)


def test_cmd_form():
    pasted = read_session(CMD, host=HOST)
    assert pasted.url == f"{URL}?a=1&b=2"
    assert pasted.secrets.cookies == {"p20t": CANARY, "cr00": "x=y", "q": '"a%b"'}
    assert pasted.secrets.headers == {"clienttype": "web", "csrftoken": TOKEN}


def test_cmd_form_of_older_browsers():
    pasted = read_session(CMD_OLD.replace("\n", "\r\n"), host=HOST)
    assert pasted.secrets.cookies == {"p20t": CANARY, "cr00": "x%y"}
    assert pasted.secrets.headers == {"clienttype": "web", "csrftoken": TOKEN}


def test_powershell_form():
    pasted = read_session(POWERSHELL, host=HOST)
    assert pasted.secrets.cookies == {"p20t": CANARY, "q": 'a"b$c'}
    assert pasted.secrets.headers["csrftoken"] == TOKEN
    assert pasted.secrets.headers["user-agent"] == "Mozilla/5.0 (X11)"


def test_json_form():
    pasted = read_session('{"cookies": {"paper_account": "alice"}, "headers": {}}')
    assert pasted.secrets.cookies == {"paper_account": "alice"}


def bash_quoted(text: str) -> str:
    """As Chromium quotes for bash."""
    if not re.search(r"[\0-\x1f\x7f-\x9f!']", text):
        return f"'{text}'"
    text = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + re.sub(r"[\0-\x1f\x7f-\x9f!]", lambda it: f"\\u{ord(it[0]):04x}", text) + "'"


def cmd_quoted(text: str) -> str:
    """As Chromium quotes for cmd.exe."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    text = re.sub(r"[^a-zA-Z0-9\s_\-:=+~'/.',?;()*`]", lambda it: f"^{it[0]}", text)
    return f'^"{re.sub("%(?=[a-zA-Z0-9_])", "%^", text)}^"'


def powershell_quoted(text: str) -> str:
    """As Chromium quotes for PowerShell."""
    text = re.sub(r'[`$"]', lambda it: f"`{it[0]}", text)
    return '"' + re.sub(r"[^\x20-\x7e]", lambda it: f"$([char]{ord(it[0])})", text) + '"'


def copied(quoted, line_end: str, headers: dict[str, str], cookies: dict[str, str]) -> str:
    lines = [f"curl {quoted(URL + '?a=b&c=%20d')}", *(f"-H {quoted(f'{name}: {headers[name]}')}" for name in headers)]
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return f" {line_end}\n  ".join([*lines, f"-b {quoted(cookie)}", "--compressed"])


def copied_powershell(headers: dict[str, str], cookies: dict[str, str]) -> str:
    q = powershell_quoted
    jar = [f'$session.Cookies.Add((New-Object System.Net.Cookie({q(n)}, {q(cookies[n])}, "/", "x")))' for n in cookies]
    items = [f"  {q(name)}={q(value)}" for name, value in headers.items()]
    return "\n".join([*jar, f"Invoke-WebRequest -UseBasicParsing -Uri {q(URL)} `", "-Headers @{", *items, "}"])


def test_every_form_brings_back_whatever_characters_a_browser_had():
    draw = random.Random(8)
    any_text = "".join(map(chr, range(0x20, 0x7F)))
    any_value = "".join(set(any_text) - set("; "))
    for _ in range(400):
        headers = {"csrftoken": f"x{''.join(draw.choices(any_text, k=12))}y", "clienttype": "web"}
        cookies = {"p20t": "".join(draw.choices(any_value, k=12)), "cr00": "z"}
        for text in (
            copied(bash_quoted, "\\", headers, cookies),
            copied(cmd_quoted, "^", headers, cookies),
            copied_powershell(headers, cookies),
        ):
            secrets = read_session(text, host=HOST).secrets
            assert (secrets.headers, secrets.cookies) == (headers, cookies), text


def test_what_a_header_cannot_carry_is_refused_in_every_form():
    headers, cookies = {"csrftoken": TOKEN, "x": f"ü{CANARY}"}, {"p20t": CANARY}
    for text in (
        copied(bash_quoted, "\\", headers, cookies),
        copied(cmd_quoted, "^", headers, cookies),
        copied_powershell(headers, cookies),
    ):
        assert "headers.x: plain text" in wrong(text)
    assert "a $ that browsers do not write" in wrong(POWERSHELL.replace(TOKEN, f"$env:{CANARY}"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither"),
        ("wget http://x", "neither"),
        ("{", "no JSON"),
        ('{"cookies": 1}', "table"),
        (BASH.replace("csrftoken", "csrf"), "csrftoken: missing"),
        (BASH.replace("-b 'p20t", "-H 'x: p20t"), "missing: no cookies"),
        (BASH.replace("www.binance.com", "www.example.org"), "did not go to www.binance.com"),
        (BASH[:-60], "quote that does not end"),
        (BASH + " ; " + BASH, "more than one plain curl command"),
        (f"{BASH} {BASH}", "several requests"),
        (f"curl '{URL}' -H", "nothing behind it"),
        (f"curl '{URL}' --config {CANARY}", "option that browsers do not write"),
        (f"curl $(echo {CANARY})", "more than one plain curl command"),
        (f"curl '{URL}' -H 'csrftoken: {TOKEN}' -b 'a={CANARY}' -b 'a=2'", "several cookie lines"),
        (f"curl '{URL}' -b {CANARY} -H 'csrftoken: {TOKEN}'", "no name=value"),
        (f"curl '{URL}' -b a=b -H 'csrftoken: {TOKEN}' -H 'csrftoken: {CANARY}'", "twice"),
        (f"curl '{URL}' -b a=b -H $'csrftoken: {TOKEN}\\n{CANARY}'", "one line"),
        (CMD[:-30], "quote that does not end"),
        (POWERSHELL[:-140], "headers that cannot be read"),
        (POWERSHELL.split("Invoke")[0], "no address"),
        (POWERSHELL + POWERSHELL, "several requests"),
        ("curl " + "a" * 300_000, "larger than"),
    ],
)
def test_what_is_wrong_is_said_without_a_value(text, says):
    assert says in wrong(text)


def test_a_paper_account_needs_no_token():
    assert read_session("curl http://127.0.0.1:8701/x -b paper_account=alice").secrets.cookies == {
        "paper_account": "alice"
    }


def test_fuzz_of_pastes_never_raises_anything_else_and_never_takes_long():
    rng = random.Random(os.environ.get("OTOD_FUZZ_SEED", "7"))
    count = int(os.environ.get("OTOD_FUZZ", "10000"))
    pieces = [
        *BASH.split("'"),
        *CMD.split("^"),
        *POWERSHELL.split('"'),
        "'",
        '"',
        "^",
        "`",
        "\\",
        "\n",
        "$'",
        "{",
        "}",
        "\0",
        "\ud800",
    ]
    slowest = 0.0
    for _ in range(count):
        kind = rng.randrange(4)
        if kind < 3:
            text = list((BASH, CMD, POWERSHELL)[kind])
            for _ in range(rng.randrange(1, 12)):
                at = rng.randrange(len(text))
                text[at : at + rng.randrange(3)] = rng.choice(pieces)[: rng.randrange(1, 30)]
            text = "".join(text)
        else:
            text = rng.choice(["curl ", "{", "$session ", "Invoke-WebRequest "]) + "".join(rng.choices(pieces, k=30))
        started = time.perf_counter()
        said = complaint(text, rng.choice([None, HOST]))
        assert CANARY not in said
        slowest = max(slowest, time.perf_counter() - started)
    assert slowest < 1.0


@pytest.mark.parametrize(
    "text",
    [
        "curl '" + "\\'" * 120_000,
        "curl " + '"\\"' * 80_000,
        "curl ^\n" + "^" * 250_000,
        'Invoke-WebRequest -Uri "x" -Headers @{' + '"a"="' * 40_000,
        'Invoke-WebRequest ' + '-Uri "' * 40_000,
        '$session Invoke-WebRequest -Uri "u" ' + 'New-Object System.Net.Cookie("' * 8_000,
        "curl x -b '" + "a=b;" * 60_000 + "'",
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_hostile_texts_are_read_in_a_moment(text):
    started = time.perf_counter()
    complaint(text, None)
    assert time.perf_counter() - started < 2.0

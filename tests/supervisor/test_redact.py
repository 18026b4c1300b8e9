"""No secret is ever in a log line, wherever it was put."""

from __future__ import annotations

import io
import json
import string

import msgspec
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from supervisor.log import Logging
from supervisor.redact import HIDDEN, TEXT_MAX, redact


class ZeroWall:
    def now_ms(self) -> int:
        return 0


def written(form: str, **fields) -> str:
    stream = io.StringIO()
    logging = Logging(ZeroWall(), form=form, level="debug", stream=stream)
    error = fields.pop("raised", None)
    logging.log.bind(**fields).error("event", exc_info=error)
    return stream.getvalue()


HEX = st.text("0123456789abcdef", min_size=32, max_size=64)
COOKIE_VALUE = st.text(string.ascii_letters + string.digits + "._-%", min_size=8, max_size=40)
LISTEN_KEY = HEX | st.text(string.ascii_letters + string.digits, min_size=60, max_size=64)
LOOKS = LISTEN_KEY | st.builds(lambda: Fernet.generate_key().decode())
PLACES = [
    lambda s: {"text": s},
    lambda s: {"text": f"GET /w3w/stream?streams=alpha@{s} failed"},
    lambda s: {"deep": {"list": [1, {"x": (s, 2)}]}},
    lambda s: {"raw": s.encode()},
    lambda s: {"raw": [f"key {s}, in a list"]},
    lambda s: {"mapping": {s: 1}},
    lambda s: {"raised": ValueError(f"bad listen key {s!r}")},
    lambda s: {"raised": ExceptionGroup("two", [ValueError(s), KeyError(s)])},
    lambda s: {"failed": RuntimeError(s)},
]
COOKIE_PLACES = [
    lambda s: {"cookies": {"cr00": s, "any": s}},
    lambda s: {"headers": {"Cookie": s}},
    lambda s: {"deep": [{"Set-Cookie": s, "csrftoken": s}]},
    lambda s: {"csrf_token": s},
    lambda s: {"text": f"Cookie: a={s}; b={s}"},
    lambda s: {"text": f"sent {{'cookie': 'a={s}; b={s}', 'accept': '*/*'}}"},
    lambda s: {"text": f"headers=[(b'cookie', b'a={s}; b={s}'), (b'csrftoken', b'{s}')]"},
    lambda s: {"text": json.dumps({"headers": {"csrftoken": s, "Cookie": f"x={s}"}})},
    lambda s: {"text": json.dumps(json.dumps({"csrftoken": s}))},
    lambda s: {"text": f"curl 'https://host/' -b 'a={s}; b={s}' -H 'csrftoken: {s}'"},
    lambda s: {"text": f'curl https://host/ --cookie "a={s}; b={s}"'},
    lambda s: {"text": f"cookies={{'a': '{s}', 'b': '{s}'}}"},
    lambda s: {"text": f"p20t={s}"},
    lambda s: {"raised": ValueError(f"refused with Cookie: a={s}")},
    lambda s: {"request": Request(cookies={"a": s}, csrftoken=s)},
]


class Request(msgspec.Struct):
    cookies: dict[str, str]
    csrftoken: str


@pytest.mark.parametrize("form", ["json", "console"])
@given(secret=LOOKS, place=st.sampled_from(PLACES))
def test_keys_are_known_by_their_look_anywhere(form, secret, place):
    assert secret not in written(form, **place(secret))


@pytest.mark.parametrize("form", ["json", "console"])
@given(secret=COOKIE_VALUE.filter(lambda s: s not in "cookies csrftoken headers" and len(set(s)) > 4), number=st.data())
def test_cookies_and_tokens_are_known_by_their_name_anywhere(form, secret, number):
    place = number.draw(st.sampled_from(COOKIE_PLACES))
    assert secret not in written(form, **place(secret))


def test_what_the_vault_encrypted_is_hidden():
    token = Fernet(Fernet.generate_key()).encrypt(b"cookies").decode()
    assert token not in written("json", row=f"ciphertext {token} of alice")


def test_ordinary_fields_are_left_alone():
    fields = {
        "token": "KOGE",
        "key_id": "k1",
        "pair_id": "alice-2026-11-20-7",
        "order_id": "51481849012345678901",
        "contract": "0xe6df05ce8c8301223373cf5b969afcb1498c5528",
        "text": "price 0.22690469 is off the tick grid 0.0001 [traders/alice ALPHA_373USDT working leg] -> see plan()",
        "count": 7,
        "share": 0.5,
        "flag": True,
        "nothing": None,
    }
    assert redact(fields) == fields


def test_long_and_deep_things_are_cut():
    assert len(redact("x y " * 10_000)) < TEXT_MAX + 50
    nested: list = []
    for _ in range(50):
        nested = [nested]
    assert isinstance(json.dumps(redact(nested)), str)
    assert redact({"a": object}) == {"a": "<class 'object'>"}


def test_a_hidden_value_is_marked():
    assert redact({"csrftoken": "abc", "text": "Cookie: abc"}) == {"csrftoken": HIDDEN, "text": f"Cookie: {HIDDEN}"}

"""Rules of keys, and reading a table with all its mistakes at once."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from actors.errors import ConfigError
from supervisor.document import (
    Amount,
    Auto,
    ListOf,
    MapOf,
    Number,
    Problems,
    Seconds,
    Text,
    UidOrName,
    Url,
    Whole,
    Word,
    Wrong,
    parse_file,
    read_table,
    show,
)

D = Decimal


class Inner(Struct, frozen=True):
    wait_s: Annotated[float, Seconds(1, 9)] = 3.0


class Outer(Struct, frozen=True):
    word: Annotated[str, Word("yes", "no")] = "yes"
    inner: Inner = Inner()


class TestAmounts:
    @pytest.mark.parametrize(
        ("written", "amount"),
        [
            ("0.05", "0.05"), (" 7 ", "7"), ("+1.5", "1.5"), ("-0.05", "-0.05"), (3, "3"), (D("0.1"), "0.1"),
            (D("1e3"), "1000"), ("-0", "0"), (D("1E-18"), "0.000000000000000001"),
        ],
    )  # fmt: skip
    def test_are_read_exactly_from_text_and_numbers(self, written, amount):
        read = Amount("-10", "10000").read(written)
        assert (read, format(read, "f")) == (D(amount), amount)

    @pytest.mark.parametrize(
        "written",
        [
            0.1, True, None, "", "1,5", "1e3", "0x10", "NaN", D("nan"), D("inf"), D("-Infinity"), [], {}, "1.", "１",
            "0.0000000000000000001", D("1e-19"), 10**40, D("1e40"), "9" * 30,
            D("1e400000000"), D("-1e999999"), D("1e-400000000"),
        ],
    )  # fmt: skip
    def test_refuse_what_is_no_plain_decimal(self, written):
        with pytest.raises(Wrong, match=r"written like 50 or 0\.05, at most 18 digits after the point"):
            Amount("-1e30", "1e30").read(written)

    def test_bounds_belong_to_the_range_unless_said(self):
        assert Amount("0", "5").read(0) == 0
        assert Amount("0", "5").read(5) == 5
        with pytest.raises(Wrong, match="an amount in USDT above 0 to 5"):
            Amount("0", "5", above=True, unit=" in USDT").read(0)
        with pytest.raises(Wrong):
            Amount("0", "5").read("5.000000000000000001")

    @given(st.decimals(min_value=D("-99999999999999999999"), max_value=D("99999999999999999999"), places=18))
    def test_lose_no_digit(self, amount):
        assert Amount("-1e20", "1e20").read(format(amount, "f")) == amount == Amount("-1e20", "1e20").read(amount)

    @given(st.text(max_size=40) | st.integers() | st.floats() | st.decimals() | st.booleans())
    def test_never_raise_anything_but_wrong(self, written):
        with suppress(Wrong):
            assert Amount("-10", "10").read(written).is_finite()


class TestRules:
    def test_numbers(self):
        assert Number(0, 2).read(D("0.5")) == 0.5
        assert isinstance(Seconds(0, 2).read(1), float)
        for wrong in (True, "1", 3, D("nan"), D("-0.1"), None):
            with pytest.raises(Wrong, match=r"a number( of seconds)? from 0 to 2"):
                Seconds(0, 2).read(wrong)

    def test_whole_numbers(self):
        assert [Whole(0, 40).read(written) for written in (17, "17", "0")] == [17, 17, 0]
        for wrong in (True, "x", "-1", 41, D("1.0"), 1.0, "9" * 30):
            with pytest.raises(Wrong, match="a whole number from 0 to 40"):
                Whole(0, 40).read(wrong)

    def test_words_name_the_nearest(self):
        with pytest.raises(Wrong, match=r"paper, binance; did you mean binance\?"):
            Word("paper", "binance").read("binanse")
        with pytest.raises(Wrong, match=r"^paper, binance$"):
            Word("paper", "binance").read(7)

    def test_auto_is_none(self):
        assert Auto(Whole(1, 3)).read("auto") is None
        assert Auto(Whole(1, 3)).read(2) == 2
        with pytest.raises(Wrong, match=r'^"auto", or a whole'):
            Auto(Whole(1, 3)).read(9)

    def test_lists_and_tables(self):
        assert ListOf(UidOrName()).read([0, "wheel", 1000]) == (0, "wheel", 1000)
        assert MapOf(Text("[a-z]+", "letters"), ListOf(Whole(0, 9))).read({"a": [1]}) == {"a": (1,)}
        for wrong in ("x", [1, 1], [-1], ["a b"], [True], [2**32]):
            with pytest.raises(Wrong):
                ListOf(UidOrName()).read(wrong)
        for wrong in ([], {"A": []}, {"a": 3}):
            with pytest.raises(Wrong):
                MapOf(Text("[a-z]+", "letters"), ListOf(Whole(0, 9))).read(wrong)

    @pytest.mark.parametrize(
        ("url", "ok"),
        [
            ("https://www.example.org", True), ("https://www.example.org/", True), ("http://127.0.0.1:8701", True),
            ("http://localhost", True), ("http://[::1]:80", True), ("http://www.example.org", False),
            ("https://www.example.org/path", False), ("ftp://x", False), ("https://", False), ("https://a:b@c", False),
            ("https://x:99999", False), (7, False), ("", False),
        ],
    )  # fmt: skip
    def test_plain_urls_point_to_this_machine_only(self, url, ok):
        if ok:
            assert Url("http", path=False).read(url) == url
        else:
            with pytest.raises(Wrong):
                Url("http", path=False).read(url)

    def test_stream_urls_may_have_a_path(self):
        url = "wss://nbstream.example.org/w3w/stream"
        assert Url("ws", path=True).read(url) == url


class TestTables:
    def read(self, table):
        problems = []
        return read_table(Outer, table, problems, words={"other": "in [there]"}), [str(problem) for problem in problems]

    def test_a_good_one(self):
        assert self.read({"word": "no", "inner": {"wait_s": 9}}) == (Outer("no", Inner(9.0)), [])
        assert self.read({}) == (Outer(), [])

    def test_everything_that_is_wrong_is_said_at_once(self):
        config, problems = self.read({"wort": 1, "word": "maybe", "other": 2, "zzz": 3, "inner": {"wait_s": 0, "w": 1}})
        assert config == Outer()
        assert problems == [
            "wort: no such key; did you mean word?",
            'word = "maybe": allowed: yes, no',
            "other: no such key; it belongs in [there]",
            "zzz: no such key; known are word, inner",
            "inner.wait_s = 0: allowed: a number of seconds from 1 to 9",
            "inner.w: no such key; known are wait_s",
        ]

    def test_a_value_in_place_of_a_table(self):
        assert self.read({"inner": 3})[1] == ["inner = 3: a table"]

    def test_values_are_shown_as_written_and_not_at_length(self):
        assert [show(value) for value in (True, "x", 3, {"a": 1})] == ["true", '"x"', "3", "a table"]
        assert len(show("x" * 1000)) < 70


class TestFiles:
    def test_are_parsed_without_floats(self, tmp_path):
        (tmp_path / "a.toml").write_text("x = 0.1\n")
        assert parse_file(tmp_path / "a.toml") == {"x": D("0.1")}

    def test_may_begin_with_the_mark_that_some_editors_write_and_have_their_line_ends(self, tmp_path):
        (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfx = 1\r\ny = 2\r\n")
        assert parse_file(tmp_path / "a.toml") == {"x": 1, "y": 2}

    @pytest.mark.parametrize(
        ("content", "what"), [(b"x = ", "no TOML"), (b"\xff", "not UTF-8"), (b"x=" + b"[" * 5000, "no TOML")]
    )
    def test_that_are_none_are_named(self, tmp_path, content, what):
        path = tmp_path / "a.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=what) as caught:
            parse_file(path)
        assert caught.value.where == str(path)

    def test_that_cannot_be_read_are_named(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot read it"):
            parse_file(tmp_path / "absent.toml")


def test_mistakes_are_counted_in_the_text():
    error = Problems([], where="x")
    assert error.code == "BAD_ARGUMENT"
    assert "mistake" in str(error)

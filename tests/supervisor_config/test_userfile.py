"""The users document and the trading configuration."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from actors.domain.trading import AUTO_RESUMABLE, TradingConfig
from supervisor.document import Problems
from supervisor.userfile import TRADING, check_trading, check_user, load_users

D = Decimal
EXAMPLE = Path(__file__).resolve().parents[2] / "etc" / "users.toml"
GOOD = {
    "token": "KOGE",
    "target_volume": "500",
    "order_amount": "50",
    "buy_offset": "0.05",
    "sell_offset": "-0.05",
}


def good(**changes):
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}


def keys(mapping, **options):
    config, problems = check_trading(mapping, **options)
    assert (config is None) == bool(problems)
    return [problem.key.removeprefix("trading.") for problem in problems]


class TestTrading:
    def test_the_contract_example(self):
        config, problems = check_trading(GOOD)
        assert problems == ()
        assert config == TradingConfig(
            token="KOGE", target_volume=D(500), order_amount=D(50), buy_offset=D("0.05"), sell_offset=D("-0.05")
        )

    def test_every_key_of_the_struct_has_a_rule(self):
        assert set(TRADING) == {field.name for field in fields(TradingConfig)}

    def test_text_and_numbers_mean_the_same(self):
        numbers = tomllib.loads("target_volume = 500\norder_amount = 50.0\nbuy_offset = 0.05", parse_float=Decimal)
        assert check_trading({**GOOD, **numbers}) == check_trading(GOOD)

    def test_absent_is_none(self):
        assert keys(good(target_points=None, max_wear_usdt=None)) == []

    @pytest.mark.parametrize("key", ["token", "buy_offset", "sell_offset"])
    def test_what_is_required_is_missed(self, key):
        assert keys(good(**{key: ...})) == [key]

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"target_volume": ...}, "target_volume"),
            ({"target_points": 9}, "target_volume"),
            ({"order_amount": ...}, "order_amount"),
            ({"order_quantity": 1}, "order_amount"),
        ],
    )
    def test_exactly_one_target_and_one_amount(self, changes, key):
        assert keys(good(**changes)) == [key]

    @pytest.mark.parametrize(
        "changes", [{"target_volume": ..., "target_points": "17"}, {"order_amount": ..., "order_quantity": "0.5"}]
    )
    def test_the_other_one_will_do(self, changes):
        assert keys(good(**changes)) == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("token", "ALPHA_22USDT"), ("token", ""), ("token", "A B"), ("token", 7),
            ("target_volume", 0), ("target_volume", "-1"), ("target_volume", 0.5), ("target_volume", "much"),
            ("order_amount", "NaN"), ("order_amount", D("inf")),
            ("offset_mode", "percent"), ("buy_offset", "0,05"), ("sell_offset", True), ("reference", "mid"),
            ("timeout_seconds", 0), ("timeout_seconds", 86401), ("volatility_threshold", 0), ("interval_seconds", -1),
            ("unwind_step_percent", 0), ("unwind_step_seconds", "0.1"), ("unwind_floor_percent", 100),
            ("max_wear_usdt", 0), ("max_wear_bps", 10001), ("auto_resume", ["OPERATOR"]), ("auto_resume", ["X"]),
            ("auto_resume", 3), ("auto_resume", ["RATE_LIMITED", "RATE_LIMITED"]),
        ],
    )  # fmt: skip
    def test_nonsense_is_refused_with_its_key(self, key, value):
        assert keys(good(**{key: value})) == [key]
        assert keys(good(**{key: value}), force=True) == [key]

    def test_everything_that_is_wrong_is_said_at_once(self):
        wrong = {"tokn": "KOGE", "target_volume": -1, "order_amount": "x", "buy_offset": "21", "auto_resume": ["CRASH"]}
        assert keys(wrong) == [
            "tokn", "target_volume", "order_amount", "auto_resume", "token", "sell_offset", "buy_offset"
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("changes", "slips"),
        [
            ({"buy_offset": "20.01"}, ["buy_offset"]),
            ({"sell_offset": "-20.01"}, ["sell_offset"]),
            ({"buy_offset": "20", "sell_offset": "-20"}, []),
            ({"buy_offset": "500", "offset_mode": "fixed"}, []),
            ({"order_amount": "50001"}, ["order_amount"]),
            ({"target_volume": "1000001"}, ["target_volume"]),
            ({"target_volume": ..., "target_points": 21}, ["target_points"]),
            ({"unwind_floor_percent": 21}, ["unwind_floor_percent"]),
        ],
    )
    def test_slips_of_the_decimal_point_need_force(self, changes, slips):
        assert keys(good(**changes)) == slips
        assert keys(good(**changes), force=True) == []

    def test_an_offset_that_leaves_no_price_is_not_even_forced(self):
        assert keys(good(sell_offset="-100"), force=True) == ["sell_offset"]
        assert keys(good(sell_offset="-99.9"), force=True) == []

    def test_reasons_may_come_as_a_list_or_as_text(self):
        for written in (["RATE_LIMITED", "PRICE_VOLATILITY"], "RATE_LIMITED, PRICE_VOLATILITY"):
            config, _ = check_trading(good(auto_resume=written))
            assert config.auto_resume == ("RATE_LIMITED", "PRICE_VOLATILITY")
        assert check_trading(good(auto_resume=sorted(AUTO_RESUMABLE)))[1] == ()

    def test_no_table_at_all(self):
        assert check_trading("KOGE", where="users.alice.trading")[1][0].key == "users.alice.trading"

    @given(st.dictionaries(st.sampled_from([*TRADING, "x"]), st.text(max_size=9) | st.integers() | st.none()))
    def test_any_table_gives_a_configuration_or_reasons(self, mapping):
        config, problems = check_trading(mapping)
        assert (config is None) == bool(problems)
        if config is not None:
            assert msgspec.json.decode(msgspec.json.encode(config), type=TradingConfig) == config


def problems_of(source):
    with pytest.raises(Problems) as caught:
        load_users(source)
    return {problem.key: problem for problem in caught.value.problems}, str(caught.value)


class TestUsers:
    def test_the_example_is_good_and_shows_the_defaults(self):
        alice, bob = load_users(EXAMPLE)
        assert (alice.user, bob.user) == ("alice", "bob")
        assert alice.trading == bob.trading  # bob writes none of the keys with a default
        assert alice.display_name == "Alice"
        assert bob.email is None
        assert alice.secrets.cookies == {"paper_account": "alice"}
        assert alice.wanted == "stopped"

    def test_the_example_shows_every_key(self):
        text = EXAMPLE.read_text()
        assert [key for key in TRADING if key not in text] == []

    def test_a_parsed_document_will_do(self):
        (user,) = load_users({"users": {"alice": {"trading": GOOD}}})
        assert (user.user, user.secrets, user.display_name) == ("alice", None, None)

    def test_everything_that_is_wrong_in_all_users_is_said_at_once(self):
        found, text = problems_of(
            {
                "user": {},
                "users": {
                    "Alice": {"trading": GOOD},
                    "bob": {"trading": good(buy_offset="x"), "emial": "b@c", "email": "nobody", "display_name": 7},
                    "carol": 3,
                },
            }
        )
        assert list(found) == [
            "user", "users.Alice", "users.bob.emial", "users.bob.display_name", "users.bob.email",
            "users.bob.trading.buy_offset", "users.carol",
        ]  # fmt: skip
        assert "did you mean email?" in text
        assert "7 mistakes" in text

    @pytest.mark.parametrize("document", [{}, {"users": {}}, {"users": 3}])
    def test_a_document_without_users_is_a_mistake(self, document):
        assert "users" in problems_of(document)[0]

    @pytest.mark.parametrize(
        "document",
        [
            {"users": {f"u{n}": {"tradin": {}, "emial": "x"} for n in range(20_000)}},
            {"users": {"alice": {"trading": {f"order_am{n}": 1 for n in range(100_000)}}}},
            {"users": {"alice": {f"tradin{n}": 1 for n in range(100_000)}}},
            {"users": {"alice": {"credentials": {f"cooki{n}": 1 for n in range(100_000)}}}},
            {f"user{n}": {} for n in range(100_000)},
        ],
    )
    def test_a_document_full_of_mistakes_is_refused_in_a_moment(self, document):
        """Who may apply one must not be able to hold the daemon's loop for seconds."""
        assert 1 <= len(problems_of(document)) <= 505

    def test_a_user_without_trading_and_credentials_is_fine(self):
        wish, problems = check_user("dave", {"display_name": "Dave"})
        assert problems == ()
        assert (wish.trading, wish.secrets) == (None, None)


SECRET = "s3cr3t-value"


class TestCredentials:
    def document(self, **table):
        return {"users": {"alice": table}}

    def test_are_not_in_any_text(self):
        (user,) = load_users(self.document(credentials={"cookies": {"session": SECRET}}))
        assert SECRET not in repr(user)

    @pytest.mark.parametrize(
        ("credentials", "key"),
        [
            ({"cookies": {"session": SECRET + "\r\nx"}}, "credentials.cookies.session"),
            ({"cookies": {"session": 7}}, "credentials.cookies.session"),
            ({"cookies": {"a b": SECRET}}, "credentials.cookies"),
            ({"cookies": [SECRET]}, "credentials.cookies"),
            ({"cookie": {"session": SECRET}}, "credentials.cookie"),
            ({}, "credentials"),
            ({"cookies": {}, "headers": {}}, "credentials"),
            (SECRET, "credentials"),
        ],
    )
    def test_mistakes_are_named_without_their_value(self, credentials, key):
        found, text = problems_of(self.document(credentials=credentials))
        assert next(iter(found)) == f"users.alice.{key}"
        assert SECRET not in text

    def test_come_from_a_file_beside_the_document(self, tmp_path):
        text = '{"cookies": {"session": "x"}, "headers": {"csrftoken": "y"}}'
        (tmp_path / "alice.json").write_text(text, encoding="utf-8-sig")  # as some editors write it
        (tmp_path / "users.toml").write_text('[users.alice]\ncredentials_file = "alice.json"\n')
        (user,) = load_users(tmp_path / "users.toml")
        assert (user.secrets.cookies, user.secrets.headers) == ({"session": "x"}, {"csrftoken": "y"})

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"no json " + SECRET.encode(), "no JSON"), (b" " * 300_000, "larger than"), (None, "cannot be read")],
    )
    def test_a_file_that_is_none_is_named(self, tmp_path, content, words):
        if content is not None:
            (tmp_path / "alice.json").write_bytes(content)
        (tmp_path / "users.toml").write_text('[users.alice]\ncredentials_file = "alice.json"\n')
        found, text = problems_of(tmp_path / "users.toml")
        assert words in found["users.alice.credentials_file"].allowed
        assert SECRET not in text

    def test_not_both_and_no_path_of_another_kind(self, tmp_path):
        (tmp_path / "users.toml").write_text(
            '[users.a]\ncredentials_file = "x"\ncredentials = { cookies = { a = "b" } }\n'
            "[users.b]\ncredentials_file = 3\n"
        )
        found, _ = problems_of(tmp_path / "users.toml")
        assert list(found) == ["users.a.credentials_file", "users.b.credentials_file"]

    def test_a_parsed_document_names_no_files_of_this_machine(self):
        assert "users.alice.credentials_file" in problems_of(self.document(credentials_file="/etc/shadow"))[0]

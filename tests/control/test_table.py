"""Commands as data, and the checking of arguments."""

from __future__ import annotations

import json
from decimal import Decimal as D
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.trading import AUTO_RESUMABLE, TradingConfig
from actors.errors import Refusal
from supervisor.control.arguments import SECRET_CHARS_MAX, SECRETS_MAX, TEXT_CHARS_MAX, TYPES, USERS_MAX, Kind
from supervisor.control.per_user import ON_USERS
from supervisor.control.protocol import USER_NAME
from supervisor.control.table import BY_NAME, COMMANDS, SETTINGS, check, find, takes
from supervisor.control.whole import WHOLE
from supervisor.userfile import TRADING


def test_the_settings_are_those_of_the_trading_configuration():
    assert list(SETTINGS) == list(TRADING) == [field.name for field in msgspec.structs.fields(TradingConfig)]


def test_every_setting_tells_its_default_and_its_words():
    told = {argument.name: argument for argument in BY_NAME["config.set"].args}
    assert told["timeout_seconds"].about.endswith("(default 300)")
    assert "default" not in told["max_wear_usdt"].about + told["token"].about + told["auto_resume"].about
    for key, words in (("offset_mode", ("percentage", "fixed")), ("reference", ("last",))):
        assert told[key].choices == words
        assert [word for word in words if TRADING[key].read(word) == word] == list(words)
    assert all(reason in told["auto_resume"].about for reason in AUTO_RESUMABLE)


def test_what_is_secret_is_never_repeated():
    for args in ({"curl": 7}, {"curl": "x" * 300_000}, {"headers": ["s3cr3t"]}, {"cookies": "s3cr3t"}):
        assert "s3cr3t" not in str(wrong("user.set-credentials", {"user": "alice"} | args))
    assert "s3cr3t" not in str(wrong("user.apply", {"document": "s3cr3t"}))


@pytest.mark.parametrize(
    ("given", "made"), [("60", "60"), (60, 60), (D("0.5"), D("0.5")), (["A", "B"], ("A", "B")), ("A,B", "A,B")]
)
def test_settings_are_texts_numbers_or_lists(given, made):
    assert check(BY_NAME["config.set"], {"user": "alice", "auto_resume": given})["auto_resume"] == made


@pytest.mark.parametrize("given", [True, {}, [1], ["x" * 201], "x" * 201, ["x"] * 51])
def test_a_setting_that_is_none_is_refused(given):
    assert "auto_resume" in str(wrong("config.set", {"user": "alice", "auto_resume": given}))


def test_names_are_a_list_or_words_between_commas():
    for words in (["a", "b"], "a, b"):
        assert check(BY_NAME["config.set"], {"user": "alice", "unset": words})["unset"] == ("a", "b")
    assert "unset" in str(wrong("config.set", {"user": "alice", "unset": [1]}))


CONTRACT = {
    "system.status", "system.health", "system.tree", "system.version", "system.commands", "user.list", "user.show",
    "trading.start", "trading.pause", "trading.resume", "trading.stop", "trading.status", "trading.why",
    "stats.progress", "orders.list", "pairs.list", "pair.cancel", "pair.adopt", "pair.disown", "price.show",
    "actor.restart", "user.create",
    "user.update", "user.remove", "user.set-credentials", "user.check-credentials", "user.apply", "config.show",
    "config.set", "account.balance", "account.volume", "stats.show", "pair.show", "token.list", "token.show",
    "token.add", "token.remove", "token.refresh", "price.history", "system.streams", "system.metrics", "system.audit",
    "system.log-level", "system.reload", "system.drain", "vault.rotate", "notify.test",
}  # fmt: skip


def wrong(cmd, args):
    with pytest.raises(Refusal) as caught:
        check(BY_NAME[cmd], args)
    assert caught.value.code == "BAD_ARGUMENT"
    return caught.value


def test_every_command_is_there_and_has_its_function():
    assert set(BY_NAME) == CONTRACT
    assert {command.name for command in COMMANDS if command.on_users} == set(ON_USERS)
    assert {command.name for command in COMMANDS if not command.on_users} == set(WHOLE)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_example_is_right(command):
    check(command, json.loads(json.dumps(command.example)))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_what_acts_has_no_side_name_that_only_looks(command):
    looks = {"list", "show", "status", "why", "progress", "health", "tree", "version", "commands", "streams", "metrics"}
    looks |= {"audit", "balance", "volume", "history"}
    assert command.acts == (command.verb not in looks)


def test_every_type_is_explained_with_its_limits():
    assert set(TYPES) == set(get_args(Kind))
    for limit in (TEXT_CHARS_MAX, USERS_MAX, SECRET_CHARS_MAX, SECRETS_MAX, USER_NAME.pattern):
        assert any(str(limit) in about for about in TYPES.values()), limit


def test_an_unknown_command_is_refused_with_the_nearest():
    with pytest.raises(Refusal) as caught:
        find("trading.statsu")
    assert caught.value.code == "COMMAND_UNKNOWN"
    assert caught.value.do == "did you mean trading.status?"
    with pytest.raises(Refusal) as caught:
        find("qqqqqqq")
    assert "system.commands" in caught.value.do


def test_defaults_are_filled_in_and_times_become_ms():
    args = check(BY_NAME["orders.list"], {"user": "alice", "since": "2026-11-20"})
    assert args == {
        "user": "alice",
        "users": None,
        "all": None,
        "status": None,
        "since": 1_795_132_800_000,
        "until": None,
        "page": 1,
        "limit": 50,
    }


def test_null_is_as_good_as_left_out():
    assert check(BY_NAME["user.list"], {"limit": None})["limit"] == 50


def test_users_are_named_once_each():
    assert check(BY_NAME["trading.status"], {"users": ["bob", "alice", "bob"]})["users"] == ("bob", "alice")


@pytest.mark.parametrize("args", [{}, {"user": "alice", "all": True}, {"user": "a", "users": ["b"]}, {"all": False}])
def test_users_must_be_named_in_exactly_one_way(args):
    assert '"all":true' in wrong("trading.status", args).do


@pytest.mark.parametrize(
    ("cmd", "args", "says"),
    [
        ("user.list", {"limit": 0}, "limit 0 must be a whole number from 1 to 1000"),
        ("user.list", {"limit": True}, "must be a whole number"),
        ("user.list", {"limit": "50"}, "must be a whole number"),
        ("user.list", {"page": 10**30}, "must be a whole number"),
        ("trading.status", {"user": "Alice"}, "must be a user name: [a-z0-9_-]{1,32}"),
        ("trading.status", {"user": "alice\n"}, "must be a user name"),
        ("trading.status", {"user": 7}, "must be a user name"),
        ("trading.status", {"users": "alice"}, "must be a list"),
        ("trading.status", {"users": []}, "must be a list"),
        ("trading.status", {"users": [["a"]]}, "must be a user name"),
        ("trading.status", {"all": 1}, "must be true or false"),
        ("orders.list", {"all": True, "since": "soon"}, "is no time like"),
        (
            "stats.show",
            {"all": True, "since": "2026-11-21", "until": "2026-11-20"},
            "nothing is since '2026-11-21' and until '2026-11-20'",
        ),
        ("orders.list", {"all": True, "since": 5}, "must be text like"),
        ("orders.list", {"all": True, "until": "9999-12-31T23:59:59-12:00"}, "beyond the years 1 to 9999"),
        ("orders.list", {"all": True, "since": "0001-01-01T00:00:00+01:00"}, "beyond the years 1 to 9999"),
        ("orders.list", {"all": True, "status": "filled"}, "must look like"),
        ("pairs.list", {"all": True, "status": "open"}, "must be one of idle"),
        ("price.show", {}, "token is missing"),
        ("price.show", {"token": ""}, "must look like"),
        ("price.show", {"token": "x" * 1000}, "at most 200 characters"),
        ("price.show", {"token": 5}, "must be text"),
        ("system.status", {"verbose": True}, "has no argument 'verbose'"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value_and_what_is_allowed(cmd, args, says):
    assert says in wrong(cmd, args).what


def test_all_wrong_arguments_are_told_at_once():
    error = wrong("orders.list", {"user": "A", "limit": -1, "sicne": "2026-11-20"})
    assert "user" in error.what
    assert "limit" in error.what
    assert "did you mean since?" in error.do


def test_a_frame_full_of_unknown_arguments_is_refused_in_a_moment():
    """Nearest words for 100,000 of them would hold the loop, and with it every trader, for seconds."""
    error = wrong("config.set", {"user": "alice"} | {f"order_am{number}": 1 for number in range(100_000)})
    assert "and 99980 more" in error.what
    assert len(str(error)) < 4_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(st.data(), st.sampled_from(COMMANDS))
def test_any_arguments_are_accepted_or_refused(data, command):
    names = st.sampled_from([argument.name for argument in takes(command)] or ["x"]) | st.text(max_size=6)
    args = data.draw(st.dictionaries(names, json_values, max_size=4))
    try:
        checked = check(command, args)
    except Refusal as error:
        refused = error
    else:
        assert set(checked) == {argument.name for argument in takes(command)}
        return
    assert refused.code == "BAD_ARGUMENT"
    assert refused.what

"""etc/otod.toml and the structs it becomes."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import asdict, fields, replace

from actors.adapters.limits import LOOPBACK, REAL_HOST
from actors.desk import Settings
from actors.domain.keyschedule import Timing
from actors.errors import ConfigError
from actors.feed import ROTATE_S
from supervisor import config
from supervisor.config import Config, Exchange, Rates, check, identity, load, rationing, read
from supervisor.document import Problems
from supervisor.spec import Kept
from supervisor.wiring import Patience

EXAMPLE = Path(__file__).resolve().parents[2] / "etc" / "otod.toml"


def keys_of(kind: type[Struct], path: str = "") -> set[str]:
    found = set()
    for field in fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            found |= keys_of(field.type, f"{path}{field.name}.")
        else:
            found.add(f"{path}{field.name}")
    return found


def keys_in(document: dict, path: str = "") -> set[str]:
    found = set()
    for key, value in document.items():
        leaf = not isinstance(value, dict) or f"{path}{key}" in ("control.users", "notifications.users")
        found |= {f"{path}{key}"} if leaf else keys_in(value, f"{path}{key}.")
    return found


class TestExample:
    def test_shows_exactly_the_defaults(self):
        assert load(EXAMPLE) == Config() == load(None)

    def test_shows_every_key_and_no_other(self):
        assert keys_in(tomllib.loads(EXAMPLE.read_text())) == keys_of(Config)

    def test_says_something_about_every_key(self):
        explained = False
        for line in EXAMPLE.read_text().splitlines():
            if line.startswith("#"):
                explained = True
            elif re.match(r"\w+ = ", line):
                assert explained, line
            elif not line:
                explained = False

    def test_every_section_stands_in_the_order_of_the_struct(self):
        sections = re.findall(r"^\[(\w+)\]", EXAMPLE.read_text(), re.MULTILINE)
        assert sections == [field.name for field in fields(Config) if field.name in sections]


class TestMistakes:
    def test_are_all_said_at_once(self, tmp_path):
        path = tmp_path / "otod.toml"
        path.write_text(
            'instanse = "x"\nlooks = 3\nstate_dir = "relative"\n'
            '[exchange]\nmode = "binanse"\nrest_base = "http://www.example.org"\ncall_s_max = "10"\n'
            "[exchange.rates]\nprivate_per_s = 11\n"
            "[placement]\nlooks = 1\nstale_s = 3\n"
            "[supervision]\ndelay_s = 31.0\ninstance = 1\n"
        )
        with pytest.raises(Problems) as caught:
            load(path)
        assert [problem.key for problem in caught.value.problems] == [
            "instanse", "looks", "state_dir", "exchange.mode", "exchange.rest_base", "exchange.call_s_max",
            "exchange.rates.private_per_s", "placement.looks", "placement.stale_s", "supervision.instance",
            "supervision.delay_s",
        ]  # fmt: skip
        text = str(caught.value)
        assert text.startswith(f"11 mistakes in {path}\n")
        for part in (
            "did you mean instance?", "it belongs in [placement]", "did you mean binance?", "unencrypted",
            'exchange.call_s_max = "10": allowed: a number of seconds from 0.5 to 120', "it belongs in [market]",
            "it belongs above all sections",
        ):  # fmt: skip
            assert part in text
        assert check(path) == list(caught.value.problems)

    def test_an_unreadable_file_is_one(self, tmp_path):
        path = tmp_path / "absent.toml"
        with pytest.raises(ConfigError):
            load(path)
        assert "cannot read it" in str(check(path)[0])

    def test_a_good_file_has_none(self, tmp_path):
        path = tmp_path / "otod.toml"
        path.write_text('[exchange]\nmode = "binance"\nrest_base = "http://127.0.0.1:8701"\n[market]\nstale_s = 12.5\n')
        assert check(path) == []
        assert (load(path).exchange.mode, load(path).market.stale_s) == ("binance", 12.5)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"urls": ["tgram://s3cr3t"]},
            {"urls": ["s3cr3t"]},
            {"urls": "json://s3cr3t"},
            {"urls": ["nonsense://s3cr3t/1"]},
            {"urls": ["json://127.0.0.1/s3cr3t", "json://127.0.0.1/s3cr3t"]},
            {"users": {"alice": ["tgram://s3cr3t"]}},
            {"users": {"alice": ["s3cr3t"]}},
        ],
    )
    def test_wrong_urls_of_notifications_are_refused_and_never_shown(self, wrong):
        config, problems = read({"notifications": wrong})
        assert len(problems) == 1
        assert "s3cr3t" not in str(problems)
        assert "s3cr3t" not in repr(config)

    def test_urls_that_a_service_can_be_made_of_are_taken(self):
        urls = ["tgram://123456789:abcdefg_hijklmnop/12349876", "json://127.0.0.1:9/hook", "mailto://u:p@example.com"]
        config, problems = read({"notifications": {"urls": urls, "users": {"alice": ["bark://host/devicekey"]}}})
        assert problems == []
        assert config.notifications.urls == tuple(urls)
        assert "devicekey" not in repr(config)


class TestMode:
    def test_paper_is_the_default_and_real_money_is_spelled_out(self):
        assert Config().exchange.mode == "paper"

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({}, "paper"),
            ({"mode": "binance"}, "binance www.binance.com nbstream.binance.com"),
            (
                {
                    "mode": "binance",
                    "rest_base": "http://127.0.0.1:8701",
                    "ws_public": "ws://localhost:8702/w3w/wsa/stream",
                    "ws_user": "ws://[::1]:8702/w3w/stream",
                },
                "binance loopback",
            ),
            (
                {"mode": "binance", "rest_base": "https://Example.org:8443"},
                "binance example.org:8443 nbstream.binance.com",
            ),
        ],
    )
    def test_the_identity_names_mode_and_hosts_but_no_loopback_port(self, change, name):
        assert identity(replace(Exchange(), **change)) == name


class TestRates:
    LOCAL = Exchange(mode="binance", rest_base="http://127.0.0.1:1")
    REAL = Exchange(mode="binance")

    def test_auto_is_careful_on_a_real_host_and_free_on_this_machine(self):
        assert rationing(self.REAL) == REAL_HOST
        assert rationing(self.LOCAL) == LOOPBACK
        assert rationing(Exchange()) == LOOPBACK

    def test_what_is_configured_counts(self):
        wanted = Rates(
            private_per_s=2,
            private_burst=2,
            public_per_s=3,
            public_burst=4,
            placement_spacing_s=0.25,
            address_per_s=0,
        )
        rates = rationing(replace(self.LOCAL, rates=wanted))
        assert (rates.private.per_s, rates.private.burst, rates.private.reserve) == (2, 2, 1)
        assert (rates.public.per_s, rates.public.burst) == (3, 4)
        assert (rates.spacing_s, rates.address_per_s) == (0.25, None)


class TestPlaces:
    ENV = {"HOME": "/home/u", "XDG_STATE_HOME": "/x", "STATE_DIRECTORY": "/s:/t", "RUNTIME_DIRECTORY": "/r:/q"}  # noqa: RUF012

    def without(self, *names):
        return {name: value for name, value in self.ENV.items() if name not in names}

    def test_state_directory_is_searched_in_the_order_of_the_contract(self, tmp_path):
        find = config.state_directory
        assert find("/option", "/configured", self.ENV) == Path("/option")
        assert find(None, "/configured", self.ENV) == Path("/configured")
        assert find(None, "", self.ENV) == Path("/s")
        assert find(None, "", self.without("STATE_DIRECTORY"), name="otod-paper") == Path("/x/otod-paper")
        bare = self.without("STATE_DIRECTORY", "XDG_STATE_HOME")
        assert find(None, "", bare) == Path("/home/u/.local/state/otod")
        assert find(None, "", {}) == Path("/.local/state/otod")

    def test_a_relative_option_is_of_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert config.state_directory("here", "", {}) == tmp_path / "here"

    def test_runtime_directory(self):
        find = config.runtime_directory
        assert find("/c", self.ENV, Path("/s")) == Path("/c")
        assert find("", self.ENV, Path("/s")) == Path("/r")
        assert find("", {}, Path("/s")) == Path("/s/run")


class TestAgreement:
    """Defaults that are told twice are the same."""

    def test_supervision_with_the_specs(self):
        defaults = {field.name: field.default for field in fields(Kept)}
        assert {key: defaults[key] for key in config.kept(Config().supervision)} == config.kept(Config().supervision)

    def test_placement_and_market_with_the_traders_settings(self):
        defaults = {field.name: field.default for field in fields(Settings)}
        written = asdict(Config().placement) | asdict(Config().market)
        assert {key: defaults[key] for key in written if key in defaults} == {
            key: value for key, value in written.items() if key in defaults
        }

    def test_feeds_and_store_with_their_own(self):
        assert Config().market.rotate_s == ROTATE_S
        store = asdict(Config().store)
        assert {key: store[key] for key in ("publish_s", "commit_wait_s", "commit_rows")} == {
            key: getattr(Patience(), key) for key in ("publish_s", "commit_wait_s", "commit_rows")
        }

    def test_listen_keys_with_the_schedule(self):
        assert Config().exchange.listen_key_renew_s == Timing().renew_s

    def test_numbers_are_no_decimals_in_the_structs(self):
        config, problems = read({"market": {"stale_s": Decimal("12.5")}})
        assert not problems
        assert type(config.market.stale_s) is float

"""The configuration of the service: `etc/otod.toml` as frozen structs, checked as a whole (contract § 6).

Each struct is one section of the file, each field one key, with its rule and its default; `etc/otod.toml` shows every
one of them with unit and meaning, and a test holds the two together. "auto", "" and 0 stand for "decided elsewhere",
where the file says so, because TOML has no null.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Struct
from msgspec.structs import asdict

from actors.adapters.dialer import endpoint, is_loopback
from actors.adapters.limits import LOOPBACK, REAL_HOST, Allowance
from actors.adapters.limits import Rates as Rationing
from actors.errors import ConfigError
from supervisor.access import Access
from supervisor.document import (
    Auto,
    Flag,
    ListOf,
    MapOf,
    Number,
    Problem,
    Problems,
    Seconds,
    SecretUrls,
    Text,
    UidOrName,
    Url,
    Whole,
    Word,
    parse_file,
    read_table,
    rules_of,
    show,
)
from supervisor.userfile import USER_NAME

DEFAULT_PATH = Path("/etc/otod/otod.toml")

DAY_S = 86_400
_DIRECTORY = Text(r"|/.*", 'an absolute path, or "" for the usual place')
_COMMON_NAME = Text(r"[^\x00-\x1f\x7f]{1,64}", "the common name of a certificate")
_LOOPBACK_PORT = r"|(127\.0\.0\.1|localhost|\[::1\]):([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3})"
_USER = Text(USER_NAME, "a user name: a-z 0-9 _ -, at most 32")

Callers = tuple[int | str, ...]


class Rates(Struct, frozen=True, kw_only=True):
    """[exchange.rates] None: by host, as wire § 10.1 suggests for a real one, or freely on the loopback."""

    private_per_s: Annotated[float | None, Auto(Number(0.01, 10))] = None  # 10: hard maximum (NFR-004)
    private_burst: Annotated[int | None, Auto(Whole(2, 10))] = None
    public_per_s: Annotated[float | None, Auto(Number(0.01, 10))] = None
    public_burst: Annotated[int | None, Auto(Whole(1, 100))] = None
    placement_spacing_s: Annotated[float | None, Auto(Seconds(0, 60))] = None
    address_per_s: Annotated[int | None, Auto(Whole(0, 1000))] = None  # 0: no ceiling


class Exchange(Struct, frozen=True, kw_only=True):
    """[exchange]"""

    mode: Annotated[Literal["paper", "binance"], Word("paper", "binance")] = "paper"
    rest_base: Annotated[str, Url("http", path=False)] = "https://www.binance.com"
    ws_public: Annotated[str, Url("ws", path=True)] = "wss://nbstream.binance.com/w3w/wsa/stream"
    ws_user: Annotated[str, Url("ws", path=True)] = "wss://nbstream.binance.com/w3w/stream"
    call_s_max: Annotated[float, Seconds(0.5, 120)] = 10.0
    connect_s_max: Annotated[float, Seconds(0.1, 60)] = 5.0
    listen_key_renew_s: Annotated[float, Seconds(10, 1800)] = 1500.0
    rates: Rates = Rates()


class Remote(Struct, frozen=True, kw_only=True):
    """[control.remote] Off while listen is "". A caller is the common name of its certificate."""

    listen: Annotated[str, Text(r"|tls\+tcp://\S+:[0-9]{1,5}", '"", or tls+tcp://ADDRESS:PORT')] = ""
    certificate: Annotated[str, _DIRECTORY] = ""
    key: Annotated[str, _DIRECTORY] = ""
    clients_ca: Annotated[str, _DIRECTORY] = ""
    operators: Annotated[tuple[str, ...], ListOf(_COMMON_NAME)] = ()
    viewers: Annotated[tuple[str, ...], ListOf(_COMMON_NAME)] = ()


class Control(Struct, frozen=True, kw_only=True):
    """[control] Who may do what is decided by the caller's uid, as the kernel tells it."""

    operators: Annotated[Callers, ListOf(UidOrName())] = ()
    viewers: Annotated[Callers, ListOf(UidOrName())] = ()
    users: Annotated[dict[str, Callers], MapOf(_USER, ListOf(UidOrName()))] = {}
    socket_mode: Annotated[str, Word("0600", "0660", "0666")] = "0660"
    remote: Remote = Remote()


class Store(Struct, frozen=True, kw_only=True):
    """[store]"""

    commit_rows: Annotated[int, Whole(1, 100_000)] = 1000
    commit_wait_s: Annotated[float, Seconds(0, 1)] = 0.0
    publish_s: Annotated[float, Seconds(0.5, 3600)] = 2.0
    live_days: Annotated[int, Whole(0, 36_500)] = 0
    memory_limit: Annotated[str, Text(r"[1-9][0-9]{0,5}(MB|GB)", 'a size as DuckDB reads it: "256MB", "1GB"')] = "256MB"
    threads: Annotated[int, Whole(1, 64)] = 1


class Supervision(Struct, frozen=True, kw_only=True):
    """[supervision] Of traders and feeds; names and meanings as in supervisor/spec.py, Kept."""

    intensity: Annotated[int, Whole(0, 1000)] = 5
    period_s: Annotated[float, Seconds(1, DAY_S)] = 60.0
    delay_s: Annotated[float, Seconds(0, 60)] = 0.1
    delay_factor: Annotated[float, Number(1, 10)] = 2.0
    delay_s_max: Annotated[float, Seconds(0, 3600)] = 30.0
    steady_s: Annotated[float, Seconds(1, DAY_S)] = 10.0
    ready_s_max: Annotated[float, Seconds(1, 600)] = 10.0


class MarketData(Struct, frozen=True, kw_only=True):
    """[market]"""

    stale_s: Annotated[float, Seconds(1, 600)] = 30.0
    price_age_s_max: Annotated[float, Seconds(11, 3600)] = 60.0  # confirmed 10 s before
    rotate_s: Annotated[float, Seconds(60, 82_800)] = 81_000.0


class Placement(Struct, frozen=True, kw_only=True):
    """[placement] Lower bounds are safety: one look proves nothing (design § 4)."""

    settle_s: Annotated[float, Seconds(1, 600)] = 20.0
    looks: Annotated[int, Whole(2, 100)] = 4
    poll_s: Annotated[float, Seconds(1, 600)] = 15.0
    credit_lag_s: Annotated[float, Seconds(0, 600)] = 10.0


class Service(Struct, frozen=True, kw_only=True):
    """[service]"""

    drain_s: Annotated[float, Seconds(0, 3600)] = 30.0


class LogSettings(Struct, frozen=True, kw_only=True):
    """[logging]"""

    level: Annotated[Literal["debug", "info", "warning", "error"], Word("debug", "info", "warning", "error")] = "info"
    form: Annotated[Literal["auto", "json", "journal", "console"], Word("auto", "json", "journal", "console")] = "auto"


class Metrics(Struct, frozen=True, kw_only=True):
    """[metrics] None of it: `otoctl metrics` tells the same."""

    listen: Annotated[str, Text(_LOOPBACK_PORT, '"", or 127.0.0.1:PORT: this machine only')] = ""
    textfile: Annotated[str, _DIRECTORY] = ""
    textfile_s: Annotated[float, Seconds(1, 3600)] = 15.0


class Notifications(Struct, frozen=True, kw_only=True):
    """[notifications]"""

    urls: Annotated[tuple[str, ...], SecretUrls()] = ()
    users: Annotated[dict[str, tuple[str, ...]], MapOf(_USER, SecretUrls())] = {}
    repeat_s: Annotated[float, Seconds(10, 7 * DAY_S)] = 3600.0
    credential_days: Annotated[int, Whole(0, 3650)] = 7
    summaries: Annotated[bool, Flag()] = True

    def __repr__(self) -> str:
        users = ", ".join(self.users)
        return f"Notifications({len(self.urls)} urls, users {users or 'none'}, repeat_s={self.repeat_s})"


class Config(Struct, frozen=True, kw_only=True):
    """The whole file. instance, state_dir, runtime_dir "": the host name, and the places of contract § 2."""

    instance: Annotated[
        str, Text(r"[A-Za-z0-9_.-]{0,64}", 'letters, digits, _ . -, at most 64; "" for the host name')
    ] = ""
    state_dir: Annotated[str, _DIRECTORY] = ""
    runtime_dir: Annotated[str, _DIRECTORY] = ""
    exchange: Exchange = Exchange()
    control: Control = Control()
    store: Store = Store()
    supervision: Supervision = Supervision()
    market: MarketData = MarketData()
    placement: Placement = Placement()
    service: Service = Service()
    logging: LogSettings = LogSettings()
    metrics: Metrics = Metrics()
    notifications: Notifications = Notifications()


# -- reading


def load(path: Path | None) -> Config:
    """The configuration in this file; None: the defaults.

    Raises: Problems, everything that is wrong at once; ConfigError, the file is unreadable or no TOML.
    """
    if path is None:
        return Config()
    config, problems = read(parse_file(path))
    if problems:
        raise Problems(problems, where=str(path))
    return config


def check(path: Path) -> list[Problem]:
    """Everything that is wrong with the file; [] if otod would start with it."""
    try:
        return read(parse_file(path))[1]
    except ConfigError as error:
        return [Problem(str(path), None, f"{error.what}; {error.do}")]


def read(document: Mapping[str, Any]) -> tuple[Config, list[Problem]]:
    """A parsed document; keys with problems stand at their defaults."""
    problems: list[Problem] = []
    config = read_table(Config, document, problems, words=_sections())
    if config.supervision.delay_s > config.supervision.delay_s_max:
        shown = show(config.supervision.delay_s)
        problems.append(Problem("supervision.delay_s", shown, "allowed: at most supervision.delay_s_max"))
    remote = config.control.remote
    if remote.listen:
        for key in ("certificate", "key", "clients_ca"):
            if not getattr(remote, key):
                problems.append(Problem(f"control.remote.{key}", None, "missing; listen needs all three files"))
    problems += _unknown_services(config.notifications)
    return config, problems


def _unknown_services(settings: Notifications) -> list[Problem]:
    """URLs that no service can be made of; they are told by their place, for they may hold secrets."""
    lists = {"urls": settings.urls, **{f"users.{user}": urls for user, urls in settings.users.items()}}
    if not any(lists.values()):
        return []
    from actors.adapters.notices import understood  # apprise is heavy: only who has a target pays for it

    return [
        Problem(f"notifications.{key}", None, f"element {number} is no URL that apprise understands: see etc/README.md")
        for key, urls in lists.items()
        for number, url in enumerate(urls, start=1)
        if not understood(url)
    ]


def _sections() -> dict[str, str]:
    """Key -> the section it belongs in, for keys that stand in the wrong one."""
    found = {key: "above all sections" for key, rule in rules_of(Config).items() if not isinstance(rule, type)}
    for section, kind in rules_of(Config).items():
        if isinstance(kind, type):
            found |= dict.fromkeys(rules_of(kind), f"in [{section}]")
    return found | dict.fromkeys(rules_of(Rates), "in [exchange.rates]")


# -- what follows from it


def identity(exchange: Exchange) -> str:
    """What a state directory belongs to: "paper", or the mode and the host names (contract § 2).

    Ports of loopback hosts do not count, and all loopback names are one: the same paper exchange may come back at
    another port. Args: as read, so the URLs are sound.
    """
    if exchange.mode == "paper":
        return "paper"
    hosts: dict[str, None] = {}
    for url in (exchange.rest_base, exchange.ws_public, exchange.ws_user):
        scheme = "ws" if url.startswith("ws") else "http"
        at = endpoint(url, plain=scheme, secure=f"{scheme}s", where="")
        hosts["loopback" if is_loopback(at.host) else at.authority.lower()] = None
    return " ".join((exchange.mode, *hosts))


def rationing(exchange: Exchange) -> Rationing:
    """The rates in force: as configured, "auto" by host: those of wire § 10.1, or free ones on the loopback."""
    at = endpoint(exchange.rest_base, plain="http", secure="https", where="exchange.rest_base")
    usual = LOOPBACK if is_loopback(at.host) or exchange.mode == "paper" else REAL_HOST
    wanted = exchange.rates
    burst = usual.private.burst if wanted.private_burst is None else wanted.private_burst
    return Rationing(
        private=Allowance(
            per_s=usual.private.per_s if wanted.private_per_s is None else wanted.private_per_s,
            burst=burst,
            reserve=min(usual.private.reserve, burst - 1),
        ),
        public=Allowance(
            per_s=usual.public.per_s if wanted.public_per_s is None else wanted.public_per_s,
            burst=usual.public.burst if wanted.public_burst is None else wanted.public_burst,
        ),
        spacing_s=usual.spacing_s if wanted.placement_spacing_s is None else wanted.placement_spacing_s,
        address_per_s=usual.address_per_s if wanted.address_per_s is None else wanted.address_per_s or None,
    )


def access(control: Control) -> Access:
    """Who may use the control socket; root and this process's own user always."""
    return Access(
        operators=control.operators,
        viewers=control.viewers,
        users=control.users,
        remote_operators=control.remote.operators,
        remote_viewers=control.remote.viewers,
        own_uid=os.geteuid(),
    )


def kept(supervision: Supervision) -> dict[str, Any]:
    """As options of supervisor/spec.py, Kept."""
    return asdict(supervision)


def state_directory(option: str | None, configured: str, environ: Mapping[str, str], *, name: str = "otod") -> Path:
    """Where the records are: --state-dir, else the configuration's, else $STATE_DIRECTORY, else the user's own place.

    name: "otod", "otod-paper" or "otod-exchange": the directory's name in the user's own place (contract § 2).
    """
    if option:
        return Path(option).absolute()
    if configured:
        return Path(configured)
    given = [part for part in environ.get("STATE_DIRECTORY", "").split(":") if part]
    if given:
        return Path(given[0])
    home = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME") or "/") / ".local" / "state")
    return Path(home) / name


def runtime_directory(configured: str, environ: Mapping[str, str], state_dir: Path) -> Path:
    """Where the sockets are: the configuration's, else $RUNTIME_DIRECTORY, else `run` in the state directory."""
    given = [part for part in environ.get("RUNTIME_DIRECTORY", "").split(":") if part]
    return Path(configured or (given[0] if given else state_dir / "run"))

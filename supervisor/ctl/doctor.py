"""`otoctl doctor`: is everything as it should be, here and in the daemon, and what to do where it is not.

What the daemon can tell is asked of it; configuration, key file, disk and sockets are looked at here, as far as this
user may. Nothing is changed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from actors.errors import IntegrityError, StoreError
from supervisor.ctl.client import EXIT_NOT_PERMITTED, Client, Trouble
from supervisor.ctl.sockets import state_directory, state_homes

DISK_FREE_MIN = 1 << 30  # a busy day of 1,000 users writes some 100 MB
SKEW_MS_MAX = 2_000  # the grain of what is measured is half a second
CONFIG = Path("/etc/otod/otod.toml")
TROUBLED = 0.2  # share of requests without a reply

Verdict = Literal["good", "note", "bad"]


class Finding(Struct, frozen=True, kw_only=True):
    """what: one thing that was looked at, in words. do: what helps; empty where all is well."""

    about: str
    verdict: Verdict
    what: str
    do: str = ""


def examine(connect: Callable[[], Client], environ: Mapping[str, str], *, config: Path | None) -> list[Finding]:
    """Everything that can be looked at. config: the file of the service; None: the usual place, if it is there."""
    found = list(_configuration(config))
    try:
        with connect() as client:
            found += _daemon(client)
            found += _asked(client)
            places = [place for place in (state_directory(client.url),) if place is not None]
    except Trouble as trouble:
        head, _, do = str(trouble).partition("\n  -> ")
        found.append(Finding(about="socket", verdict="bad", what=head, do=do))
        places = []
    places += [place for place in state_homes(environ) if place not in places and _is_there(place)][:1]
    for place in places[:1]:
        found += _place(place)
    return found


# -- here


def _configuration(config: Path | None) -> Iterator[Finding]:
    path = config or CONFIG
    try:
        path.open("rb").close()
    except FileNotFoundError:
        yield Finding(about="configuration", verdict="note", what=f"no {path}: `otod run` would use the defaults")
        return
    except PermissionError:
        yield Finding(
            about="configuration", verdict="note", what=f"you may not read {path}", do="ask its owner to look"
        )
        return
    from supervisor.config import check

    problems = check(path)
    for problem in problems:
        yield Finding(about="configuration", verdict="bad", what=f"{path}: {problem}", do=f"edit {path}")
    if not problems:
        yield Finding(about="configuration", verdict="good", what=f"{path} is sound")


def _is_there(directory: Path) -> bool:
    """Also False where this user may not even look."""
    try:
        return directory.is_dir()
    except OSError:
        return False


def _place(directory: Path) -> Iterator[Finding]:
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        yield Finding(about="disk", verdict="note", what=f"{directory}: {error.strerror}", do="ask its owner to look")
        return
    size = f"{free / (1 << 30):.1f} GiB free for {directory}"
    enough = free >= DISK_FREE_MIN
    do = "" if enough else "free space: a full disk pauses everybody (STORE_UNAVAILABLE)"
    yield Finding(about="disk", verdict="good" if enough else "bad", what=size, do=do)
    yield _key(directory)


def _key(directory: Path) -> Finding:
    key = directory / "master.key"
    try:
        mode = key.stat().st_mode & 0o777
    except FileNotFoundError:
        what = f"no {key}: systemd hands the key in, or nothing was started yet"
        used = (directory / "live").is_dir()
        do = "if neither is so, put it back before the next start, or no stored credentials open" if used else ""
        return Finding(about="key", verdict="note", what=what, do=do)
    except OSError as error:
        return Finding(about="key", verdict="note", what=f"{key}: {error.strerror}", do="ask its owner to look")
    what = f"{key} has mode {mode:04o}"
    if mode & 0o077:
        do = f"chmod 600 {key}; if others may have read it: otoctl vault rotate"
        return Finding(about="key", verdict="bad", what=what, do=do)
    from actors.adapters.vault import FileVault

    try:
        vault = FileVault.read(key, forbidden=0o077)
    except IntegrityError as error:
        do = "put it back from a copy before the next start; while otod still runs, otoctl vault rotate makes a new one"
        return Finding(about="key", verdict="bad", what=f"{key}: {error.what}", do=do)
    except StoreError as error:
        return Finding(about="key", verdict="note", what=f"{key}: {error.what}", do="ask its owner to look")
    if vault.keys > 1:
        what += f", and {vault.keys} keys"
        return Finding(about="key", verdict="note", what=what, do="a change of the key is open: otoctl vault rotate")
    return Finding(about="key", verdict="good", what=what)


# -- the daemon


def _daemon(client: Client) -> Iterator[Finding]:
    started = time.perf_counter()
    system = client.data("system.status")
    took_ms = (time.perf_counter() - started) * 1000
    what = f"otod {system['version']} ({system['mode']}) answers at {client.url} in {took_ms:.1f} ms"
    yield Finding(about="socket", verdict="good", what=what)
    if not system["users"]["total"]:
        yield Finding(about="users", verdict="note", what="there are none yet", do="otoctl user create --help")


def _asked(client: Client) -> Iterator[Finding]:
    """Each question by itself: a caller with few rights sees what it may."""
    for ask in (_health, _exchange, _reach, _credentials):
        try:
            yield from ask(client)
        except Trouble as trouble:
            if trouble.exit_code != EXIT_NOT_PERMITTED:
                raise
            yield Finding(about=ask.__name__.strip("_"), verdict="note", what="you may not look at this")


def _health(client: Client) -> Iterator[Finding]:
    health = client.data("system.health")
    for problem in health["problems"]:
        yield Finding(about="health", verdict="bad", what=f"{problem['where']}: {problem['what']}", do=problem["do"])
    if health["healthy"]:
        yield Finding(about="health", verdict="good", what="every actor runs, every stream is up, nobody is paused")


def _exchange(client: Client) -> Iterator[Finding]:
    sessions: Mapping[str, Any] = client.data("system.metrics").get("requests", {})
    asked = sum(each["requests"] for each in sessions.values())
    lost = sum(each["not_sent"] + each["no_reply"] for each in sessions.values())
    if not asked:
        yield Finding(about="exchange", verdict="note", what="nothing was asked of it yet")
        return
    what = f"{asked} requests, {lost} without a reply"
    bad = lost > asked * TROUBLED
    do = "check the network and the exchange's status page" if bad else ""
    yield Finding(about="exchange", verdict="bad" if bad else "good", what=what, do=do)
    skews = [each["server_skew_ms"] for each in sessions.values() if each["server_skew_ms"] is not None]
    if skews:
        worst = max(skews, key=abs)
        off = abs(worst) > SKEW_MS_MAX
        do = "set the system clock (NTP)" if off else ""
        what = f"the exchange's clock differs by {worst} ms at most"
        yield Finding(about="clock", verdict="bad" if off else "good", what=what, do=do)


def _reach(client: Client) -> Iterator[Finding]:
    """Something cheap, asked of the exchange now for somebody who has credentials: counts tell of the past."""
    known = client.data("user.list", {"limit": 1000})["items"]
    user = next((each["user"] for each in known if each["credentials"] == "valid"), None)
    if user is None:
        return
    started = time.perf_counter()
    try:
        there = client.data("account.volume", {"user": user})["users"][user]["exchange"]
    except Trouble as trouble:
        if trouble.exit_code == EXIT_NOT_PERMITTED:
            raise
        there = {"error": str(trouble)}
    took_ms = (time.perf_counter() - started) * 1000
    if "error" in there:
        do = "check the network, the exchange's status page, and these credentials"
        yield Finding(about="reachable", verdict="bad", what=f"asked for {user}: {there['error']}", do=do)
    else:
        yield Finding(about="reachable", verdict="good", what=f"the exchange answers for {user}, {took_ms:.0f} ms")


def _credentials(client: Client) -> Iterator[Finding]:
    page, seen = 1, 0
    states: dict[str, list[str]] = {}
    while True:
        users = client.data("user.list", {"limit": 1000, "page": page})
        for each in users["items"]:
            states.setdefault(each["credentials"], []).append(each["user"])
        seen += len(users["items"])
        if not users["items"] or seen >= users["total"]:
            break
        page += 1
    for state, names in states.items():
        who = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        if state == "valid":
            what = f"stored and not refused so far: {who}"
            yield Finding(about="credentials", verdict="good", what=what)
        elif state == "invalid":
            do = "hand over new ones: otoctl user set-credentials USER, then trading resume"
            yield Finding(about="credentials", verdict="bad", what=f"refused by the exchange: {who}", do=do)
        else:
            do = "otoctl user set-credentials USER"
            yield Finding(about="credentials", verdict="note", what=f"none yet: {who}", do=do)

"""What all commands of otoctl share: options, printing, exit codes."""

from __future__ import annotations

import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TextIO

import click
import msgspec
from click.shell_completion import CompletionItem
from msgspec import Struct

from actors.domain.trading import AUTO_RESUMABLE
from supervisor.control.arguments import LIMIT_MAX
from supervisor.control.table import BY_NAME, SETTINGS
from supervisor.ctl.client import EXIT_FAILED, EXIT_NO_DAEMON, Client, Trouble, refused

TIMEOUT_S = 15.0  # longer than the daemon's own deadline, so that its word comes first


class Options(Struct):
    """What was said before the command."""

    socket: str | None = None
    as_json: bool = False
    timeout_s: float = TIMEOUT_S

    def client(self) -> Client:
        return Client(os.environ, socket=self.socket, timeout_s=self.timeout_s)


def options_of(ctx: click.Context) -> Options:
    return ctx.ensure_object(Options)


def perform(ctx: click.Context, cmd: str, args: Mapping[str, Any]) -> None:
    """Asks the daemon and prints its answer; ends with the exit code of contract § 1."""
    try:
        with options_of(ctx).client() as client:
            reply = client.call(cmd, args)
    except Trouble as trouble:
        failing(ctx, trouble)
    if not reply["ok"]:
        tell_errors(reply.get("data") or {})
        failing(ctx, refused(reply["error"]))
    show(ctx, cmd, reply["data"])


def watch(ctx: click.Context, cmd: str, args: Mapping[str, Any], every_s: float) -> NoReturn:
    """Shows the answer again and again, on a terminal in place, until Ctrl-C."""

    def look(client: Client) -> Callable[[], None]:
        reply = client.call(cmd, args)
        if reply["ok"]:
            return lambda: show(ctx, cmd, reply["data"], final=False)

        def tell() -> None:
            tell_errors(reply.get("data") or {})
            complain(refused(reply["error"]))

        return tell

    repeat(ctx, look, every_s)


def repeat(ctx: click.Context, look: Callable[[Client], Callable[[], None]], every_s: float) -> NoReturn:
    """look: asks, and returns what prints the answer. A daemon that is gone is waited for."""
    import time

    while True:
        try:
            with options_of(ctx).client() as client:
                tell = look(client)
            if sys.stdout.isatty():
                click.clear()
            tell()
        except Trouble as trouble:
            if trouble.exit_code != EXIT_NO_DAEMON:
                failing(ctx, trouble)
            complain(trouble)
        sys.stdout.flush()
        time.sleep(every_s)  # sim-ok: a client of its own, on real time


class Seconds(click.FloatRange):
    """A time to wait: from a tenth of a second to a day, and no NaN, which is in every range."""

    def __init__(self) -> None:
        super().__init__(min=0.1, max=86_400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


def watch_option() -> click.Option:
    about = "Again every S seconds (2), until Ctrl-C."
    return click.Option(
        ["--watch", "every_s"], type=Seconds(), is_flag=False, flag_value=2.0, metavar="[S]", help=about
    )


def confirm(what: str) -> None:
    """Asks a person; a script has no terminal, and means what it says. Raises: click.Abort."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(f"{what} Go on?", abort=True, err=True)


def show(ctx: click.Context, cmd: str, data: Any, *, final: bool = True) -> None:
    """Prints an answer, and if it is the final one ends with exit code 1 where it is bad news.

    Bad news: some users failed, the daemon is not healthy, credentials are not valid.
    """
    if options_of(ctx).as_json:
        print_json(data)
    else:
        from supervisor.ctl.tables import console, tables

        for each in tables(cmd, data):
            console().print(each)
    some_failed = BY_NAME[cmd].on_users and tell_errors(data)
    bad = cmd == "system.health" and not data["healthy"]
    if cmd == "user.check-credentials":
        bad = any(each.get("valid") is not True for each in data["users"].values())
    if final and (some_failed or bad):
        ctx.exit(EXIT_FAILED)


def tell_errors(data: Mapping[str, Any]) -> bool:
    """Each failed user's error on stderr. Were there any?"""
    failed = {user: each["error"] for user, each in data.get("users", {}).items() if "error" in each}
    for user, error in failed.items():
        complain(f"{user}: {refused(error)}")
    return bool(failed)


def failing(ctx: click.Context, trouble: Trouble) -> NoReturn:
    """Tells of trouble on stderr (with --json also its error object on stdout), and ends with its exit code."""
    if options_of(ctx).as_json and trouble.error is not None:
        print_json({"error": trouble.error})
    complain(trouble)
    ctx.exit(trouble.exit_code)


def complain(what: object) -> None:
    """On stderr."""
    click.echo(laid_out(f"otoctl: {what}", sys.stderr), err=True)


def laid_out(text: str, stream: TextIO, *, indent: int = 5) -> str:
    """Long lines broken between words where people look at them; as they are where programs do."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    lines = (
        textwrap.wrap(
            line,
            columns,
            subsequent_indent=" " * (indent + len(line) - len(line.lstrip())),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )
    return "\n".join("\n".join(each) for each in lines)


def print_json(document: Any) -> None:
    """One line for programs; laid out for people when they look at it."""
    text = msgspec.json.encode(document).decode()
    click.echo(msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text)


# -- parameters


def json_option() -> click.Option:
    """--json, understood after the command, too."""
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_json_chosen, help="Print JSON for programs."
    )


def _json_chosen(ctx: click.Context, parameter: click.Parameter, chosen: bool) -> None:
    if chosen:
        options_of(ctx).as_json = True


def users_argument(*, one: bool = False) -> click.Argument:
    """USER, or as many as wanted."""
    if one:
        return click.Argument(["users"], metavar="USER", shell_complete=complete_user)
    return click.Argument(["users"], nargs=-1, metavar="[USER]...", shell_complete=complete_user)


Completing = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completing(words: Callable[[Client, click.Context, str], Iterable[str]]) -> Completing:
    """What a shell offers for a parameter: words that the daemon knows; none where no daemon answers at once."""

    def complete(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        try:
            with Client(os.environ, socket=ctx.find_root().params.get("socket"), timeout_s=1.0) as client:
                return [CompletionItem(word) for word in words(client, ctx, begun) if word.startswith(begun)]
        except Trouble:
            return []

    return complete


def _tokens(client: Client, ctx: click.Context, begun: str) -> Iterable[str]:
    page = client.data("token.list", {"find": begun, "every": bool(begun), "limit": LIMIT_MAX})
    return dict.fromkeys(each["token"] for each in page["items"] if each["token"])


def _users(client: Client, ctx: click.Context, begun: str) -> Iterable[str]:
    named = ctx.params.get("users")
    said = named if isinstance(named, tuple) else ()
    return (
        each["user"] for each in client.data("user.list", {"limit": LIMIT_MAX})["items"] if each["user"] not in said
    )


def _actors(client: Client, ctx: click.Context, begun: str) -> Iterable[str]:
    def below(node: Mapping[str, Any]) -> Iterable[str]:
        for child in node["children"]:
            yield child["path"]
            yield from below(child)

    return below(client.data("system.tree"))


def _pairs(client: Client, ctx: click.Context, begun: str) -> Iterable[str]:
    """The newest of the user that was named before."""
    user = ctx.params.get("users")
    if not isinstance(user, str):
        return ()
    return (each["pair_id"] for each in client.data("pairs.list", {"user": user})["users"][user]["items"])


def _listing(words: Iterable[str]) -> Completing:
    """Of words with commas between, the last one."""
    known = sorted(words)

    def complete(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        before, comma, last = begun.rpartition(",")
        return [CompletionItem(f"{before}{comma}{word}") for word in known if word.startswith(last)]

    return complete


complete_user, complete_token = _completing(_users), _completing(_tokens)
COMPLETING: Mapping[str, Completing] = {
    "token": complete_token,
    "user": complete_user,
    "path": _completing(_actors),
    "pair_id": _completing(_pairs),
    "unset": _listing(SETTINGS),
    "auto_resume": _listing(AUTO_RESUMABLE),
}
"""By the name of an argument."""

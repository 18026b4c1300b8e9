"""otoctl: areas and commands made from the daemon's own command table, and the short forms written by hand.

click, because it is well kept, makes nested commands at run time from data, and brings help, usage errors with exit
code 2 and completion for bash, zsh and fish. What is slow to import (nng, rich, duckdb) is imported when it is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec

from supervisor.control.protocol import did_you_mean
from supervisor.control.table import COMMANDS, Argument, Command
from supervisor.ctl.client import EXIT_FAILED, Client, Trouble

TIMEOUT_S = 15.0  # longer than the daemon's own deadline, so that its word comes first


class Options(msgspec.Struct):
    """What was said before the command."""

    socket: str | None = None
    as_json: bool = False
    timeout_s: float = TIMEOUT_S

    def client(self) -> Client:
        return Client(os.environ, socket=self.socket, timeout_s=self.timeout_s)


class Area(click.Group):
    """A group that says which command was probably meant, and turns Trouble into an exit code."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        word = args[0] if args else ""
        if word and not word.startswith("-") and self.get_command(ctx, word) is None:
            hint = did_you_mean(word, self.list_commands(ctx), say="there are", most=20)
            ctx.fail(f"No such command '{word}'; {hint}")
        return super().resolve_command(ctx, args)


def failing(ctx: click.Context, trouble: Trouble) -> None:
    """Tells of trouble on stderr (with --json also its error object on stdout), and ends with its exit code."""
    options: Options = ctx.ensure_object(Options)
    if options.as_json and trouble.error is not None:
        print_json({"error": trouble.error})
    click.echo(f"otoctl: {trouble}", err=True)
    ctx.exit(trouble.exit_code)


def print_json(document: Any) -> None:
    """One line for programs; laid out for people when they look at it."""
    text = msgspec.json.encode(document).decode()
    click.echo(msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text)


def _json_chosen(ctx: click.Context, parameter: click.Parameter, chosen: bool) -> None:
    """--json is understood after the command, too."""
    if chosen:
        ctx.ensure_object(Options).as_json = True


def json_option() -> click.Option:
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_json_chosen, help="Print JSON for programs."
    )


@click.group(cls=Area, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--socket", metavar="URL", help="The daemon's control socket; found by itself where left out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=TIMEOUT_S, show_default=True, metavar="S"
)
@click.pass_context
def otoctl(ctx: click.Context, socket: str | None, as_json: bool, timeout_s: float) -> None:
    """Look after otod: see what it does, start and stop users, query the records.

    The socket is --socket, else $OTOD_SOCKET, else that of the first daemon which answers. Exit codes: 0 done,
    1 refused or failed, 2 wrong usage, 3 no daemon, 4 not permitted.
    """
    ctx.obj = Options(socket=socket, as_json=as_json, timeout_s=timeout_s)


# -- commands from the table


def parameters(command: Command) -> list[click.Parameter]:
    """The command line form of a command's arguments: users and required ones by position, the rest as options."""
    made: list[click.Parameter] = []
    required = [argument for argument in command.args if argument.required]
    if command.on_users:
        made.append(click.Argument(["users"], nargs=1 if required else -1, required=bool(required)))
        if not required:
            made.append(click.Option(["--all", "all_users"], is_flag=True, help="All users."))
    made += [click.Argument([argument.name]) for argument in required]
    made += [_option(argument) for argument in command.args if not argument.required]
    return made


def _option(argument: Argument) -> click.Option:
    flag = f"--{argument.name.replace('_', '-')}"
    if argument.kind == "flag":
        return click.Option([flag, argument.name], is_flag=True, help=argument.about)
    kind: Any = str
    if argument.choices:
        kind = click.Choice(argument.choices)
    elif argument.kind == "count":
        kind = click.IntRange(argument.least, argument.most)
    default = argument.default or None
    return click.Option(
        [flag, argument.name], type=kind, default=default, show_default=bool(default), help=argument.about
    )


def frame_args(command: Command, given: dict[str, Any]) -> dict[str, Any]:
    """The args of the request frame. Raises: click.UsageError, an acting command that names nobody."""
    args = {name: value for name, value in given.items() if name not in ("users", "all_users") and value is not None}
    if not command.on_users:
        return args
    users = given["users"]
    if isinstance(users, str):
        return args | {"user": users}
    everybody = given["all_users"]
    if users and everybody:
        raise click.UsageError("Name users or say --all, not both.")
    if users:
        return args | {"users": list(users)}
    if command.acts and not everybody:
        raise click.UsageError(f"Name the users to {command.verb}, or say --all.")
    return args | {"all": True}  # who only looks sees everybody


def _perform(command: Command) -> Callable[..., None]:
    @click.pass_context
    def perform(ctx: click.Context, /, **given: Any) -> None:
        options = ctx.ensure_object(Options)
        args = frame_args(command, given)
        try:
            with options.client() as client:
                data = client.data(command.name, args)
        except Trouble as trouble:
            failing(ctx, trouble)
        else:
            show(ctx, command.name, data)

    return perform


def show(ctx: click.Context, cmd: str, data: Any) -> None:
    """Prints an answer, and ends with exit code 1 where it is bad news (some users failed, not healthy)."""
    if ctx.ensure_object(Options).as_json:
        print_json(data)
    else:
        from supervisor.ctl.tables import console, tables

        console().print(*tables(cmd, data), sep="\n")
    bad = [name for name, each in data.get("users", {}).items() if "error" in each] if isinstance(data, dict) else []
    for name in bad:
        error = data["users"][name]["error"]
        click.echo(
            f"otoctl: {name}: {error['message']}" + (f"\n  -> {error['hint']}" if error.get("hint") else ""), err=True
        )
    if bad or (cmd == "system.health" and not data["healthy"]):
        ctx.exit(EXIT_FAILED)


_AREAS = {
    "system": "The daemon itself: status, health, actors, versions.",
    "user": "Who trades.",
    "trading": "Start, pause, resume, stop; status and the reasons for it.",
    "stats": "Volume, progress, wear.",
    "orders": "Orders at the exchange.",
    "pairs": "Pairs: one buy and its sale.",
    "pair": "One pair.",
    "price": "Prices.",
    "actor": "One actor of the tree.",
}


def _add_areas() -> None:
    for command in COMMANDS:
        area = otoctl.commands.get(command.area)
        if area is None:
            area = Area(command.area, help=_AREAS[command.area])
            otoctl.add_command(area)
        assert isinstance(area, click.Group), area
        params = [*parameters(command), json_option()]
        area.add_command(click.Command(command.verb, callback=_perform(command), params=params, help=command.about))


_add_areas()

"""otoctl: areas and commands made from the daemon's own command table, and the short forms written by hand.

click, because it is well kept, makes nested commands at run time from data, and brings help, usage errors with exit
code 2 and completion for bash, zsh and fish. What is slow to import (nng, rich, duckdb) is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from supervisor.control.protocol import did_you_mean
from supervisor.control.table import COMMANDS, Argument, Command
from supervisor.ctl.common import TIMEOUT_S, Options, json_option, perform, users_argument
from supervisor.ctl.short import SHORT_FORMS


class Area(click.Group):
    """A group that says which command was probably meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        word = args[0] if args else ""
        if word and not word.startswith("-") and self.get_command(ctx, word) is None:
            hint = did_you_mean(word, self.list_commands(ctx), say="there are", most=20)
            ctx.fail(f"No such command '{word}'; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Area, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--socket", metavar="URL", help="The daemon's control socket; found by itself where left out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0.1), default=TIMEOUT_S, metavar="S", help="Seconds.")
@click.pass_context
def otoctl(ctx: click.Context, socket: str | None, as_json: bool, timeout_s: float) -> None:
    """Look after otod: see what it does, start and stop users, query the records.

    The socket is --socket, else $OTOD_SOCKET, else that of the first daemon which answers. Exit codes: 0 done,
    1 refused or failed, 2 wrong usage, 3 no daemon, 4 not permitted.
    """
    ctx.obj = Options(socket=socket, as_json=as_json, timeout_s=timeout_s)


# -- commands from the table

AREAS = {
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


def parameters(command: Command) -> list[click.Parameter]:
    """The command line form of a command's arguments: users and required ones by position, the rest as options."""
    made: list[click.Parameter] = []
    required = [argument for argument in command.args if argument.required]
    if command.on_users:
        made.append(users_argument(one=bool(required)))
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
    known = argument.default or None
    return click.Option([flag, argument.name], type=kind, default=known, show_default=bool(known), help=argument.about)


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


def _callback(command: Command) -> Callable[..., None]:
    @click.pass_context
    def call(ctx: click.Context, /, **given: Any) -> None:
        perform(ctx, command.name, frame_args(command, given))

    return call


def _add_areas() -> None:
    for command in COMMANDS:
        area = otoctl.commands.get(command.area)
        if area is None:
            area = Area(command.area, help=AREAS[command.area])
            otoctl.add_command(area)
        assert isinstance(area, click.Group), area
        params = [*parameters(command), json_option()]
        area.add_command(click.Command(command.verb, callback=_callback(command), params=params, help=command.about))


_add_areas()
for _short_form in SHORT_FORMS:
    otoctl.add_command(_short_form)

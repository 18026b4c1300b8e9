"""Every command as data: name, arguments, what it does, an example. Pure, and quick to import.

The server checks requests against this table, `system.commands` sends it, otoctl makes its commands, options and help
of it: a command described here exists everywhere, and nowhere otherwise. To add one: a row here, a function in
per_user.py or whole.py (a test holds them together), a line in README.md if it needs a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import Struct

from actors.domain.trading import Phase
from actors.errors import Refusal
from supervisor.control.protocol import USER_NAME, did_you_mean, echo, parse_time

Kind = Literal["text", "user", "users", "flag", "count", "time"]

TEXT_CHARS_MAX = 200
USERS_MAX = 10_000
TOKEN_FORM = r"[A-Za-z0-9_.$-]{1,40}"
PATH_FORM = r"[A-Za-z0-9_.$/-]{1,200}"
PAIR_FORM = r"[A-Za-z0-9_.-]{1,80}"
LIMIT_MAX = 1000  # a page that a reply frame and a reader can hold


class Argument(Struct, frozen=True, kw_only=True):
    """One argument of a command.

    kind: text; user (a name); users (a list of names); flag (true or false); count (whole number from `least` to
    `most`); time (RFC 3339 or a date, handed to the command as ms). form: what a text must match. choices: the
    only words.
    """

    name: str
    kind: Kind
    about: str
    required: bool = False
    default: str | int | bool | None = None
    choices: tuple[str, ...] = ()
    form: str = ""
    least: int = 1
    most: int = 1


class Command(Struct, frozen=True, kw_only=True):
    """One command. acts: it changes something, so a repeated request is answered from memory (design § 10).

    on_users: takes `user`, `users` or `all`, and is performed and answered for each user by itself.
    """

    name: str
    about: str
    args: tuple[Argument, ...] = ()
    acts: bool = False
    on_users: bool = False
    example: dict[str, Any] = {}

    @property
    def area(self) -> str:
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(".")[2]


WHOM = (
    Argument(name="user", kind="user", about="one user"),
    Argument(name="users", kind="users", about="several users"),
    Argument(name="all", kind="flag", about="all users"),
)
_TOKEN = Argument(name="token", kind="text", about="short name, e.g. KOGE", required=True, form=TOKEN_FORM)
_PAIR_ID = Argument(name="pair_id", kind="text", about="e.g. alice-2026-11-20-7", required=True, form=PAIR_FORM)
_SINCE = Argument(name="since", kind="time", about="not before: 2026-11-20T10:00:00Z, or a date (its midnight UTC)")
_UNTIL = Argument(name="until", kind="time", about="before this time")
_PAGING = (
    Argument(name="page", kind="count", about="which page", default=1, most=1_000_000),
    Argument(name="limit", kind="count", about="rows on a page", default=50, most=LIMIT_MAX),
)
_ORDER_STATUS = Argument(name="status", kind="text", about="the exchange's word, e.g. FILLED", form=r"[A-Z_]{1,40}")
_PAIR_STATUS = Argument(name="status", kind="text", about="a phase, or closed", choices=(*get_args(Phase), "closed"))
_DETAIL = Argument(name="detail", kind="text", about="why, for those who look later", default="")
_NOW = Argument(
    name="now", kind="flag", about="cancel and unwind at once; works also when the trader is stuck", default=False
)

COMMANDS: tuple[Command, ...] = (
    Command(
        name="system.status",
        about="The daemon in one view: version, mode, users by state, prices, actors, events.",
    ),
    Command(
        name="system.health",
        about="Is everything in order? What is not, where, and what to do about it.",
    ),
    Command(
        name="system.tree",
        about="Every actor: state, incarnation, restarts, uptime, mailbox, last crash.",
    ),
    Command(
        name="system.version",
        about="Versions of the daemon, of this protocol and of the libraries below.",
    ),
    Command(
        name="system.commands",
        about="This list: every command with arguments, types and an example.",
    ),
    Command(
        name="user.list",
        about="All users with token, wish and phase.",
        args=_PAGING,
        example={"limit": 50},
    ),
    Command(
        name="user.show",
        about="One or several users: names, token, wish, phase, credentials.",
        on_users=True,
        example={"user": "alice"},
    ),
    Command(
        name="trading.start",
        about="From now on this user wants to trade. Refused while a pause is in force: resume first.",
        acts=True,
        on_users=True,
        example={"user": "alice"},
    ),
    Command(
        name="trading.pause",
        about="Open no new pair (pause OPERATOR); a live pair is followed to its end.",
        args=(_DETAIL,),
        acts=True,
        on_users=True,
        example={"users": ["alice", "bob"]},
    ),
    Command(
        name="trading.resume",
        about="End all pauses whose cause is gone; refused, naming the rest, if some is not.",
        acts=True,
        on_users=True,
        example={"all": True},
    ),
    Command(
        name="trading.stop",
        about="Stop for good: finish or unwind the live pair, then rest until started.",
        args=(_NOW,),
        acts=True,
        on_users=True,
        example={"user": "alice", "now": True},
    ),
    Command(
        name="trading.status",
        about="Wish, phase, what it waits for, pauses, live pair, progress. Never waits for the trader.",
        on_users=True,
        example={"user": "alice"},
    ),
    Command(
        name="trading.why",
        about="Why does this user trade, or not: the status in sentences, with the last decision.",
        on_users=True,
        example={"user": "alice"},
    ),
    Command(
        name="stats.progress",
        about="Volume, target, points and wear of a UTC day: today, or the day that `since` falls on.",
        args=(_SINCE,),
        on_users=True,
        example={"all": True},
    ),
    Command(
        name="orders.list",
        about="Orders, newest first.",
        args=(_ORDER_STATUS, _SINCE, _UNTIL, *_PAGING),
        on_users=True,
        example={"user": "alice", "status": "FILLED", "limit": 20},
    ),
    Command(
        name="pairs.list",
        about="Pairs, newest first, with their wear.",
        args=(_PAIR_STATUS, _SINCE, _UNTIL, *_PAGING),
        on_users=True,
        example={"user": "alice", "status": "closed"},
    ),
    Command(
        name="pair.cancel",
        about="Cancel the live pair and sell what it bought; the next one follows unless paused.",
        args=(_PAIR_ID,),
        acts=True,
        on_users=True,
        example={"user": "alice", "pair_id": "alice-2026-11-20-7"},
    ),
    Command(
        name="price.show",
        about="Newest price of a token in use, its age, and the range of the last 60 s.",
        args=(_TOKEN,),
        example={"token": "KOGE"},
    ),
    Command(
        name="actor.restart",
        about="End an actor's incarnation; the next one starts at once. Parked actors come back.",
        args=(
            Argument(name="path", kind="text", about="e.g. traders/alice", required=True, form=PATH_FORM),
        ),
        acts=True,
        example={"path": "traders/alice"},
    ),
)  # fmt: skip

BY_NAME: Mapping[str, Command] = {command.name: command for command in COMMANDS}


# -- checking a request


def find(cmd: str) -> Command:
    """Raises: Refusal COMMAND_UNKNOWN with the nearest command."""
    command = BY_NAME.get(cmd)
    if command is None:
        hint = did_you_mean(cmd, BY_NAME) or 'system.commands lists all: {"cmd":"system.commands"}'
        raise Refusal(f"no command {echo(cmd)}", code="COMMAND_UNKNOWN", do=hint)
    return command


def check(command: Command, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with defaults filled in and times as ms; None counts as left out.

    Raises: Refusal BAD_ARGUMENT that names every wrong argument, its value, and what is allowed.
    """
    known = {argument.name: argument for argument in takes(command)}
    wrong: list[str] = []
    hints: list[str] = []
    checked: dict[str, Any] = {}
    for name in args:
        if name not in known:
            wrong.append(f"{command.name} has no argument {echo(name)}")
            hints.append(did_you_mean(name, known, say="it takes") or "it takes none")
    for name, argument in known.items():
        value = args.get(name)
        if value is None:
            checked[name] = argument.default
            if argument.required:
                wrong.append(f"{name} is missing")
                hints.append(f"{name}: {argument.about}")
            continue
        try:
            checked[name] = _value(argument, value)
        except ValueError as error:
            wrong.append(f"{name} {echo(value)} {error}")
    if command.on_users and not wrong and _ways_of_naming(checked) != 1:
        wrong.append(f"{command.name} is about users: name them in exactly one way")
        hints.append('"user":"alice", or "users":["alice","bob"], or "all":true')
    if wrong:
        raise Refusal("; ".join(wrong), code="BAD_ARGUMENT", do="; ".join(hints))
    return checked


def takes(command: Command) -> tuple[Argument, ...]:
    """All arguments, those that name the users included."""
    return (*WHOM, *command.args) if command.on_users else command.args


def _ways_of_naming(checked: Mapping[str, Any]) -> int:
    return sum((checked["user"] is not None, checked["users"] is not None, checked["all"] is True))


def _value(argument: Argument, value: Any) -> Any:
    """Raises: ValueError with what is allowed; the text follows the name and the value."""
    match argument.kind:
        case "text":
            return _text(argument, value)
        case "user":
            return _user(value)
        case "users":
            if not isinstance(value, list) or not 1 <= len(value) <= USERS_MAX:
                raise ValueError(f"must be a list of 1 to {USERS_MAX} user names")
            return tuple(dict.fromkeys(_user(name) for name in value))
        case "flag":
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
            return value
        case "count":
            if not isinstance(value, int) or isinstance(value, bool) or not argument.least <= value <= argument.most:
                raise ValueError(f"must be a whole number from {argument.least} to {argument.most}")
            return value
        case "time":
            if not isinstance(value, str):
                raise ValueError("must be text like 2026-11-20T10:00:00Z")
            return parse_time(value)


def _text(argument: Argument, value: Any) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise ValueError(f"must be text of at most {TEXT_CHARS_MAX} characters")
    if argument.choices and value not in argument.choices:
        raise ValueError(f"must be one of {', '.join(argument.choices)}")
    if argument.form and not re.fullmatch(argument.form, value):
        raise ValueError(f"must look like {argument.about.removeprefix('e.g. ')} ({argument.form})")
    return value


def _user(value: Any) -> str:
    if not isinstance(value, str) or not USER_NAME.fullmatch(value):
        raise ValueError(f"must be a user name: {USER_NAME.pattern}")
    return value

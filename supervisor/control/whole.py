"""Commands about the whole: the system, the list of users, prices, actors."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actors.errors import Refusal, TokenError
from actors.messages import Resolve
from supervisor.control import table, views
from supervisor.control.health import problems
from supervisor.control.office import Call, Office
from supervisor.control.per_user import user_show
from supervisor.control.protocol import VERSION, did_you_mean, echo, plain, rfc3339
from supervisor.control.table import COMMANDS, Command

TOKENS_ANSWER_S_MAX = 5.0


async def _user_list(call: Call) -> dict[str, Any]:
    names = sorted(call.office.users())
    number, limit = call.args["page"], call.args["limit"]
    shown = names[(number - 1) * limit : number * limit]
    return views.page(len(names), number, limit, [await user_show(call, name) for name in shown])


async def _price(call: Call) -> dict[str, Any]:
    token = call.args["token"]
    feed, quote = call.office.feed(token)
    if feed is not None and quote is not None:
        await trio.lowlevel.checkpoint()
        return views.price(feed, quote, now_ms=call.office.wall.now_ms())
    try:
        await call.office.tokens.ask(Resolve(token), within_s=TOKENS_ANSWER_S_MAX * call.rate)
    except TokenError as error:
        if error.code != "TOKEN_UNKNOWN" or error.do:
            raise
        hint = did_you_mean(token, call.tokens_in_use(), say="in use are")
        raise TokenError(error.what, where=error.where, do=hint, code=error.code) from error
    if feed is None:
        raise Refusal(f"no feed of {token} is running", do="a feed runs while a user trades its token")
    raise Refusal(f"no price of {token} has arrived yet", where=f"feeds/{token}", do="ask again in a second")


# -- the system


async def _system_status(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    office, now_ms = call.office, call.office.wall.now_ms()
    nodes = list(views.walk(office.tree()))
    return {
        "version": office.version,
        "mode": office.mode,
        "boot": call.bus.boot,
        "started_at": rfc3339(office.started_ms),
        "now": rfc3339(now_ms),
        "uptime_s": (now_ms - office.started_ms) / 1000,
        "users": _users_by_state(office),
        "prices": _prices(call, now_ms),
        "actors": {
            "total": sum(node.kind == "actor" for node in nodes),
            "restarts": sum(node.restarts for node in nodes),
            "parked": [node.path for node in nodes if node.state == "parked"],
            "stuck": [node.path for node in nodes if node.state == "stuck"],
        },
        "events": plain(call.bus.statistics()),
    }


def _users_by_state(office: Office) -> dict[str, int]:
    """Each user counts once; "starting" has published nothing yet."""
    counts = {"total": 0, "trading": 0, "done": 0, "paused": 0, "stopped": 0, "starting": 0}
    for user in office.users():
        snapshot = office.snapshot(user)
        counts["total"] += 1
        if snapshot is None:
            counts["starting"] += 1
        elif snapshot.pauses:
            counts["paused"] += 1
        elif snapshot.wanted == "stopped":
            counts["stopped"] += 1
        else:
            counts["done" if snapshot.phase == "done" else "trading"] += 1
    return counts


def _prices(call: Call, now_ms: int) -> list[dict[str, Any]]:
    told = (call.office.feed(token) for token in call.tokens_in_use())
    return [views.price(feed, quote, now_ms=now_ms) for feed, quote in told if feed and quote]


async def _health(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    office = call.office
    snapshots = [snapshot for user in office.users() if (snapshot := office.snapshot(user)) is not None]
    feeds = [(token, *office.feed(token)) for token in call.tokens_in_use()]
    found = problems(office.tree(), snapshots, feeds)
    return {"healthy": not found, "checked_at": rfc3339(office.wall.now_ms()), "problems": found}


async def _tree(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return views.tree(call.office.tree())


async def _version(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {
        "name": "otod",
        "version": call.office.version,
        "protocol": VERSION,
        "mode": call.office.mode,
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in ("trio", "pynng", "duckdb", "httpx")},
    }


async def _commands(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {"commands": [_describe(command) for command in COMMANDS]}


def _describe(command: Command) -> dict[str, Any]:
    return {
        "cmd": command.name,
        "about": command.about,
        "acts": command.acts,
        "on_users": command.on_users,
        "args": [_describe_argument(argument) for argument in table.takes(command)],
        "example": {"v": VERSION, "id": "1", "cmd": command.name, "args": command.example},
    }


def _describe_argument(argument: table.Argument) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": argument.name,
        "type": argument.kind,
        "required": argument.required,
        "default": argument.default,
        "about": argument.about,
    }
    if argument.choices:
        told["choices"] = list(argument.choices)
    if argument.kind == "count":
        told |= {"least": argument.least, "most": argument.most}
    return told


async def _actor_restart(call: Call) -> dict[str, Any]:
    path = call.args["path"]
    paths = [node.path for node in views.walk(call.office.tree())]
    if path not in paths:
        hint = did_you_mean(path, paths, say="there are")
        raise Refusal(f"no actor {echo(path)}", code="BAD_ARGUMENT", do=hint)
    await call.office.restart(path)
    node = next((node for node in views.walk(call.office.tree()) if node.path == path), None)
    return {
        "path": path,
        "state": node.state if node else "stopped",
        "incarnation": node.incarnation if node else 0,
    }


WHOLE: dict[str, Callable[[Call], Awaitable[dict[str, Any]]]] = {
    "system.status": _system_status,
    "system.health": _health,
    "system.tree": _tree,
    "system.version": _version,
    "system.commands": _commands,
    "user.list": _user_list,
    "price.show": _price,
    "actor.restart": _actor_restart,
}

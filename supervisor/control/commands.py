"""From a request to its data: `perform` checks it, fans it out over users, and hands back the answer.

Whatever goes wrong is an OtodError whose code and advice become the error frame (or one user's error object).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import trio

from actors.errors import OtodError, Refusal
from actors.ports import Log
from supervisor.access import OPERATOR, Rights
from supervisor.bus import EventBus
from supervisor.control import table
from supervisor.control.arguments import Command
from supervisor.control.lately import Lately
from supervisor.control.office import Call, Office, not_permitted
from supervisor.control.per_user import ON_USERS
from supervisor.control.protocol import did_you_mean, error_object
from supervisor.control.whole import WHOLE

BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What a mistake in a command's own code raises. It costs that command an INTERNAL, never the control socket: operators
must be able to stop trading whatever else is broken. Anything else (cancellation, the system) ends the incarnation."""

USERS_AT_ONCE = 64  # a fan-out over a thousand users asks so many at a time
NEAREST_MAX = 5  # unknown users of one request for whom the nearest name is looked for: it takes milliseconds each


class AllFailed(Refusal):
    """A request about several users of whom none could be served. data: each one's own error."""

    data: dict[str, Any]


async def perform(
    office: Office,
    bus: EventBus,
    cmd: str,
    args: dict[str, Any],
    *,
    who: str,
    log: Log,
    rate: float = 1.0,
    rights: Rights = OPERATOR,
    lately: Lately | None = None,
) -> Any:
    """Does one command and returns its data. who: "uid:pid", for the audit. rights: the caller's. Raises: OtodError."""
    command = table.find(cmd)
    call = Call(office, bus, table.check(command, args), who, rate, rights, lately or Lately(rate))
    if command.on_users:
        return await _on_users(command, call, log)
    if not (rights.acts or (rights.sees_all and not command.acts) or (command.common and rights.own)):
        raise not_permitted()
    try:
        return await WHOLE[command.name](call)
    except BUGS as bug:
        raise _internal(bug, command, log) from bug


def _internal(bug: Exception, command: Command, log: Log, user: str | None = None) -> OtodError:
    log.error("command_failed", cmd=command.name, user=user, exc_info=bug)
    return OtodError(f"a fault of the daemon: {type(bug).__name__}", where=command.name, do="the log has the traceback")


# -- fan-out over users


async def _on_users(command: Command, call: Call, log: Log) -> dict[str, Any]:
    known = frozenset(call.office.users())
    allowed = call.rights.acts_on if command.acts else call.rights.sees
    if call.args["all"] and command.acts and not (call.rights.acts or call.rights.own):
        raise not_permitted()
    names: Sequence[str] = call.args["users"] or (call.args["user"],)
    if call.args["all"]:
        names = sorted(filter(allowed, known))
    helped = frozenset(islice((name for name in names if name not in known), NEAREST_MAX))
    act = ON_USERS[command.name]
    permits = trio.CapacityLimiter(USERS_AT_ONCE)
    answers: dict[str, Any] = dict.fromkeys(names)
    errors: dict[str, OtodError] = {}

    async def one(name: str) -> None:
        async with permits:
            try:
                if not allowed(name):
                    raise not_permitted()  # whether there is such a user or not
                if name not in known:
                    hint = (
                        _which_user(name, filter(allowed, known)) if name in helped else "user.list tells who there is"
                    )
                    raise Refusal(f"no user '{name}'", code="USER_UNKNOWN", do=hint)
                answers[name] = await act(call, name)
            except OtodError as error:
                errors[name] = error
            except BUGS as bug:
                errors[name] = _internal(bug, command, log, name)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)
    answers |= {name: {"error": error_object(error)} for name, error in errors.items()}
    if errors and len(errors) == len(answers):
        raise _all_failed(errors, answers)
    return {"users": answers}


def _all_failed(errors: dict[str, OtodError], answers: dict[str, Any]) -> OtodError:
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    codes = {error.code for error in errors.values()}
    failed = AllFailed(
        f"failed for all {len(errors)} users, the first says: {first.what}",
        code=first.code if len(codes) == 1 else "REFUSED",
        where=first.where,
        do=first.do,
    )
    failed.data = {"users": answers}
    return failed


def _which_user(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    return did_you_mean(name, known, say="there are") or "create users first"

"""user.* and config.*: rows of the table onto the daemon's one place for each change (people.py, keyring.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from actors.errors import Refusal
from actors.messages import UserRecord
from supervisor.control import views
from supervisor.control.office import Call
from supervisor.control.protocol import plain, rfc3339
from supervisor.control.table import SETTINGS
from supervisor.credentials import lacking, read_session
from supervisor.document import Problems
from supervisor.keyring import checked_secrets
from supervisor.people import Changed

# -- about one user


async def show(call: Call, user: str) -> dict[str, Any]:
    return _user(call, await call.office.user_record(user))


def _user(call: Call, record: UserRecord) -> dict[str, Any]:
    return views.user(record, call.office.snapshot(record.user.user))


async def update(call: Call, user: str) -> dict[str, Any]:
    args = call.args
    changed = await call.office.people.update(user, args["display_name"], args["email"], call.who)
    return _changed(call, changed)


async def remove(call: Call, user: str) -> dict[str, Any]:
    record = await call.office.people.remove(user, drain=call.args["drain"], who=call.who)
    return _user(call, record) | {"removed": True}


async def set_credentials(call: Call, user: str) -> dict[str, Any]:
    """Nothing that is said or logged of this holds a value."""
    args, office = call.args, call.office
    if args["user"] is None:
        raise Refusal("credentials belong to one user", code="BAD_ARGUMENT", do='name it: "user":"alice"')
    parts = args["headers"] is not None or args["cookies"] is not None
    if (args["curl"] is not None) == parts:
        text = "hand over either curl, or headers and cookies"
        raise Refusal(text, code="BAD_ARGUMENT", do='in the browser: "copy as cURL"; see user set-credentials --help')
    left_out: tuple[str, ...] = ()
    if args["curl"] is not None:
        pasted = read_session(args["curl"], host=office.session_host)
        secrets, left_out = pasted.secrets, pasted.left_out
    else:
        secrets = checked_secrets(args["cookies"], args["headers"])
        if office.session_host is not None and (problems := lacking(secrets, "credentials")):
            raise Problems(problems, where="the request")
    row = await office.keyring.hand_over(user, secrets, call.who)
    return {
        "credentials": row.state,
        "key_id": row.key_id,
        "stored_at": rfc3339(row.stored_at),
        "cookies": len(secrets.cookies),
        "headers": len(secrets.headers),
        "left_out": list(left_out),
    }


async def check_credentials(call: Call, user: str) -> dict[str, Any]:
    checked = await call.office.keyring.check(user, call.who)
    row = checked.row
    return {
        "valid": checked.valid,
        "checked_at": rfc3339(checked.checked_ms),
        "age": max(checked.checked_ms - row.stored_at, 0) // 1000,
        "stored_at": rfc3339(row.stored_at),
        "credentials": row.state,
        "key_id": row.key_id,
        "detail": checked.detail,
    }


# -- configuration


async def config_show(call: Call, user: str) -> dict[str, Any]:
    return _config(await call.office.user_record(user))


async def config_set(call: Call, user: str) -> dict[str, Any]:
    args = call.args
    changed = await call.office.people.configure(
        user,
        {key: args[key] for key in SETTINGS if args[key] is not None},
        unset=args["unset"] or (),
        revision=args["revision"],
        force=args["force"],
        who=call.who,
    )
    return _config(changed.record) | {"changed": _differences(changed.changed), "warnings": list(changed.warnings)}


def _config(record: UserRecord) -> dict[str, Any]:
    """Every key with what is in force, null where nothing limits; all null for a user that has none yet."""
    shown: dict[str, Any] = dict.fromkeys(SETTINGS)
    if record.config is not None:
        shown |= plain(record.config)
    return shown | {"revision": record.revision}


def _changed(call: Call, changed: Changed) -> dict[str, Any]:
    told = _user(call, changed.record) | {"changed": _differences(changed.changed)}
    return told | {"warnings": list(changed.warnings)} if changed.warnings else told


def _differences(changed: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    return {key: {"before": plain(before), "after": plain(after)} for key, (before, after) in changed.items()}


# -- about all, and about those who are not there yet


async def create(call: Call) -> dict[str, Any]:
    args = call.args
    changed = await call.office.people.create(args["user"], args["display_name"], args["email"], call.who)
    return {"users": {args["user"]: _changed(call, changed)}}


async def apply(call: Call) -> dict[str, Any]:
    args = call.args
    changes = await call.office.people.apply(
        args["document"], force=args["force"], dry_run=args["dry_run"], who=call.who
    )
    applied = changes.applied
    return {
        "dry_run": args["dry_run"],
        "created": list(applied.created),
        "changed": list(applied.changed),
        "unchanged": list(applied.unchanged),
        "differences": {user: _differences(differs) for user, differs in applied.differences.items()},
        "warnings": list(changes.warnings),
    }


async def list_users(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    names = sorted(call.users())
    number, limit = call.args["page"], call.args["limit"]
    shown = names[(number - 1) * limit : number * limit]
    return views.page(len(names), number, limit, [await show(call, name) for name in shown])


ON_USERS = {
    "user.show": show,
    "user.update": update,
    "user.remove": remove,
    "user.set-credentials": set_credentials,
    "user.check-credentials": check_credentials,
    "config.show": config_show,
    "config.set": config_set,
}
WHOLE = {"user.create": create, "user.apply": apply, "user.list": list_users}

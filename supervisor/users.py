"""Puts users in place: what a document or the demo asks for, compared with what the store has, written as one change.

All or nothing: the rows of all users go into one write. Users that are not named are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.domain.day import date_of
from actors.domain.trading import TradingConfig, Wanted
from actors.errors import StoreError, StoreRefused
from actors.messages import LoadTraders, LoadUsers, UserRecord
from actors.ports import Address, Vault
from actors.rows import AuditRow, ConfigRow, CredentialRow, Row, UserRow
from actors.store import StoreRows


class Secrets(Struct, frozen=True, kw_only=True):
    """What opens a session with the exchange. Never logged, never shown."""

    cookies: Mapping[str, str]
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Secrets({len(self.cookies)} cookies, {len(self.headers)} headers)"


class UserWish(Struct, frozen=True, kw_only=True):
    """One user as somebody wants it. None: leave as it is. wanted: for a new user only."""

    user: str
    display_name: str | None = None
    email: str | None = None
    trading: TradingConfig | None = None
    secrets: Secrets | None = None
    wanted: Wanted = "stopped"


class Applied(Struct, frozen=True, kw_only=True):
    """differences: user → key → (before, after), as texts for people; never a secret."""

    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    differences: Mapping[str, Mapping[str, tuple[Any, Any]]] = {}


class Planned(Struct, frozen=True, kw_only=True):
    """What would make the store as wished: rows to write, the records they lead to, and what differs."""

    rows: tuple[Row, ...]
    records: tuple[UserRecord, ...]  # of users that are new or change
    applied: Applied


async def apply(wishes: Sequence[UserWish], *, store: Address, vault: Vault, who: str, now_ms: int) -> Applied:
    """Makes the store as wished; durable on return. For a daemon in which nothing trades yet. Raises: StoreError."""
    records: tuple[UserRecord, ...] = await store.ask(LoadUsers())
    known = {record.user.user for record in records}
    earlier = await former(store, [wish.user for wish in wishes if wish.user not in known], now_ms)
    planned = plan(wishes, records, former=earlier, vault=vault, who=who, now_ms=now_ms, audit_id=f"{who}-{now_ms}")
    await StoreRows(store).write(planned.rows)
    return planned.applied


async def former(store: Address, names: Iterable[str], now_ms: int) -> dict[str, UserRecord]:
    """Those of the names that were removed once: their configuration is in the records, and its revisions go on."""
    asked = tuple(names)
    loaded = await store.ask(LoadTraders(asked, date_of(now_ms))) if asked else {}
    found: dict[str, UserRecord] = {}
    for name, one in loaded.items():
        if isinstance(one, StoreRefused):
            continue  # never heard of
        if isinstance(one, StoreError):
            raise one
        record = one.record
        found[name] = replace(record, user=replace(record.user, removed=False, wanted="stopped"), pauses=())
    return found


def plan(
    wishes: Sequence[UserWish],
    records: Iterable[UserRecord],
    *,
    former: Mapping[str, UserRecord] = MappingProxyType({}),
    vault: Vault,
    who: str,
    now_ms: int,
    audit_id: str,
    action: str = "user.apply",
) -> Planned:
    """Compares wishes with what is known. former: see there. audit_id: unique, each user's number is added."""
    known = {record.user.user: record for record in records}
    rows: list[Row] = []
    after: list[UserRecord] = []
    groups: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
    differences: dict[str, Mapping[str, tuple[Any, Any]]] = {}
    for number, wish in enumerate(wishes):
        old = known.get(wish.user)
        new, own_rows = _changed(wish, old, former.get(wish.user), vault, who, now_ms)
        differs = difference(old, new)
        if own_rows:
            differences[wish.user] = differs
            after.append(new)
            what = "user.create" if old is None else action
            entry = audit_row(f"{audit_id}-{number}", now_ms, who, wish.user, what, differs)
            rows += [*own_rows, entry]
        groups["created" if old is None else "changed" if own_rows else "unchanged"].append(wish.user)
    applied = Applied(**{name: tuple(users) for name, users in groups.items()}, differences=differences)
    return Planned(rows=tuple(rows), records=tuple(after), applied=applied)


def difference(old: UserRecord | None, new: UserRecord) -> dict[str, tuple[Any, Any]]:
    """Key → (before, after) of what differs; of credentials only the states and key ids."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in ("display_name", "email", "wanted"):
        before = getattr(old.user, key) if old is not None else None
        if before != getattr(new.user, key):
            found[key] = (before, getattr(new.user, key))
    configs = [_shown(record.config) if record is not None else {} for record in (old, new)]
    for key in dict.fromkeys((*configs[0], *configs[1])):
        if configs[0].get(key) != configs[1].get(key):
            found[key] = (configs[0].get(key), configs[1].get(key))
    if new.sealed is not None and (old is None or old.sealed != new.sealed):
        found["credentials"] = (old.credentials if old is not None else "none", f"replaced, key {new.sealed.key_id}")
    return found


def _shown(config: TradingConfig | None) -> dict[str, Any]:
    """As JSON has it: amounts are texts."""
    shown: dict[str, Any] = {} if config is None else msgspec.to_builtins(config)
    return shown


def audit_row(
    audit_id: str, now_ms: int, who: str, user: str | None, action: str, differs: Mapping[str, tuple[Any, Any]]
) -> AuditRow:
    """before and after: JSON objects of what differs."""
    sides = [msgspec.json.encode({key: pair[side] for key, pair in differs.items()}).decode() for side in (0, 1)]
    return AuditRow(
        audit_id=audit_id,
        happened_at=now_ms,
        who=who,
        user=user,
        action=action,
        before=None if action == "user.create" else sides[0],
        after=sides[1],
    )


def config_row(record: UserRecord, who: str, now_ms: int) -> ConfigRow:
    """The configuration of a record, under its revision."""
    return ConfigRow(
        user=record.user.user,
        revision=record.revision,
        document=msgspec.json.encode(record.config).decode(),
        who=who,
        changed_at=now_ms,
    )


def sealed_row(user: str, secrets: Secrets, vault: Vault, now_ms: int) -> CredentialRow:
    secret = {"cookies": dict(secrets.cookies), "headers": dict(secrets.headers)}
    return CredentialRow(user=user, ciphertext=vault.seal(user, secret), key_id=vault.key_id, stored_at=now_ms)


def can_trade(record: UserRecord) -> bool:
    """Whether there is anything that a trader could do: a configuration, and a way into the exchange."""
    return record.config is not None and record.credentials != "none"


def with_credentials(record: UserRecord, row: CredentialRow) -> UserRecord:
    state = "none" if row.state == "removed" else row.state
    return replace(record, credentials=state, ciphertext=row.ciphertext, sealed=row)


def _changed(
    wish: UserWish, old: UserRecord | None, earlier: UserRecord | None, vault: Vault, who: str, now_ms: int
) -> tuple[UserRecord, list[Row]]:
    new = old or earlier or UserRecord(
        user=UserRow(user=wish.user, wanted=wish.wanted, created_at=now_ms, updated_at=now_ms),
        config=None, revision=0, credentials="none", ciphertext=None, pauses=(),
    )  # fmt: skip
    rows: list[Row] = []
    row = replace(
        new.user,
        display_name=new.user.display_name if wish.display_name is None else wish.display_name,
        email=new.user.email if wish.email is None else wish.email,
        wanted=wish.wanted if old is None else new.user.wanted,
    )
    if old is None or row != old.user:
        new = replace(new, user=replace(row, updated_at=now_ms))
        rows.append(new.user)
    if wish.trading is not None and wish.trading != new.config:
        new = replace(new, config=wish.trading, revision=new.revision + 1)
        rows.append(config_row(new, who, now_ms))
    if wish.secrets is not None and not _same_secrets(wish, old, vault):
        sealed = sealed_row(wish.user, wish.secrets, vault, now_ms)
        new = with_credentials(new, sealed)
        rows.append(sealed)
    return new, rows


def _same_secrets(wish: UserWish, record: UserRecord | None, vault: Vault) -> bool:
    """Sealing is salted: only the plaintexts can be compared. Credentials that were refused are always replaced."""
    if record is None or record.ciphertext is None or wish.secrets is None or record.credentials != "valid":
        return False
    stored = vault.open(wish.user, record.ciphertext)
    return (stored.get("cookies"), stored.get("headers")) == (dict(wish.secrets.cookies), dict(wish.secrets.headers))

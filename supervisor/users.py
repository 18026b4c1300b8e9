"""Puts users in place: what a document or the demo asks for, compared with what the store has, written as one change.

All or nothing: the rows of all users go into one write. Users that are not named are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.domain.trading import TradingConfig, Wanted
from actors.messages import LoadUsers, UserRecord
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
    created: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


async def apply(wishes: Sequence[UserWish], *, store: Address, vault: Vault, who: str, now_ms: int) -> Applied:
    """Makes the store as wished; durable on return. who: for the audit. Raises: StoreError."""
    records: tuple[UserRecord, ...] = await store.ask(LoadUsers())
    known = {record.user.user: record for record in records}
    rows: list[Row] = []
    groups: dict[str, list[str]] = {"created": [], "changed": [], "unchanged": []}
    for number, wish in enumerate(wishes):
        record = known.get(wish.user)
        new = _rows(wish, record, vault, who, now_ms)
        if new:
            action = "user.create" if record is None else "user.apply"
            rows += [*new, _audit(wish, record, who, now_ms, number, action)]
        groups["created" if record is None else "changed" if new else "unchanged"].append(wish.user)
    await StoreRows(store).write(rows)
    return Applied(**{name: tuple(users) for name, users in groups.items()})


def _rows(wish: UserWish, record: UserRecord | None, vault: Vault, who: str, now_ms: int) -> list[Row]:
    rows: list[Row] = []
    old = record.user if record is not None else None
    new = replace(
        old or UserRow(user=wish.user, wanted=wish.wanted, created_at=now_ms, updated_at=now_ms),
        display_name=wish.display_name if wish.display_name is not None else (old.display_name if old else ""),
        email=wish.email if wish.email is not None else (old.email if old else ""),
    )
    if new != old:
        rows.append(replace(new, updated_at=now_ms))
    before = record.config if record is not None else None
    if wish.trading is not None and wish.trading != before:
        rows.append(
            ConfigRow(
                user=wish.user,
                revision=(record.revision if record is not None else 0) + 1,
                document=msgspec.json.encode(wish.trading).decode(),
                who=who,
                changed_at=now_ms,
            )
        )
    if wish.secrets is not None and not _same_secrets(wish, record, vault):
        secret = {"cookies": dict(wish.secrets.cookies), "headers": dict(wish.secrets.headers)}
        rows.append(
            CredentialRow(
                user=wish.user, ciphertext=vault.seal(wish.user, secret), key_id=vault.key_id, stored_at=now_ms
            )
        )
    return rows


def _same_secrets(wish: UserWish, record: UserRecord | None, vault: Vault) -> bool:
    """Sealing is salted: only the plaintexts can be compared."""
    if record is None or record.ciphertext is None or wish.secrets is None:
        return False
    stored = vault.open(wish.user, record.ciphertext)
    return (stored.get("cookies"), stored.get("headers")) == (dict(wish.secrets.cookies), dict(wish.secrets.headers))


def _audit(wish: UserWish, record: UserRecord | None, who: str, now_ms: int, number: int, action: str) -> AuditRow:
    before = record.config if record is not None else None
    return AuditRow(
        audit_id=f"{who}-{now_ms}-{number}-{wish.user}",
        happened_at=now_ms,
        who=who,
        user=wish.user,
        action=action,
        before=None if before is None else msgspec.json.encode(before).decode(),
        after=None if wish.trading is None else msgspec.json.encode(wish.trading).decode(),
    )

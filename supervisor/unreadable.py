"""Credentials that no key opens, found at the start (F76): of one user they are damaged, and that user pauses; of all,
the key is the wrong one, and the daemon does not start."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from actors.domain.trading import PauseReason
from actors.errors import IntegrityError
from actors.messages import UserRecord
from actors.ports import Vault
from actors.rows import PauseRow, Row
from actors.snapshots import HINTS
from supervisor import users

REASON: PauseReason = "AUTH_FAILED"


def without_unreadable(
    records: Iterable[UserRecord], vault: Vault, *, now_ms: int, boot: str
) -> tuple[tuple[UserRecord, ...], tuple[Row, ...]]:
    """The records, those that do not open without their secret; and what is to be written of them.

    boot: differs with every start, so that audit ids are unique. Raises: IntegrityError, none opens.
    """
    kept: list[UserRecord] = []
    rows: list[Row] = []
    opened = 0
    first: IntegrityError | None = None
    for record in records:
        if not record.ciphertext:
            kept.append(record)
            continue
        user = record.user.user
        try:
            vault.open(user, record.ciphertext)
        except IntegrityError as error:
            first = first or error
            kept.append(replace(record, ciphertext=None, credentials="invalid"))
            if all(pause.reason != REASON for pause in record.pauses):
                rows += _pause(user, str(error), now_ms, boot)
        else:
            opened += 1
            kept.append(record)
    if first is not None and not opened:
        raise first
    return tuple(kept), tuple(rows)


def _pause(user: str, why: str, now_ms: int, boot: str) -> tuple[Row, ...]:
    entry = users.audit_row(f"unreadable-{boot}-{user}", now_ms, "supervisor", user, "pause", {})
    return (
        PauseRow(user=user, reason=REASON, since_at=now_ms, detail=why, hint=HINTS[REASON]),
        replace(entry, before=None, after=REASON),
    )

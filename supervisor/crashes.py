"""A trader that was given up is a pause of its user: shown at once, durable, and ended by an operator only (F47)."""

from __future__ import annotations

from typing import Protocol

import trio
from msgspec.structs import replace

from actors.domain.trading import Pause
from actors.errors import AskFailed, StoreError
from actors.ports import Events
from actors.rows import PauseRow, Row
from actors.snapshots import HINTS
from supervisor.users import audit_row

AGAIN_S = 0.5
"""Between two attempts to read from a store that is being restarted."""


class Books(Protocol):
    """What is known of a user, and where it is written down. in_force: reasons of the durable pauses."""

    events: Events

    def next_id(self) -> str: ...

    def given_up(self, user: str) -> bool: ...

    async def in_force(self, user: str) -> frozenset[str]: ...

    async def write(self, rows: list[Row]) -> None: ...


async def record(books: Books, user: str, why: str, now_ms: int) -> None:
    """Writes the pause, unless one is in force already: of two rows a resume would end one, and the next start of the
    trader would find the other. The caller sees to it that this happens once at a time for a user."""
    while True:
        try:
            known = await books.in_force(user)
        except (AskFailed, StoreError):
            await trio.sleep(AGAIN_S)
        else:
            break
    # Brought back while a slow store was read: its new trader was told of its pauses already, and would not know.
    if "CRASHED" in known or not books.given_up(user):
        return
    row = PauseRow(user=user, reason="CRASHED", since_at=now_ms, detail=why, hint=HINTS["CRASHED"])
    entry = audit_row(books.next_id(), now_ms, "supervisor", user, "pause", {})
    await books.write([row, replace(entry, before=None, after="CRASHED")])  # as a trader tells its own pauses
    books.events.emit(f"pause.{user}", "paused", reason="CRASHED", detail=why, since_ms=now_ms)


def pause(why: str, now_ms: int) -> Pause:
    """As it is shown before it is durable."""
    return Pause(reason="CRASHED", since_ms=now_ms, detail=why, hint=HINTS["CRASHED"])

"""What the notifier tells by the calendar: the sum of each UTC day once it is over, and credentials that get old.

Both are told once, whatever is restarted in between: their ids are functions of the day, or of when the credentials
were handed over, and the store knows which ids were told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import trio

from actors.domain.day import DAY_MS, date_of, target_of
from actors.errors import AskFailed, StoreError
from actors.messages import DayRecord, DayTotals, UserRecord
from actors.notices import DaySum, Notice, old_credentials, summary
from actors.ports import Address, Log, Wall

SUMMARY_AFTER_MS: Final = 60_000  # of midnight: fills of the last second are booked by then
LOOK_S: Final = 60.0  # between two looks at the clock on the wall, which may be set
CREDENTIALS_EVERY_MS: Final = 3_600_000
ASK_S_MAX: Final = 10.0


class Calendar:
    """users: as the store knows them. noted: was a notice with this id told before? tell: lines one up, once.

    own: users who have targets of their own. credential_days: 0 for never.
    """

    def __init__(
        self,
        *,
        store: Address,
        wall: Wall,
        log: Log,
        users: Callable[[], Awaitable[tuple[UserRecord, ...]]],
        noted: Callable[[str], Awaitable[bool]],
        tell: Callable[[Notice], None],
        own: Iterable[str],
        credential_days: int,
        summaries: bool,
    ) -> None:
        self._store, self._wall, self._log = store, wall, log
        self._users, self._noted, self._tell = users, noted, tell
        self._own = sorted(own)
        self._credential_days, self._summaries = credential_days, summaries
        self._summed = ""  # the newest day that needs no further look

    async def run(self) -> None:
        """Never returns."""
        checked_ms: int | None = None
        while True:
            now_ms = self._wall.now_ms()
            if self._summaries:
                await self._summarise(date_of(now_ms - SUMMARY_AFTER_MS - DAY_MS), now_ms)
            if checked_ms is None or not 0 <= now_ms - checked_ms < CREDENTIALS_EVERY_MS:
                checked_ms = now_ms
                await self._look_at_credentials(now_ms)
            await trio.sleep(LOOK_S)

    async def _summarise(self, day: str, now_ms: int) -> None:
        if day <= self._summed:
            return
        self._summed = day
        if await self._noted(f"summary/{day}"):
            return
        sums = [each for each in [await self._sum(record, day) for record in await self._users()] if each is not None]
        if not sums:
            return  # nothing was traded: nobody is called for that
        for user in self._own:
            self._tell(summary(day, sums, user, now_ms))
        self._tell(summary(day, sums, None, now_ms))

    async def _sum(self, record: UserRecord, day: str) -> DaySum | None:
        user = record.user.user
        try:
            found: DayRecord = await self._store.ask(DayTotals(user, day), within_s=ASK_S_MAX)
        except (AskFailed, StoreError) as error:
            self._log.warning("day_not_summed", user=user, why=str(error))
            return None
        if not found.volume and not found.pairs:
            return None
        return DaySum(
            user=user,
            volume=found.volume,
            target=target_of(record.config) if record.config is not None else None,
            pairs=found.pairs,
            wear=found.wear,
            wear_bps=found.wear / found.closed_volume * 10_000 if found.closed_volume else None,
        )

    async def _look_at_credentials(self, now_ms: int) -> None:
        for record in await self._users() if self._credential_days else ():
            sealed = record.sealed
            if sealed is None or sealed.state != "valid":
                continue
            days = (now_ms - sealed.stored_at) // DAY_MS
            if days >= self._credential_days:
                notice = old_credentials(record.user.user, sealed.stored_at, days, now_ms)
                if not await self._noted(notice.notice_id):
                    self._tell(notice)

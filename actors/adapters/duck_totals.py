"""One file with the sums of all days but the newest: so that `daily` over years opens two files, and not all of them.

Opening a day's file costs about 2 ms and a megabyte, whatever is asked of it. So once there are DAYS_MIN final days,
totals.duckdb holds day_totals and user_days of every day up to `through`, and views.sql reads of the day files only
those after that day. It is made anew by each process, some days a step, and then follows: a day's rows are replaced
when its file was. `through` never goes back while there is the file, because sessions that read an earlier views.sql
rely on it; so a reopened day stays in it and is followed, too.

The day files stay what they were: each is complete in itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from actors.adapters import duck_views
from actors.adapters.duck_schema import day_text
from actors.adapters.duck_shadow import FILE, begin_day

DAYS_MIN: Final = 8
"""Final days without a break, from the first on, before there is such a file: opening so many takes 20 ms."""
FILES_AT_ONCE: Final = 50  # of one step: 0.15 s during which questions wait
NEVER: Final = -1
_SUMS: Final = (
    'instance VARCHAR, "user" VARCHAR, day DATE, token VARCHAR, volume DECIMAL(38,18), counted_volume DECIMAL(38,18),'
    " pairs BIGINT, wear DECIMAL(38,18), closed_volume DECIMAL(38,18), fees DECIMAL(38,18)"
)

Files = dict[int, str]
"""Day number → what tells its file from an earlier one."""


class Work(Struct, frozen=True, kw_only=True):
    """through: the last day that the file shall hold. days: those whose rows it lacks, or has of an earlier file."""

    through: int
    files: Files
    days: tuple[int, ...]
    anew: bool


class Totals:
    """What is in the file, as far as this process has made it. Pure but for looking at files."""

    def __init__(self, analytics: Path) -> None:
        self._analytics = analytics
        self._held: Files | None = None
        self._begun: int | None = None  # how far the file goes, of this process or an earlier one; None: not looked
        self.through: int | None = None

    def distrust(self) -> None:
        """The next work makes the file anew."""
        self._held = None

    def work(self, final: Iterable[int]) -> Work | None:
        """What is to be done, now that these days are final; None: nothing."""
        files = duck_views.day_files(self._analytics)
        run = _unbroken(files, set(final))
        if self._begun is None:
            self._begun = earlier(self._analytics)
        through = max(run[-1] if len(run) >= DAYS_MIN else NEVER, self._begun)
        wanted = {day: _stamp(file) for day, file in files.items() if day <= through}
        if not wanted or wanted == self._held:
            return None
        held = self._held or {}
        changed = tuple(day for day in {**held, **wanted} if held.get(day) != wanted.get(day))
        return Work(through=through, files=wanted, days=changed, anew=self._held is None)

    def note(self, work: Work) -> None:
        """The work is done, and the file has its name."""
        self._held = work.files
        self._begun = self.through = work.through


def begin(instance: str, work: Work) -> tuple[str, ...]:
    """Statements on the attached file: an empty one, or a copy of what is there."""
    if work.anew:
        sums = f"CREATE TABLE {FILE}.{duck_views.TOTALS} ({_SUMS})"
        return (sums, *(text for text in begin_day(instance) if text.startswith(f"CREATE TABLE {FILE}.user_days ")))
    days = ", ".join(f"DATE '{day_text(day)}'" for day in work.days)
    return tuple(f"DELETE FROM {FILE}.{table} WHERE day IN ({days})" for table in duck_views.IN_TOTALS)


def batches(analytics: Path, work: Work) -> list[list[Path]]:
    """The files to be read, some for each step."""
    files = [analytics / f"day_{day_text(day)}.duckdb" for day in work.days if day in work.files]
    return [files[first : first + FILES_AT_ONCE] for first in range(0, len(files), FILES_AT_ONCE)]


def take(files: Sequence[Path]) -> tuple[str, ...]:
    """Statements that add the rows of these files."""
    names = ", ".join(duck_views.text(str(file)) for file in files)
    return tuple(
        f"INSERT INTO {FILE}.{table} BY NAME SELECT * FROM"
        f" read_duckdb([{names}], table_name = '{table}', union_by_name = true) ORDER BY day, instance, \"user\""
        for table in duck_views.IN_TOTALS
    )


def earlier(analytics: Path) -> int:
    """How far the file goes that another process left; NEVER where there is none that can be read."""
    file = analytics / duck_views.TOTALS_FILE
    if not file.exists():
        return NEVER
    with duckdb.connect(config={"threads": "1", "memory_limit": "64MB"}) as apart:
        try:
            apart.execute(f"ATTACH {duck_views.text(str(file))} AS found (READ_ONLY)")
            ((day,),) = apart.execute(f"SELECT max(day) - DATE '1970-01-01' FROM found.{duck_views.TOTALS}").fetchall()
        except duckdb.Error:
            return NEVER
    return NEVER if day is None else int(day)


def _unbroken(files: Iterable[int], final: set[int]) -> list[int]:
    """The days with a file, from the first on, as long as they are final."""
    run: list[int] = []
    for day in files:
        if day not in final:
            break
        run.append(day)
    return run


def _stamp(file: Path) -> str:
    found = file.stat()
    return f"{found.st_size} {found.st_mtime_ns}"

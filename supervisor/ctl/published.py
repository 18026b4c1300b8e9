"""The published files as a client opens them: nothing else can be read, nothing written, and a damaged one is named."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.adapters.duck_views import (
    CATALOGUE_FILE,
    IN_TOTALS,
    PUBLISHED,
    TOTALS,
    TOTALS_FILE,
    day_files,
    text,
)
from supervisor.ctl.client import EXIT_FAILED, Trouble

CATALOGUE = ("users", "configurations", "tokens", "instruments")


@contextmanager
def opened(views: Path) -> Iterator[Any]:
    """A connection with the views in place, times in UTC. Raises: Trouble, whatever DuckDB has to say.

    It reads no other file, asks no network (DuckDB would fetch extensions by itself) and keeps its settings: SQL that
    somebody passed on does no harm even where who runs it could read the vault's key.
    """
    import duckdb

    script = read_text(views)
    with duckdb.connect(":memory:") as connection:
        try:
            place = str(views.parent.resolve())
            places = ", ".join(map(text, (place, glob.escape(place))))  # the views name the days by a pattern
            connection.execute(f"SET allowed_directories = [{places}]")
            connection.execute("SET enable_external_access = false")
            connection.execute(script)
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET lock_configuration = true")
            yield connection
        except duckdb.Error as error:
            raise Trouble(f"{error}\n  -> {_advice(views.parent, error)}", EXIT_FAILED) from None


def read_text(file: Path) -> str:
    """Raises: Trouble."""
    try:
        return file.read_text()
    except OSError as error:
        raise unreadable(file, error) from None


def unreadable(place: Path, error: OSError) -> Trouble:
    hint = "the published files are for the daemon's user and group: be in that group, or ask as that user"
    return Trouble(f"{place} may not be read: {error.strerror}\n  -> {hint}", EXIT_FAILED)


def damages(analytics: Path) -> dict[Path, str]:
    """Published files that cannot be read to their last value, and why; days first. Reads everything there is."""
    found = {file: damage(file, (*PUBLISHED, TOTALS)) for file in day_files(analytics).values()}
    totals, catalogue = analytics / TOTALS_FILE, analytics / CATALOGUE_FILE
    if totals.exists():
        found[totals] = damage(totals, IN_TOTALS)
    found[catalogue] = damage(catalogue, CATALOGUE)
    return {file: why for file, why in found.items() if why is not None}


def damage(file: Path, tables: tuple[str, ...]) -> str | None:
    """Why these tables cannot be read to their last value; None: they can."""
    import duckdb

    try:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"ATTACH {text(str(file))} AS it (READ_ONLY)")
            for table in tables:
                connection.execute(f"SELECT max(hash(COLUMNS(*))) FROM it.{table}").fetchall()
    except duckdb.Error as error:
        return str(error).partition("\n")[0]
    return None


def _advice(analytics: Path, error: Exception) -> str:
    """What to do about an error of DuckDB. Where it may be that of a damaged file, the files are looked through."""
    import duckdb

    if isinstance(error, duckdb.PermissionException):
        return (
            "only the files beside views.sql are read here (start otod once if they were moved);"
            f" for all others: duckdb -init {analytics / 'views.sql'}"
        )
    if not day_files(analytics):
        return f"no day is published in {analytics}: put its files back from a backup, or start otod"
    if type(error) is duckdb.Error or isinstance(error, duckdb.IOException) or str(analytics.resolve()) in str(error):
        bad = damages(analytics)
        if bad:
            told = "".join(f"\n     {file}: {why}" for file, why in bad.items())
            return f"damaged or missing:{told}\n  -> {MEND}"
    return 'otoctl query "SHOW TABLES" lists what there is'


MEND = (
    "move it out of that directory, and all else can be queried again; otod makes it anew (today's and the catalogue"
    " within seconds, others when it starts) unless that day has left its database: then put it back from a backup"
)

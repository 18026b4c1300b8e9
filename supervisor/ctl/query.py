"""`otoctl query`: one SELECT over the published day files, with the views that lie beside them. Needs no daemon.

The files are opened read-only by the views themselves (published.py); here only statements that read are let through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain, count
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from supervisor.control.protocol import amount
from supervisor.ctl.client import EXIT_FAILED, EXIT_USAGE, Trouble, clean
from supervisor.ctl.published import opened, unreadable
from supervisor.ctl.sockets import candidates, state_directory, state_homes

TABLE_ROWS_MAX: Final = 1000
"""Of a table for people: laying it out needs all its rows at once, and nobody reads more."""
FETCHED_ROWS: Final = 2000
VIEWS = Path("analytics") / "views.sql"


def find_views(environ: Mapping[str, str], *, state_dir: str | None, socket: str | None) -> Path:
    """views.sql of --state-dir; else beside the named socket; else of the first state directory that has one.

    Raises: Trouble, with the places looked at.
    """
    places: list[Path] = []
    if state_dir:
        places.append(Path(state_dir))
    else:
        beside = (state_directory(url) for url in candidates(environ, socket))
        places += [place for place in beside if place is not None]
        places += state_homes(environ)
    shut: Trouble | None = None
    for place in places:
        try:
            if (place / VIEWS).is_file():
                return (place / VIEWS).absolute()
        except OSError as error:
            shut = shut or unreadable(place / VIEWS, error)
    if shut is not None:
        raise shut
    looked = "".join(f"\n     {place / VIEWS}" for place in dict.fromkeys(places))
    hint = "name the state directory with --state-dir; the files appear some seconds after the first records"
    raise Trouble(f"no records at any of these places:{looked}\n  -> {hint}", EXIT_FAILED)


def run(views: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and all rows, as `asked` has them. Raises: Trouble."""
    with asked(views, sql) as (names, rows):
        return names, list(rows)


@contextmanager
def asked(views: Path, sql: str) -> Iterator[tuple[list[str], Iterator[tuple[Any, ...]]]]:
    """Column names and rows; times come as RFC 3339 text, decimals as Decimal. Raises: Trouble, also while rows come.

    Rows are fetched as they are taken: a result may be larger than the memory.
    """
    with opened(views) as connection:
        select = _single_select(sql)
        columns = [(row[0], row[1]) for row in connection.execute(f"DESCRIBE {select}").fetchall()]
        result = connection.execute(_as_text(select, [kind for _, kind in columns]))
        yield [name for name, _ in columns], _fetched(result)


def _fetched(result: Any) -> Iterator[tuple[Any, ...]]:
    while rows := result.fetchmany(FETCHED_ROWS):
        yield from rows


def write_json(file: TextIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """One array with one object a line; of columns with one name the later ones are called name_2, name_3 …"""
    keys = _told_apart(names)
    between = "["
    for row in rows:
        line = msgspec.json.encode(dict(zip(keys, map(plain, row), strict=True))).decode()
        file.write(f"{between}{line}")
        between = ",\n"
    file.write("[]\n" if between == "[" else "]\n")


def _told_apart(names: Sequence[str]) -> list[str]:
    keys: list[str] = []
    for name in names:
        further = (f"{name}_{number}" for number in count(2))
        keys.append(next(key for key in chain([name], further) if key not in keys))
    return keys


def write_csv(file: TextIO, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """As RFC 4180 wants it: a header, CRLF, exact amounts; NULL is an empty cell, empty text a quoted one."""
    file.write(",".join(map(_csv_cell, names)) + "\r\n")
    for row in rows:
        file.write(",".join(_csv_cell(plain(cell)) for cell in row) + "\r\n")


def _csv_cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, (list, dict)):
        cell = msgspec.json.encode(cell).decode()
    text = str(cell)
    if text == "" or any(sign in text for sign in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


_ZONED: Final = "TIMESTAMP WITH TIME ZONE"
_TIMES: Final = ("DATE", "TIMESTAMP", "TIME", "INTERVAL")
_MOMENT: Final = (
    "CASE WHEN isfinite({0}) AND {0} >= TIMESTAMPTZ '0001-01-01 00:00:00+00'"
    " AND {0} < TIMESTAMPTZ '10000-01-01 00:00:00+00'"
    " THEN strftime(make_timestamp(epoch_us({0})), '%Y-%m-%dT%H:%M:%S.%gZ') ELSE CAST({0} AS VARCHAR) END"
)
"""RFC 3339 as far as that goes; further times, and infinity, as DuckDB writes them."""


def _single_select(sql: str) -> str:
    """Raises: Trouble, it is not one statement that only reads; duckdb.Error, it is no SQL."""
    import duckdb

    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Trouble("one SELECT (or SHOW, DESCRIBE, SUMMARIZE) is allowed, nothing that writes", EXIT_USAGE)
    return str(statements[0].query).strip().rstrip(";")


def _as_text(select: str, kinds: Sequence[str]) -> str:
    """The same rows, without times: those with a zone are handed over by way of a package that we do not have (probes
    § 5), and the calendar of Python ends before that of DuckDB."""
    if not any(word in kind for kind in kinds for word in _TIMES):
        return select
    names = [f"c{n}" for n in range(len(kinds))]
    cells = []
    for name, kind in zip(names, kinds, strict=True):
        if kind == _ZONED:
            cells.append(_MOMENT.format(name))
        else:
            cells.append(f"{name}::VARCHAR" if kind.startswith(_TIMES) or _ZONED in kind else name)
    return f"SELECT {', '.join(cells)} FROM ({select}\n) AS rows({', '.join(names)})"


def plain(cell: Any) -> Any:
    """A cell as JSON: exact decimals as text, like everywhere outside (contract § 3)."""
    if isinstance(cell, Decimal):
        return amount(cell)
    if cell is None or isinstance(cell, (bool, int, float, str)):
        return clean(cell)
    if isinstance(cell, (list, tuple)):
        return [plain(each) for each in cell]
    if isinstance(cell, dict):
        return {str(name): plain(each) for name, each in cell.items()}
    return str(cell)

"""Files of every earlier schema version are brought up to date, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from actors import messages, rows
from actors.adapters import duck_migrations
from actors.adapters.duck_schema import SCHEMA_VERSION, ddl, to_line
from tests.adapters.duck_rows import DAY, NOON_MS, StillWall, database, fill, one_of_each, order, stored

SCHEMAS = Path(__file__).parents[1] / "data" / "schema"
EARLIER = tuple(range(1, SCHEMA_VERSION))


def text_of(version):
    return (SCHEMAS / f"v{version}.sql").read_text()


def shape(connection):
    return connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() WHERE NOT internal"
        " AND database_name = 'otod' ORDER BY ALL"
    ).fetchall() + connection.execute(
        "SELECT table_name, constraint_type, CAST(constraint_column_names AS VARCHAR) FROM duckdb_constraints()"
        " WHERE database_name = 'otod' ORDER BY ALL"
    ).fetchall()  # fmt: skip


def make(tmp_path, version):
    """A file as that version left it when it was killed: one fill applied, everything else still in its journal."""
    (tmp_path / "live").mkdir()
    with duckdb.connect(str(tmp_path / "live/otod.duckdb")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(text_of(version))
        connection.execute(f"INSERT INTO schema_version VALUES ({version}, now())")
        connection.execute("INSERT INTO meta VALUES ('identity', 'paper'), ('instance', 'here')")
        connection.execute("INSERT INTO generation VALUES (1); INSERT INTO applied VALUES (1)")
        connection.execute(
            "INSERT INTO fills SELECT 'alice', 'KOGE', 'ALPHA_22USDT', 'p', '1', 'working', 'BUY', 1, 1, 1, 0, 'KOGE',"
            f" 4, 'applied', '7', 'stream', make_timestamptz({NOON_MS}000), make_timestamptz({NOON_MS}000)"
        )
        connection.execute("INSERT INTO unpublished SELECT epoch_ms(exchange_time) // 86400000 FROM fills")
        lines = [to_line(seq, row) for seq, row in enumerate(one_of_each(), start=2)]
        connection.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", lines)


@pytest.mark.parametrize("version", EARLIER)
async def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path, version):
    (tmp_path / "old").mkdir()
    make(tmp_path / "old", version)
    old, new = database(tmp_path / "old"), database(tmp_path / "new")
    await old.open()
    await new.open()
    assert shape(old._file.writer) == shape(new._file.writer)
    for row in one_of_each():
        assert row in stored(old, type(row))
    assert {row.fill_id for row in stored(old, rows.FillRow)} == {"applied", "1"}
    await old.commit([[order("2")]])
    assert await old.publish()
    with duckdb.connect(str(tmp_path / f"old/analytics/day_{DAY}.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM fills").fetchall() == [(2,)]
    assert (await old.query(messages.ListOrders(user="alice")))[0] == 2
    await old.close()
    await new.close()


@pytest.mark.parametrize("version", EARLIER)
async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path, version, monkeypatch):
    make(tmp_path, version)
    monkeypatch.setattr(
        duck_migrations,
        "MIGRATIONS",
        {**duck_migrations.MIGRATIONS, SCHEMA_VERSION: ("CREATE TABLE x (a INT)", "oops")},
    )
    with pytest.raises(duckdb.ParserException):
        await database(tmp_path).open()
    monkeypatch.undo()
    again = database(tmp_path, wall=StillWall())
    await again.open()
    found = again._file.writer.execute("SELECT version FROM schema_version ORDER BY 1").fetchall()
    assert found == [(number,) for number in range(version, SCHEMA_VERSION + 1)]
    assert "x" not in {name for name, *_ in shape(again._file.writer)}
    await again.commit([[fill("2")]])
    await again.close()


def test_every_version_has_its_text_and_its_migration():
    """A change of actors/rows.py or of a table changes the schema: see duck_migrations.py for what to do then."""
    assert text_of(SCHEMA_VERSION) == ";\n".join(ddl()) + ";\n"
    assert set(duck_migrations.MIGRATIONS) == set(range(2, SCHEMA_VERSION + 1))

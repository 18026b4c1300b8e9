"""What this DuckDB release does that the store leans on (probes § 5): if one fails, read duck_*.py again."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal as D

import duckdb
import pytest


@pytest.fixture
def live(tmp_path):
    connection = duckdb.connect(str(tmp_path / "live.duckdb"), config={"checkpoint_threshold": "1TB", "threads": "1"})
    connection.execute("CREATE TABLE journal (seq BIGINT, document VARCHAR)").fetchall()
    yield connection
    connection.close()


def journal(connection):
    return connection.execute("SELECT seq FROM journal ORDER BY seq").fetchall()


def test_a_kept_appender_survives_flushes_and_a_checkpoint(live):
    appender = live.appender("journal")
    for seq in range(3):
        appender.append_rows([(seq, "{}")])
        appender.flush()
        live.execute("CHECKPOINT").fetchall()
    assert journal(live) == [(0,), (1,), (2,)]


def test_a_flush_that_failed_stores_nothing_and_leaves_an_appender_that_can_be_cleared(live):
    live.execute("CREATE TABLE keyed (seq BIGINT PRIMARY KEY)").fetchall()
    appender = live.appender("keyed")
    appender.append_rows([(1,), (2,), (1,)])
    with pytest.raises(duckdb.ConstraintException):
        appender.flush()
    appender.clear()
    appender.append_rows([(7,)])
    appender.flush()
    assert live.execute("SELECT seq FROM keyed").fetchall() == [(7,)]


def test_one_cursor_empties_the_journal_while_another_appends(live):
    """The writer and the reader of duck_file.py: their transactions touch the same table and never conflict."""
    appender, reader = live.appender("journal"), live.cursor()
    for seq in range(0, 200, 2):
        appender.append_rows([(seq, "{}")])
        appender.flush()
        reader.execute("BEGIN").fetchall()
        ((last,),) = reader.execute("SELECT max(seq) FROM journal").fetchall()
        appender.append_rows([(seq + 1, "{}")])
        appender.flush()
        reader.execute("DELETE FROM journal WHERE seq <= $1", [last]).fetchall()
        reader.execute("COMMIT").fetchall()
        assert journal(live) == [(seq + 1,)]


def test_a_transaction_reads_what_was_there_when_it_began(live):
    reader = live.cursor()
    reader.execute("BEGIN").fetchall()
    assert journal(reader) == []
    live.execute("INSERT INTO journal VALUES (1, '')").fetchall()
    assert journal(reader) == []
    reader.execute("COMMIT").fetchall()
    assert journal(reader) == [(1,)]


def test_a_retracted_key_can_be_written_again_in_the_same_transaction(live):
    live.execute("CREATE TABLE fills (id VARCHAR PRIMARY KEY, note VARCHAR)").fetchall()
    live.execute("INSERT INTO fills VALUES ('a', 'old')").fetchall()
    for statement in (
        "BEGIN",
        "DELETE FROM fills WHERE id = 'a'",
        "INSERT OR IGNORE INTO fills VALUES ('a', 'new')",
        "COMMIT",
    ):
        live.execute(statement).fetchall()
    assert live.execute("SELECT note FROM fills").fetchall() == [("new",)]


def test_a_number_from_json_text_reaches_a_wide_decimal_exactly():
    text = "12345678901234567890.123456789012345678"
    read = 'CAST(CAST(from_json_strict($1, \'{"p":"VARCHAR"}\').p AS DECIMAL(38,18)) AS VARCHAR)'
    assert duckdb.execute(f"SELECT {read}", [f'{{"p":"{text}"}}']).fetchall() == [(text,)]
    assert duckdb.execute(f"SELECT {read}", ['{"p":"1E-7"}']).fetchall() == [("0.000000100000000000",)]


def test_a_nineteenth_decimal_is_rounded_without_a_word_so_the_border_must_refuse_it():
    assert duckdb.execute("SELECT CAST('1.0000000000000000009' AS DECIMAL(38,18))").fetchall() == [
        (D("1.000000000000000001"),)
    ]


def test_two_wide_decimals_cannot_be_multiplied_but_a_wide_and_a_narrow_one_can():
    with pytest.raises(duckdb.OutOfRangeException):
        duckdb.execute("SELECT CAST(12.3 AS DECIMAL(38,18)) * CAST(1000 AS DECIMAL(38,18))").fetchall()
    product = duckdb.execute("SELECT CAST(12.3 AS DECIMAL(38,18)) * CAST(1000 AS DECIMAL(10,2))").fetchall()
    assert product == [(D(12300),)]


def test_the_open_file_is_locked_against_other_processes(live, tmp_path):
    code = f"import duckdb; duckdb.connect({str(tmp_path / 'live.duckdb')!r}, read_only=True)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Could not set lock" in other.stderr


def test_reading_the_live_file_by_other_means_drops_its_lock(live, tmp_path):
    """Why nothing in this process but DuckDB may ever open it."""
    (tmp_path / "live.duckdb").read_bytes()
    code = f"import duckdb; duckdb.connect({str(tmp_path / 'live.duckdb')!r})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_missing_log_opens_without_a_word_so_a_marker_is_needed(tmp_path):
    path = tmp_path / "live.duckdb"
    connection = duckdb.connect(str(path), config={"checkpoint_threshold": "1TB"})
    connection.execute("PRAGMA disable_checkpoint_on_shutdown").fetchall()
    connection.execute("CREATE TABLE t (a INT)").fetchall()
    connection.close()
    log = tmp_path / "live.duckdb.wal"
    assert log.exists()
    log.unlink()
    with duckdb.connect(str(path)) as again:
        assert again.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


def test_a_view_of_an_attached_file_finds_its_tables_under_another_name(live, tmp_path):
    for statement in (
        f"ATTACH '{tmp_path / 'day.duckdb'}' AS one (STORAGE_VERSION 'v1.4.0')",
        "CREATE TABLE one.fills AS SELECT 1 AS a",
        "CREATE VIEW one.daily AS SELECT a FROM fills",
        "DETACH one",
        f"ATTACH '{tmp_path / 'day.duckdb'}' AS two (READ_ONLY)",
    ):
        live.execute(statement).fetchall()
    assert live.execute("SELECT * FROM two.daily").fetchall() == [(1,)]


def test_what_the_store_needs_is_built_in():
    names = "SELECT extension_name FROM duckdb_extensions() WHERE loaded"
    assert {"json", "icu", "parquet"} <= {name for (name,) in duckdb.execute(names).fetchall()}

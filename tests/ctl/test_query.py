"""`otoctl query`: what was published can be read with one SELECT, and nothing can be written."""

from __future__ import annotations

import json
from decimal import Decimal

import duckdb
import pytest
from click.testing import CliRunner

from supervisor.ctl.cli import otoctl
from supervisor.ctl.client import Trouble
from supervisor.ctl.query import TABLE_ROWS_MAX, find_views, plain, run


@pytest.fixture
def state_dir(tmp_path):
    """A state directory with one published day and its views."""
    analytics = tmp_path / "analytics"
    analytics.mkdir()
    day = analytics / "day_2026-11-20.duckdb"
    with duckdb.connect(str(day)) as connection:
        connection.execute("""
            CREATE TABLE fills (user VARCHAR, price DECIMAL(38,18), exchange_time TIMESTAMPTZ, n INTEGER);
            INSERT INTO fills SELECT 'alice', 48.0241, '2026-11-20 10:00:00.123+00'::TIMESTAMPTZ + to_seconds(i), i
            FROM range(3000) AS r(i);""")
    (analytics / "views.sql").write_text(
        f"CREATE VIEW fills AS FROM read_duckdb('{analytics}/day_*.duckdb', table_name='fills');"
    )
    return tmp_path


@pytest.fixture
def views(state_dir):
    return state_dir / "analytics" / "views.sql"


def test_rows_come_with_exact_amounts_and_times(views):
    names, rows = run(views, "SELECT user, price, exchange_time FROM fills ORDER BY n LIMIT 1;")
    assert names == ["user", "price", "exchange_time"]
    assert rows == [("alice", Decimal("48.0241"), "2026-11-20T10:00:00.123Z")]


def test_the_order_asked_for_is_kept_and_names_may_repeat(views):
    names, rows = run(views, "SELECT n, exchange_time, n FROM fills ORDER BY n DESC -- a remark")
    assert names == ["n", "exchange_time", "n"]
    assert [row[0] for row in rows] == list(range(2999, -1, -1))


def test_times_within_other_values_are_text(views):
    _, rows = run(views, "SELECT list(exchange_time) AS l, NULL::TIMESTAMPTZ AS t FROM (FROM fills LIMIT 1)")
    assert rows[0][0].startswith("[")
    assert rows[0][1] is None


@pytest.mark.parametrize(
    "sql", ["SHOW TABLES", "DESCRIBE fills", "SUMMARIZE fills", "FROM fills", "WITH a AS (SELECT 1) FROM a"]
)
def test_whatever_only_reads_is_let_through(views, sql):
    _, rows = run(views, sql)
    assert rows


@pytest.mark.parametrize(
    "sql",
    ["COPY fills TO 'x.csv'", "CREATE TABLE t (i INT)", "DROP VIEW fills", "SELECT 1; SELECT 2", "",
     "ATTACH 'x.duckdb'", "SET threads = 1", "INSERT INTO fills VALUES (1)", "EXPLAIN ANALYZE SELECT 1"],
)  # fmt: skip
def test_whatever_writes_is_wrong_usage(views, sql):
    with pytest.raises(Trouble, match="nothing that writes") as caught:
        run(views, sql)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM nowhere", "SELECT 'x'::INT"])
def test_wrong_sql_is_told_with_what_there_is(views, sql):
    with pytest.raises(Trouble, match="SHOW TABLES") as caught:
        run(views, sql)
    assert caught.value.exit_code == 1


def test_records_are_found_by_option_beside_the_socket_or_where_daemons_keep_them(state_dir, views):
    nowhere = {"HOME": "/nowhere"}
    assert find_views(nowhere, state_dir=str(state_dir), socket=None) == views
    assert find_views(nowhere, state_dir=None, socket=f"ipc://{state_dir}/run/control.sock") == views
    assert find_views({"STATE_DIRECTORY": str(state_dir)}, state_dir=None, socket=None) == views


def test_no_records_are_told_with_the_places_looked_at(tmp_path):
    with pytest.raises(Trouble, match=r"views\.sql") as caught:
        find_views({}, state_dir=str(tmp_path), socket=None)
    assert caught.value.exit_code == 1


def test_the_command_prints_a_table_or_json(state_dir):
    where = ["--state-dir", str(state_dir)]
    sql = "SELECT user, count(*) AS fills, NULL AS nothing, exchange_time FROM fills WHERE n = 1 GROUP BY ALL"
    done = CliRunner().invoke(otoctl, ["query", *where, sql])
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["user", "fills", "nothing", "exchange_time"],
        ["alice", "1", "-", "2026-11-20T10:00:01.123Z"],
    ]
    done = CliRunner().invoke(otoctl, ["query", *where, "SELECT price FROM fills LIMIT 1", "--json"])
    assert json.loads(done.stdout) == [{"price": "48.0241"}]
    assert CliRunner().invoke(otoctl, ["query", *where, "DROP VIEW fills"]).exit_code == 2


def test_a_long_table_ends_with_a_word_and_programs_get_every_row(state_dir):
    words = ["query", "--state-dir", str(state_dir), "SELECT n FROM fills ORDER BY n"]
    done = CliRunner().invoke(otoctl, words)
    assert done.stdout.split() == ["n", *map(str, range(TABLE_ROWS_MAX))]
    assert "the first 1000 rows" in done.stderr
    done = CliRunner().invoke(otoctl, [*words, "--json"])
    assert [row["n"] for row in json.loads(done.stdout)] == list(range(3000))
    assert done.stderr == ""
    done = CliRunner().invoke(otoctl, [*words, "--csv"])
    assert done.stdout.split() == ["n", *map(str, range(3000))]


def test_an_error_among_the_rows_is_told(state_dir):
    sql = "SELECT CAST(if(n = 2900, 'x', '1') AS INTEGER) FROM fills ORDER BY n"
    done = CliRunner().invoke(otoctl, ["query", "--state-dir", str(state_dir), sql, "--csv"])
    assert done.exit_code == 1
    assert "Conversion" in done.stderr


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELECT n FROM fills WHERE false", []),
        ("SELECT 1 AS a, 2 AS b, 3 AS a, 4 AS a_2", [{"a": 1, "b": 2, "a_2": 3, "a_2_2": 4}]),
    ],
)
def test_json_has_every_column_of_every_row(state_dir, sql, told):
    done = CliRunner().invoke(otoctl, ["--json", "query", "--state-dir", str(state_dir), sql])
    assert json.loads(done.stdout) == told


def test_a_statement_that_hides_a_write_changes_nothing(views):
    with pytest.raises(Trouble):
        run(views, "WITH gone AS (DELETE FROM catalogue.users RETURNING *) SELECT * FROM gone")


def test_cells_become_json():
    cells = [Decimal("1.50"), 1, 1.5, True, None, "x", (1, Decimal(2)), {"a": Decimal(3)}, b"x"]
    assert [plain(cell) for cell in cells] == ["1.5", 1, 1.5, True, None, "x", [1, "2"], {"a": "3"}, "b'x'"]

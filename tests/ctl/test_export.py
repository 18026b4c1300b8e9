"""`otoctl export`: Parquet by day and user that several daemons may share, exact, whole, and only what changed."""

from __future__ import annotations

import io
import json
import subprocess

import duckdb
import pytest
import trio
from click.testing import CliRunner

from actors.adapters.duck_views import PUBLISHED
from supervisor.ctl.cli import otoctl
from supervisor.ctl.client import Trouble
from supervisor.ctl.export import export
from supervisor.ctl.query import run, write_csv
from tests.adapters.duck_rows import NOON_MS, database, fill, retraction
from tests.ctl.published import EXACT, state_directory


def read(target, sql, table="fills"):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE VIEW t AS SELECT * FROM read_parquet('{target}/{table}/*/*/*.parquet', hive_partitioning = true)"
        )
        return connection.execute(sql).fetchall()


def change(state_dir, *group):
    async def write():
        db = database(state_dir)
        await db.open()
        await db.commit([list(group)])
        await db.publish()
        await db.close()

    trio.run(write)


def test_every_published_row_is_exported_with_its_exact_values(tmp_path):
    state_dir, target = state_directory(tmp_path / "state"), tmp_path / "lake"
    done = export(state_dir / "analytics", target)
    assert (done.days, done.kept, done.rows["fills"]) == (2, 0, 14)
    for table, columns in PUBLISHED.items():
        if not done.rows[table]:
            continue
        names = ", ".join(f'"{name}"::VARCHAR' for name in ("instance", *columns))
        views = (state_dir / "analytics/views.sql").read_text()
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(views)
            published = connection.execute(f"SELECT {names} FROM {table} ORDER BY ALL").fetchall()
        assert read(target, f"SELECT {names} FROM t ORDER BY ALL", table) == published, table
    assert read(target, "SELECT DISTINCT quote_quantity FROM t WHERE side = 'BUY' AND \"user\" = 'alice'") == [(EXACT,)]


def test_days_and_users_are_directories(tmp_path):
    state_dir, target = state_directory(tmp_path / "state"), tmp_path / "lake"
    export(state_dir / "analytics", target)
    assert (target / "fills/day=2026-11-20/user=alice/here-0.parquet").is_file()
    assert (target / "price_1s/day=2026-11-19/user=__HIVE_DEFAULT_PARTITION__/here-0.parquet").is_file()
    plan = read(target, "EXPLAIN SELECT count(*) FROM t WHERE day = DATE '2026-11-20' AND \"user\" = 'bob'")[0][1]
    assert "1/4" in plan.replace(" ", ""), plan  # of four files one is read


def test_only_days_that_changed_are_written_again(tmp_path):
    state_dir, target = state_directory(tmp_path / "state"), tmp_path / "lake"
    export(state_dir / "analytics", target)
    yesterday = target / "fills/day=2026-11-19/user=alice/here-0.parquet"
    inode = yesterday.stat().st_ino
    change(state_dir, fill("late", "carol", exchange_time=NOON_MS), retraction("2026-11-20-bob", "bob"))
    done = export(state_dir / "analytics", target)
    assert (done.days, done.kept) == (1, 1)
    assert yesterday.stat().st_ino == inode
    assert read(target, "SELECT \"user\", count(*) FROM t WHERE day = '2026-11-20' GROUP BY 1 ORDER BY 1") == [
        ("alice", 6), ("carol", 1),
    ]  # fmt: skip


def test_two_daemons_exports_are_one_table(tmp_path):
    target = tmp_path / "lake"
    for instance in ("here", "there"):
        export(state_directory(tmp_path / instance, instance=instance) / "analytics", target)
    assert read(target, "SELECT instance, count(*) FROM t GROUP BY 1 ORDER BY 1") == [("here", 14), ("there", 14)]
    assert len(list(target.glob("fills/day=2026-11-20/user=alice/*"))) == 2


def test_instances_that_only_differ_in_unsafe_letters_keep_their_files_apart(tmp_path):
    target = tmp_path / "lake"
    for number, instance in enumerate(("a/b", "a_b", "a b")):
        export(state_directory(tmp_path / str(number), instance=instance) / "analytics", target)
    counts = read(target, "SELECT instance, count(*) FROM t GROUP BY 1 ORDER BY 1")
    assert counts == [("a b", 14), ("a/b", 14), ("a_b", 14)]


def test_rows_that_an_earlier_name_of_the_daemon_exported_are_told_for_they_count_twice(tmp_path):
    state_dir, target = state_directory(tmp_path / "state"), tmp_path / "it's [a] lake*"
    words = ("export", "--parquet", str(target), "--state-dir", str(state_dir))
    assert "twice" not in CliRunner().invoke(otoctl, words).output

    async def renamed():
        db = database(state_dir, instance="o'new")
        await db.open()
        await db.commit([[fill("late", exchange_time=NOON_MS)]])
        await db.publish()
        await db.close()

    trio.run(renamed)
    done = CliRunner().invoke(otoctl, words)
    assert done.exit_code == 0, done.output
    assert "2026-11-20 is there as 'here', too" in done.stderr
    assert "2026-11-19" not in done.stderr
    command = done.stderr.partition("rm -- ")[2].strip()
    subprocess.run(["sh", "-c", f"rm -- {command}"], check=True)
    target = target.rename(tmp_path / "lake")
    assert read(target, "SELECT day::VARCHAR, count(*) FROM t GROUP BY 1 ORDER BY 1") == [
        ("2026-11-19", 7), ("2026-11-20", 8),
    ]  # fmt: skip
    words = ("export", "--parquet", str(target), "--state-dir", str(state_dir))
    assert CliRunner().invoke(otoctl, words).stderr == ""
    (state_dir / "analytics/day_2026-11-20.duckdb").touch()
    done = CliRunner().invoke(otoctl, (*words, "--json"))
    assert json.loads(done.stdout)["also_as"] == []


def test_nothing_half_made_is_left(tmp_path):
    state_dir, target = state_directory(tmp_path / "state"), tmp_path / "lake"
    export(state_dir / "analytics", target)
    assert not [name for name in target.iterdir() if name.name.startswith(".")]


def test_what_cannot_be_exported_is_told(tmp_path):
    state_dir = state_directory(tmp_path / "state")
    with pytest.raises(Trouble, match="among the published files"):
        export(state_dir / "analytics", state_dir / "analytics" / "lake")
    with pytest.raises(Trouble, match="no published days"):
        export(tmp_path / "nothing", tmp_path / "lake")
    (tmp_path / "file").write_text("")
    with pytest.raises(Trouble, match="Not a directory"):
        export(state_dir / "analytics", tmp_path / "file" / "lake")


def test_the_command_says_what_it_did(tmp_path):
    state_dir = state_directory(tmp_path / "state")
    words = ("export", "--parquet", str(tmp_path / "lake"), "--state-dir", str(state_dir))
    first = CliRunner().invoke(otoctl, words)
    assert first.exit_code == 0, first.output
    assert first.output.startswith("2 days written (14 fills, ")
    second = CliRunner().invoke(otoctl, (*words, "--json"))
    assert json.loads(second.output)["unchanged"] == 2


# -- CSV


def test_csv_is_exact_and_can_be_read_back(tmp_path):
    state_dir = state_directory(tmp_path / "state")
    odd = "'' AS empty, NULL AS nothing, 'a,\"b\"' AS odd, true AS yes"
    sql = f'SELECT "user", exchange_time, quote_quantity, {odd} FROM fills'
    result = CliRunner().invoke(otoctl, ("query", f"{sql} ORDER BY fill_id", "--csv", "--state-dir", str(state_dir)))
    assert result.exit_code == 0, result.output
    lines = result.stdout_bytes.decode().split("\r\n")
    assert lines[0] == "user,exchange_time,quote_quantity,empty,nothing,odd,yes"
    assert lines[1] == f'alice,2026-11-19T13:00:00.000Z,{EXACT},"",,"a,""b""",true'
    (tmp_path / "x.csv").write_bytes(result.stdout_bytes)
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT max(CAST(quote_quantity AS DECIMAL(38,18))) FROM read_csv('{tmp_path}/x.csv', all_varchar = true)"
        ).fetchall()
    assert found == [(EXACT,)]


def test_lists_in_csv_are_json(tmp_path):
    state_dir = state_directory(tmp_path / "state")
    names, rows = run(state_dir / "analytics/views.sql", "SELECT [1.5, 2] AS l, {'a': 'x'} AS s")
    file = io.StringIO()
    write_csv(file, names, rows)
    assert file.getvalue() == 'l,s\r\n"[""1.5"",""2""]","{""a"":""x""}"\r\n'


def test_csv_and_json_at_once_is_wrong_usage():
    assert CliRunner().invoke(otoctl, ("query", "SELECT 1", "--csv", "--json")).exit_code == 2

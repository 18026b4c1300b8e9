"""Other programs read what otod publishes and exports: older DuckDBs, the duckdb command line, another engine.

Each is installed from the package registry into an environment of its own; without a registry the test is skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from actors.adapters import duck_totals
from actors.adapters.duck_views import PUBLISHED, VIEWS
from supervisor.ctl.export import export
from tests.ctl.published import EXACT, state_directory

pytestmark = pytest.mark.system

INSTALL_S_MAX = 240
EVERYTHING = (*PUBLISHED, *VIEWS)

READ_ALL = """
import json, sys
import duckdb
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(open(sys.argv[1]).read())
found = {name: connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {name} ORDER BY ALL").fetchall()
         for name in sys.argv[2].split(",")}
print(json.dumps([duckdb.__version__, found, connection.execute('SELECT count(*) FROM catalogue.users').fetchall()]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Makes an environment with these packages; returns its bin directory. Skips where they cannot be had."""

    def make(*packages):
        home = tmp_path_factory.mktemp("environment")
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=INSTALL_S_MAX)
        command = [
            str(home / "bin/python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            *packages,
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{packages} could not be installed within {INSTALL_S_MAX} s")
        if done.returncode:
            pytest.skip(f"{packages} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
        return home / "bin"

    return make


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duck_totals, "DAYS_MIN", 1)
        made = state_directory(tmp_path_factory.mktemp("it's a state"))
    assert (made / "analytics/totals.duckdb").is_file()
    return made


def as_we_read_it(state_dir, script):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute((state_dir / "analytics" / script).read_text())
        rows = {
            name: connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {name} ORDER BY ALL").fetchall()
            for name in EVERYTHING
        }
        return {name: [list(row) for row in found] for name, found in rows.items()}


def output_of(*command):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=60, cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("version", "script"), [("1.4", "views-1.4.sql"), ("1.5", "views.sql")])
def test_duckdb_of_an_earlier_version_reads_the_same_from_any_directory(environment, state_dir, version, script):
    python = environment(f"duckdb=={version}.*") / "python"
    told = output_of(python, "-c", READ_ALL, state_dir / "analytics" / script, ",".join(EVERYTHING))
    used, found, users = json.loads(told)
    assert used.startswith(f"{version}.")
    assert found == as_we_read_it(state_dir, "views.sql")
    assert all(found[name] for name in EVERYTHING if name not in ("state_changes",))
    assert users == [[0]]


@pytest.mark.parametrize("script", ["views.sql", "views-1.4.sql"])
def test_the_duckdb_command_line_shows_the_views(environment, state_dir, script, request):
    if not hasattr(request.config, "_duckdb_cli"):
        request.config._duckdb_cli = environment("duckdb-cli==1.5.*") / "duckdb"
    sql = "SELECT CAST(sum(volume) AS VARCHAR) AS volume FROM daily WHERE \"user\" = 'alice'"
    told = output_of(request.config._duckdb_cli, "-init", state_dir / "analytics" / script, "-json", "-c", sql)
    assert json.loads(told) == [{"volume": str(EXACT * 6)}]


CHDB = """
import sys
import chdb
print(chdb.query(
    f"SELECT instance, user, toString(day), count(), toString(sum(quote_quantity)), toString(max(exchange_time))"
    f" FROM file('{sys.argv[1]}/fills/*/*/*.parquet', Parquet) WHERE side = 'BUY' GROUP BY ALL ORDER BY ALL",
    "JSONCompactEachRow"))
"""


def test_two_daemons_exports_are_one_table_for_another_engine(environment, tmp_path):
    python = environment("chdb") / "python"
    target = tmp_path / "lake"
    for instance in ("here", "there"):
        export(state_directory(tmp_path / instance, instance=instance) / "analytics", target)
    told = [json.loads(line) for line in output_of(python, "-c", CHDB, target).splitlines() if line]
    assert told == [
        [instance, user, day, count, total, f"{day} {last}.000000"]
        for instance in ("here", "there")
        for user, count, total, last in (("alice", 3, str(EXACT * 3), "15:00:00"), ("bob", 1, "48.02", "12:00:00"))
        for day in ("2026-11-19", "2026-11-20")
    ]
    with duckdb.connect() as connection:
        ours = connection.execute(
            "SELECT instance, \"user\", CAST(day AS VARCHAR), count(*), CAST(sum(quote_quantity) AS VARCHAR)"
            f" FROM read_parquet('{target}/fills/*/*/*.parquet', hive_partitioning = true) WHERE side = 'BUY'"
            " GROUP BY ALL ORDER BY ALL"
        ).fetchall()  # fmt: skip
    assert [[*row[:4]] for row in ours] == [row[:4] for row in told]
    assert [float(row[4]) for row in ours] == [float(row[4]) for row in told]
    assert Path(target / "fills/day=2026-11-19/user=bob/there-0.parquet").is_file()

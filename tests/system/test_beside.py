"""Other processes query the published files all the time while many users trade: nobody waits for anybody.

The users trade three tokens with offsets that rest in the book: with the demo's, which cross the spread, one own order
at a time could be open in a token, because each would meet the sale of another user (then 100 users make one fill a
second; so they make about eleven, a million a day).

A short run with few users by default; `OTOD_BESIDE_USERS=100 OTOD_BESIDE_S=60` is the full one. It prints how far
behind the files were and the commit latency without and with readers (see with -s): on a machine with two cores five
readers and the daemon share them, so the latencies tell of the machine as much as of us; `tests.bench.beside` pairs
them. Behind is the time from when the oldest fill of those that a look at the files has for the first time was recorded
to that look: when no fill happens, nothing is behind.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.processes import end, otoctl, running, wait_for

pytestmark = pytest.mark.system

USERS = int(os.environ.get("OTOD_BESIDE_USERS", "30"))
SECONDS = float(os.environ.get("OTOD_BESIDE_S", "20"))
READERS = int(os.environ.get("OTOD_BESIDE_READERS", "5"))
BEHIND_S_MAX = 5.0 if "OTOD_BESIDE_S" in os.environ else 20.0  # the short run shares its machine with other tests

READER = """
import json, sys, time
import duckdb
behind, counts, seen_ms, until = [], [], 0, time.time() + float(sys.argv[2])
while time.time() < until or (not behind and time.time() < until + 60):
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")  # `python -c` counts as a person who wants one
        connection.execute(open(sys.argv[1]).read())
        looked = time.time()
        ((count, first_ms, newest_ms),) = connection.execute(
            "SELECT count(*), epoch_ms(min(recorded_at) FILTER (WHERE epoch_ms(recorded_at) > $1)),"
            " epoch_ms(max(recorded_at)) FROM fills", [seen_ms]).fetchall()
        if first_ms is not None and counts:
            behind.append(looked - first_ms / 1000)
        seen_ms = newest_ms or seen_ms
        connection.execute("SELECT * FROM daily").fetchall()
        connection.execute("SELECT * FROM progress").fetchall()
        counts.append(count)
    time.sleep(0.2)
print(json.dumps([behind, counts]))
"""


USER = """[users.user{number}]
trading = {{ token = "{token}", target_volume = "900000", order_amount = "25", buy_offset = "0", sell_offset = "0.01", \
interval_seconds = 0, timeout_seconds = 20, volatility_threshold = 50 }}
credentials = {{ cookies = {{ paper_account = "user{number}" }}, headers = {{}} }}
"""


@contextmanager
def trading(place: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A daemon on the embedded exchange whose users all trade, and its state directory."""
    tokens = ("KOGE", "LUMI", "PICO")
    state_dir = place / "s"
    (place / "otod.toml").write_text(f'state_dir = "{state_dir}"\n')
    (place / "users.toml").write_text("".join(USER.format(number=n, token=tokens[n % 3]) for n in range(USERS)))
    words = ("run", "--config", str(place / "otod.toml"), "--apply", str(place / "users.toml"))
    with running(*words, log=place / "log") as daemon:
        views = state_dir / "analytics/views.sql"
        wait_for(views.is_file, within_s=60, what="published files")
        wait_for(lambda: otoctl(*at(state_dir), "trading", "start", "--all").returncode == 0, within_s=60, what="start")
        yield state_dir, daemon


def at(state_dir: Path) -> tuple[str, str]:
    return "--socket", f"ipc://{state_dir}/run/control.sock"


def commits(state_dir: Path) -> dict[str, float]:
    told = otoctl(*at(state_dir), "--json", "system", "metrics")
    assert told.returncode == 0, told.stderr
    found: dict[str, float] = json.loads(told.stdout)["store"]
    return found


def test_readers_never_fail_and_are_at_most_seconds_behind(tmp_path: Path) -> None:
    with trading(tmp_path) as (state_dir, daemon):
        views = state_dir / "analytics/views.sql"
        time.sleep(SECONDS)
        alone = commits(state_dir)
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READER, str(views), str(SECONDS)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
            )
            for _ in range(READERS)
        ]  # fmt: skip
        told = [reader.communicate(timeout=SECONDS + 120) for reader in readers]
        beside = commits(state_dir)
        assert end(daemon) == 0, (tmp_path / "log").read_text()[-2000:]
    behind: list[float] = []
    rounds = 0
    for reader, (output, errors) in zip(readers, told, strict=True):
        assert reader.returncode == 0, errors
        ages, counts = json.loads(output)
        assert counts == sorted(counts)
        behind += ages
        rounds += len(counts)
    assert behind, "no reader has seen a new fill"
    print(
        f"\n{USERS} users, {READERS} readers, {rounds} rounds of queries, {len(behind)} with new fills;"
        f" behind: median {statistics.median(behind):.1f} s, most {max(behind):.1f} s"
    )
    for name, found in (("without readers", alone), ("with readers", beside)):
        print(f"commits {name}: p50 {found['commit_p50_ms']:.1f} ms, p99 {found['commit_p99_ms']:.1f} ms")
    print(f"the daemon itself says: behind {beside['behind_s']} s, a publication took {beside['publish_s']} s")
    assert statistics.median(behind) <= BEHIND_S_MAX
    assert beside["publish_failures"] == 0

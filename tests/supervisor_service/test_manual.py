"""The operations manual says what is true: every pause is in it, its commands exist, its SQL works."""

from __future__ import annotations

import re
from pathlib import Path

import click
import duckdb
import pytest
from click.testing import CliRunner

from actors.domain.trading import PAUSE_REASONS
from supervisor.__main__ import main as otod
from supervisor.ctl.__main__ import main as _  # noqa: F401  its commands are added when it is imported
from supervisor.ctl.cli import otoctl
from tests.ctl.published import state_directory

ROOM = Path(__file__).resolve().parents[2] / "systemd"
MANUAL = (ROOM / "README.md").read_text()


def test_every_pause_has_its_line_and_no_other():
    section = MANUAL.partition("\n## Pauses\n")[2].partition("\n## ")[0]
    named = [reason for line in re.findall(r"^\| ([A-Z_, ]+) \|", section, re.MULTILINE) for reason in line.split(", ")]
    assert sorted(named) == sorted(PAUSE_REASONS)


def test_every_file_of_the_room_is_explained():
    for file in ROOM.iterdir():
        assert file.name == "README.md" or f"`{file.name}`" in MANUAL


OTOCTL = sorted(set(re.findall(r"otoctl ([a-z]+(?: [a-z-]+)*)", MANUAL)))
OTOD = sorted(set(re.findall(r"otod (install|uninstall|check-config|new-key|run)\b", MANUAL)))


@pytest.mark.parametrize("words", OTOCTL)
def test_every_command_of_otoctl_exists(words):
    command: click.Command = otoctl
    for word in words.split():
        if not isinstance(command, click.Group):
            break  # arguments follow
        assert word in command.commands, words
        command = command.commands[word]
    assert command is not otoctl


@pytest.mark.parametrize("word", OTOD)
def test_every_command_of_otod_exists(word):
    assert CliRunner().invoke(otod, [word, "--help"]).exit_code == 0


def test_one_view_over_all_instances(tmp_path):
    for instance in ("otod", "otod-shard1"):
        state_directory(tmp_path / instance, instance=instance)
    (sql,) = re.findall(r"```sql\n(.*?)```", MANUAL, re.DOTALL)
    with duckdb.connect() as connection:
        connection.execute(sql.replace("/var/lib/", f"{tmp_path}/"))
        volumes = connection.execute("SELECT instance, count(*), sum(volume) FROM volumes GROUP BY ALL").fetchall()
        costs = connection.execute("SELECT instance, sum(pairs) FROM costs GROUP BY ALL ORDER BY ALL").fetchall()
    assert sorted(row[0] for row in volumes) == ["otod", "otod-shard1"]
    assert len({row[1:] for row in volumes}) == 1
    assert [row[0] for row in costs] == ["otod", "otod-shard1"]
    assert costs[0][1] == costs[1][1] > 0

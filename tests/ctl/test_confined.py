"""`otoctl query`, `report` and `export` where somebody asks for too much, and where a published file is damaged."""

from __future__ import annotations

import os
import shutil

import pytest

from supervisor.ctl.client import Trouble
from supervisor.ctl.export import export
from supervisor.ctl.query import find_views, run
from supervisor.ctl.report import gather
from tests.ctl.published import state_directory

OLD, NEW = "day_2026-11-19.duckdb", "day_2026-11-20.duckdb"
BLOCKS_AT, BLOCK = 3 * 4096, 256 * 1024


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return state_directory(tmp_path_factory.mktemp("made"))


@pytest.fixture
def analytics(made, tmp_path):
    """Of a directory of its own, which may be damaged."""
    here = tmp_path / "analytics"
    shutil.copytree(made / "analytics", here)
    for script in here.glob("*.sql"):
        script.write_text(script.read_text().replace(str(made / "analytics"), str(here)))
    return here


def ask(analytics, sql="SELECT * FROM pairs, daily, progress"):
    return run(analytics / "views.sql", sql)


# -- too much


@pytest.mark.parametrize(
    "source",
    ["read_text('{0}/secret')", "read_csv('{0}/secret')", "read_text('{1}/../secret')", "glob('/*')",
     "read_parquet('https://127.0.0.1:9/x.parquet')"],
)  # fmt: skip
def test_a_query_reads_no_file_but_the_published_ones(analytics, tmp_path, source):
    (tmp_path / "secret").write_text("a")
    with pytest.raises(Trouble, match="duckdb -init") as caught:
        ask(analytics, f"SELECT * FROM {source.format(tmp_path, analytics)}")
    assert "Permission Error" in str(caught.value)


def test_a_query_changes_no_setting_and_writes_no_log(analytics, tmp_path):
    with pytest.raises(Trouble, match="locked"):
        ask(analytics, f"SELECT * FROM enable_logging(storage = 'file', storage_path = '{tmp_path}/log')")
    assert not (tmp_path / "log").exists()


def test_views_of_another_place_are_not_taken_for_those_of_this_one(made, tmp_path):
    shutil.copytree(made / "analytics", tmp_path / "analytics")
    with pytest.raises(Trouble, match="Permission Error"):
        ask(tmp_path / "analytics")


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        ("20000-01-01 00:00:00+00", "20000-01-01 00:00:00+00"),
        ("0044-03-15 (BC) 12:00:00+00", "0044-03-15 (BC) 12:00:00+00"),
        ("infinity", "infinity"),
        ("9999-12-31 23:59:59.999+00", "9999-12-31T23:59:59.999Z"),
        ("0001-01-01 00:00:00+00", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_moments_beyond_the_calendar_are_told_as_the_database_says_them(analytics, moment, told):
    assert ask(analytics, f"SELECT TIMESTAMPTZ '{moment}'")[1] == [(told,)]


def test_an_empty_user_is_nobody(analytics):
    with pytest.raises(Trouble, match="no records of user ''"):
        gather(analytics / "views.sql", user="", days=7)


# -- damage


def rot(file):
    data = bytearray(file.read_bytes())
    for at in range(BLOCKS_AT, len(data), BLOCK):
        data[at + BLOCK // 2] ^= 1
    file.write_bytes(data)


def cut(file):
    os.truncate(file, BLOCKS_AT + BLOCK)


def empty(file):
    file.write_bytes(b"")


def strange(file):
    import duckdb

    file.unlink()
    duckdb.connect(str(file)).close()


DAMAGES = [rot, cut, empty, strange]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_day_is_named_and_what_to_do(analytics, damage):
    damage(analytics / OLD)
    for attempt in (lambda: ask(analytics), lambda: gather(analytics / "views.sql", user=None, days=7)):
        with pytest.raises(Trouble, match="move") as caught:
            attempt()
        assert str(analytics / OLD) in str(caught.value)
        assert NEW not in str(caught.value)
        assert "SHOW TABLES" not in str(caught.value)
    (analytics / OLD).rename(analytics.parent / "aside")
    assert ask(analytics)[1]


@pytest.mark.parametrize("damage", [rot, empty, os.unlink])
def test_a_damaged_catalogue_is_named(analytics, damage):
    file = analytics / "catalogue.duckdb"
    damage(file)
    with pytest.raises(Trouble) as caught:
        ask(analytics, "SELECT * FROM catalogue.users")
    assert f"{file}" in str(caught.value)


def test_days_that_are_all_missing_are_told(analytics):
    for day in (OLD, NEW):
        (analytics / day).unlink()
    with pytest.raises(Trouble, match="no day is published"):
        ask(analytics)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_day_keeps_no_other_from_being_exported(analytics, tmp_path, damage):
    damage(analytics / OLD)
    with pytest.raises(Trouble, match="all other days are exported") as caught:
        export(analytics, tmp_path / "lake")
    assert OLD in str(caught.value)
    assert (tmp_path / "lake/fills/day=2026-11-20/user=alice/here-0.parquet").is_file()
    (analytics / OLD).unlink()
    assert export(analytics, tmp_path / "lake").kept == 1


# -- no permission


def test_a_place_that_may_not_be_looked_into_is_told(analytics, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.is_file", refuse)
        with pytest.raises(Trouble, match="may not be read"):
            find_views({}, state_dir=str(analytics.parent), socket=None)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_text", refuse)
        with pytest.raises(Trouble, match="may not be read"):
            ask(analytics)


# -- places


@pytest.mark.parametrize("name", ["it's a [state]*", "a,b;c", "ü –"])
def test_whatever_the_directory_is_called_it_is_read_also_by_a_link(tmp_path, monkeypatch, name):
    state_directory(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for place in (name, "link", str(tmp_path / "link")):
        views = find_views({}, state_dir=place, socket=None)
        assert run(views, "SELECT count(*) FROM fills")[1] == [(14,)]
        assert gather(views, user="bob", days=2).users

"""What a changed file means, key by key; and that a reload that fails changes nothing."""

from __future__ import annotations

import pytest
import trio
from msgspec import Struct
from msgspec.structs import fields, replace
from structlog.testing import CapturingLogger

from actors.errors import ConfigError, Refusal
from supervisor.config import Config, LogSettings, MarketData, Service, Store
from supervisor.reload import EFFECTS, Reload, effect_of, in_force, plan
from supervisor.tree import Answer


def keys_of(kind, path=""):
    for field in fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            yield from keys_of(field.type, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}"


@pytest.mark.parametrize("key", list(keys_of(Config)))
def test_somebody_has_thought_about_every_key(key):
    assert any(key == known or key.startswith(f"{known}.") for known in EFFECTS)


def test_no_effect_is_of_a_key_that_is_none():
    known = set(keys_of(Config))
    assert [key for key in EFFECTS if not any(each == key or each.startswith(f"{key}.") for each in known)] == []
    assert effect_of("publishing.every") == ("process",)


def changed(**sections):
    return replace(Config(), **sections)


def test_the_longest_beginning_counts():
    what = plan(Config(), changed(store=Store(publish_s=5.0, threads=2), service=Service(drain_s=1.0)))
    assert what.changed == ("store.publish_s", "store.threads", "service.drain_s")
    assert what.effects == {"store", "process", "at once"}
    assert what.process == ("store.threads",)
    assert plan(Config(), Config()).changed == ()


def test_what_waits_for_the_next_start_is_not_in_force():
    after = in_force(Config(), changed(store=Store(publish_s=5.0, threads=2)))
    assert (after.store.publish_s, after.store.threads) == (5.0, 1)
    assert in_force(Config(), Config()) == Config()


class Daemon:
    """Restarts what it is told; who is in `broken` does not come up as long as stale_s is 7."""

    def __init__(self):
        self.access = None
        self.restarted = []
        self.broken = set()
        self.settings = None

    def running(self):
        return ["store", "control", "tokens", "keeper", "feeds/KOGE", "traders/alice", "traders/bob"]

    def reconfigure(self, settings, patience, kept):
        self.settings, self.patience, self.kept = settings, patience, kept

    async def renew_actor(self, path):
        await trio.lowlevel.checkpoint()
        self.restarted.append(path)
        did = "failed" if path in self.broken and self.settings.stale_s == 7.0 else "restarted"
        return Answer(path=path, did=did, state="running", incarnation=2, detail="it said no")


class Door:
    def __init__(self):
        self.given = []

    def reset(self, control):
        self.given.append(control)


class Logging:
    def __init__(self):
        self.level = None
        self.log = CapturingLogger()

    def set_level(self, level):
        self.level = level


class Stage:
    def __init__(self):
        self.file = Config()
        self.daemon, self.door, self.logging = Daemon(), Door(), Logging()
        self.reload = Reload(
            Config(), self.read, daemon=self.daemon, door=self.door, logging=self.logging, ws_user="ws://x/"
        )

    def read(self):
        if isinstance(self.file, Exception):
            raise self.file
        return self.file


@pytest.fixture
def stage():
    return Stage()


@pytest.mark.parametrize(
    ("section", "restarted"),
    [
        ({"service": Service(drain_s=1.0)}, ()),
        ({"logging": LogSettings(level="debug")}, ()),
        ({"store": Store(publish_s=9.0)}, ("store",)),
        ({"market": MarketData(stale_s=9.0)}, ("feeds/KOGE", "traders/alice", "traders/bob")),
        ({"exchange": replace(Config().exchange, listen_key_renew_s=60.0)}, ("keeper",)),
        ({"supervision": replace(Config().supervision, intensity=9)}, ()),
        ({"placement": replace(Config().placement, looks=9)}, ("traders/alice", "traders/bob")),
        ({"exchange": replace(Config().exchange, call_s_max=9.0)}, ()),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
async def test_only_actors_whose_settings_changed_are_started_anew(stage, section, restarted):
    stage.file = changed(**section)
    outcome = await stage.reload()
    assert outcome.restarted == restarted == tuple(sorted(stage.daemon.restarted))
    assert outcome.shown()["restart_needed"] is ("call_s_max" in str(outcome.plan.process))


async def test_what_is_in_force_at_once_is(stage):
    stage.file = changed(
        logging=LogSettings(level="debug"),
        control=replace(Config().control, operators=(4711,)),
        supervision=replace(Config().supervision, intensity=9),
        service=Service(drain_s=7.0),
    )
    await stage.reload()
    assert stage.logging.level == "debug"
    assert stage.daemon.access.rights(4711).acts
    assert stage.daemon.kept["intensity"] == 9
    assert stage.reload.settings.service.drain_s == 7.0


async def test_f85_a_wrong_file_changes_nothing(stage):
    stage.file = ConfigError("2 mistakes")
    with pytest.raises(ConfigError):
        await stage.reload()
    assert (stage.daemon.settings, stage.daemon.restarted, stage.reload.settings) == (None, [], Config())


async def test_an_actor_that_does_not_come_up_gets_the_old_settings_back(stage):
    stage.daemon.broken = {"traders/bob"}
    stage.file = changed(market=MarketData(stale_s=7.0))
    with pytest.raises(Refusal, match="traders/bob: it said no"):
        await stage.reload()
    assert stage.daemon.settings.stale_s == Config().market.stale_s
    assert set(stage.daemon.restarted[-2:]) == {
        "traders/alice",
        "traders/bob",
    }
    assert stage.reload.settings == Config()


async def test_the_control_socket_is_opened_anew_last_and_gets_its_old_settings_back(stage):
    stage.file = changed(control=replace(Config().control, socket_mode="0600"), market=MarketData(stale_s=7.0))
    outcome = await stage.reload()
    assert outcome.control
    assert "control" not in stage.daemon.restarted
    assert outcome.shown()["restarted"][-1] == "control"
    stage.daemon.broken = {"control"}
    with pytest.raises(Refusal):
        await stage.reload.reopen_control(outcome.before)
    assert [each.socket_mode for each in stage.door.given] == ["0600", "0660"]
    assert stage.daemon.restarted[-2:] == ["control", "control"]
    stage.daemon.broken = set()
    await stage.reload.reopen_control(outcome.before)


async def test_two_reloads_come_one_after_the_other(stage):
    stage.file = changed(placement=replace(Config().placement, looks=9))
    changes = []

    async def reload():
        changes.append((await stage.reload()).plan.changed)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reload)
        nursery.start_soon(reload)
    assert changes == [("placement.looks",), ()]
    assert len(stage.daemon.restarted) == 2

"""The figures: what they say, that Prometheus understands them, and that dashboard and README know each of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from actors.domain.trading import Pause
from actors.rows import CredentialRow
from actors.store import StoreStatistics
from actors.targets import NotifierStatistics, TargetStatistics
from supervisor.bus import BusStatistics
from supervisor.liveness import LoopStatistics
from supervisor.metrics.figures import BY_NAME, FIGURES
from supervisor.metrics.process import Process, look
from supervisor.metrics.render import render
from tests.control.daemon import TEN_MS, FakeDaemon, node

ROOT = Path(__file__).resolve().parents[2]
EVENTS = BusStatistics(emitted=7, topics=2, lost={"control": 3})


class Session:
    """Of HttpStatistics, what figures read."""

    def __init__(self, in_flight: int, server_skew_ms: int | None) -> None:
        self.in_flight, self.server_skew_ms = in_flight, server_skew_ms


@pytest.fixture
def office() -> FakeDaemon:
    """A daemon in which something has happened of everything."""
    made = FakeDaemon()
    tally = made.tally
    tally.called("oto-order/place", "success", 0.03)
    tally.called("oto-order/place", "no_reply")
    tally.orders["pair", "accepted"] += 4
    tally.pairs["completed"] += 3
    tally.fills["working", "stream"] += 5
    tally.pauses.update({"LEDGER_MISMATCH": 2, "CRASHED": 1})
    tally.looks["clean"] += 1
    tally.differences["fill"] += 1
    for seconds in (0.0004, 0.03, 12.0):
        tally.orders_s.observe(seconds)
    tally.quote_to_order_s.observe(0.004)
    tally.commit_s.observe(0.0007)
    store = StoreStatistics(rows=90, waiting=2, unavailable_since_ms=TEN_MS - 4000, unpublished_since_ms=None)
    sealed = CredentialRow(user="alice", ciphertext=b"x", key_id="k", stored_at=TEN_MS - 86_400_000)
    records = dict(made.records())
    records["alice"] = replace(records["alice"], sealed=sealed)
    made.records = lambda: records
    target = TargetStatistics(
        target="tgram-1", waiting=2, told=5, messages=3, failures=1, dropped=0, failing_since_ms=None, error=""
    )
    told = NotifierStatistics(targets=(target,))
    loop = LoopStatistics(blocked=1, longest_s=0.12, longest_child="traders/alice#1")
    sessions = {"": Session(1, -600), "alice": Session(2, None)}
    made.figures = lambda: {"store": store, "notices": told, "requests": sessions, "loop": loop}
    return made


async def text_of(office: FakeDaemon) -> str:
    return await render(office, EVENTS)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: dict, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


# -- the text


async def test_prometheus_reads_every_figure_back_with_its_kind(office):
    families = {family.name: family for family in text_string_to_metric_families(await text_of(office))}
    for figure in FIGURES:
        family = families[figure.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (figure.kind, figure.about)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(figure.labels)
    assert len(families) == len(FIGURES)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; the Python parser reads it above"
)
async def test_promtool_finds_nothing_to_say(office):
    text = await text_of(office)
    done = await trio.run_process(
        ["promtool", "check", "metrics"], stdin=text.encode(), capture_stdout=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_names_follow_the_conventions(figure):
    """What promtool's linter holds a name against (its rules, in short)."""
    assert re.fullmatch(r"(otod|process)(_[a-z]+)+", figure.name)
    assert (figure.kind == "counter") == figure.name.endswith("_total")
    assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent|count|sum|bucket)(_|$)", figure.name)
    assert not re.search(f"_{figure.kind}(_|$)", figure.name)
    assert figure.about.endswith(".")
    assert not {"le", "quantile"} & set(figure.labels)
    assert all(re.fullmatch(r"[a-z]+", label) for label in figure.labels)
    if figure.kind == "histogram":
        assert figure.name.endswith("_seconds")


# -- what it says


async def test_it_says_what_actors_counted(office):
    found = samples(await text_of(office))
    assert of(found, "otod_api_calls_total", call="oto-order/place", outcome="no_reply") == 1
    assert of(found, "otod_api_call_duration_seconds_count", call="oto-order/place") == 1
    assert of(found, "otod_orders_total", kind="pair", outcome="accepted") == 4
    assert of(found, "otod_reconciliation_differences_total", kind="ledger") == 2
    assert of(found, "otod_events_lost_total", listener="control") == 3
    assert of(found, "otod_api_calls_in_flight") == 3
    assert of(found, "otod_loop_longest_step_seconds") == 0.12
    assert of(found, "otod_tasks") > 1
    assert of(found, "otod_notices_total", target="tgram-1", outcome="told") == 5
    assert of(found, "otod_exchange_clock_skew_seconds") == -0.6
    assert of(found, "otod_store_unavailable_seconds") == 4
    assert of(found, "otod_unpublished_age_seconds") == 0
    assert of(found, "otod_credential_age_seconds", user="alice") == 86_400


async def test_a_histogram_counts_up_to_each_bound(office):
    found = samples(await text_of(office))
    buckets = [
        of(found, "otod_stream_latency_seconds_bucket", stream="orders", le=le) for le in ("0.001", "10.0", "+Inf")
    ]
    assert buckets == [1, 2, 3]
    assert of(found, "otod_stream_latency_seconds_sum", stream="orders") == pytest.approx(12.0304)


async def test_amounts_stand_there_as_the_trader_has_them(office):
    progress = replace(
        office.snapshots["alice"].progress, volume=Decimal("1234567.89012345"), wear=Decimal("-0.000001")
    )
    office.snapshots["alice"] = replace(office.snapshots["alice"], progress=progress)
    text = await text_of(office)
    found = samples(text)
    assert str(of(found, "otod_user_volume_usdt", user="alice")) == "1234567.89012345"
    assert of(found, "otod_user_wear_usdt", user="alice") == -1e-06


async def test_users_count_once_and_reasons_stand_there_from_the_start(office):
    now = Pause(reason="AUTH_FAILED", since_ms=TEN_MS, detail="")
    office.snapshots["alice"] = replace(office.snapshots["alice"], pauses=(now, replace(now, reason="OPERATOR")))
    found = samples(await text_of(office))
    states = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "otod_users"}
    assert sum(states.values()) == len(office.users())
    assert states["paused"] == 1
    assert (
        of(found, "otod_paused_users", reason="AUTH_FAILED") == of(found, "otod_paused_users", reason="OPERATOR") == 1
    )
    assert of(found, "otod_pauses_total", reason="RATE_LIMITED") == 0


async def test_restarts_are_counted_over_all_incarnations(office):
    office.root = replace(office.root, children=(node("store", incarnation=4, restarts=1),))
    found = samples(await text_of(office))
    assert of(found, "otod_actor_restarts_total", actor="store") == 3


async def test_no_secret_is_in_it(office):
    assert "s3cr3t" in repr(office.listen_key("alice").key)
    assert "s3cr3t" not in await text_of(office)


async def test_a_daemon_that_has_only_begun_has_figures(office):
    office.figures = lambda: {"store": None, "requests": {}}
    office.snapshots.clear()
    found = samples(await text_of(office))
    assert of(found, "otod_users", state="trading") == 0
    assert ("otod_store_rows_total", frozenset()) not in found


async def test_others_run_between_two_figures(office, autojump_clock):
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await text_of(office)
        nursery.cancel_scope.cancel()
    assert turns >= len(FIGURES) - 1


# -- the process


def test_the_process_is_looked_at_where_proc_shows_nothing_else(tmp_path):
    here = look()
    assert here.memory_bytes is not None
    assert here.memory_bytes > 1_000_000
    assert here.descriptors is not None
    assert here.descriptors > 2
    assert here.threads is not None
    assert here.threads >= 1
    assert look(tmp_path / "absent") == Process()


# -- dashboard and README

DASHBOARD = json.loads((ROOT / "etc" / "grafana-otod.json").read_text())


def expressions(panels: list[dict]) -> list[str]:
    found = []
    for panel in panels:
        found += [target["expr"] for target in panel.get("targets", ())] + expressions(panel.get("panels", []))
    return found


async def test_every_metric_of_the_dashboard_exists(office):
    names = {name for name, _ in samples(await text_of(office))}
    used = {word for expr in expressions(DASHBOARD["panels"]) for word in re.findall(r"\b(?:otod|process)_\w+", expr)}
    assert used - names == set()
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            assert re.search(r"\((\w+),", variable["definition"])[1] in BY_NAME


def test_the_dashboard_shows_every_figure():
    shown = " ".join(expressions(DASHBOARD["panels"]))
    assert [figure.name for figure in FIGURES if not re.search(rf"\b{figure.name}(_bucket)?\b", shown)] == []


def test_panels_of_the_dashboard_have_their_own_places():
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


def test_every_figure_is_documented_as_it_is():
    text = (ROOT / "supervisor" / "metrics" / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([a-z, ]*) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(f.name, f.kind, ", ".join(f.labels), f.about) for f in FIGURES]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_the_alerts_of_the_readme(tmp_path):
    text = (ROOT / "supervisor" / "metrics" / "README.md").read_text()
    rules = tmp_path / "rules.yml"
    rules.write_text(re.search(r"```yaml\n(groups:.*?)```", text, re.DOTALL)[1])
    assert subprocess.run(["promtool", "check", "rules", str(rules)], check=False).returncode == 0

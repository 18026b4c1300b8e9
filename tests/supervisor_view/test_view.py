"""The live picture and the summary of `otod paper`, at the widths that terminals have."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from rich.console import Console

from actors.domain.trading import Pause
from actors.messages import Waiting
from actors.rows import FillRow
from supervisor import view
from supervisor.bus import EventBus
from supervisor.screen import ActorLine, Picture, Screen, UserLine, count, duration, money
from tests.control.daemon import PAIR_ID, QUOTE, TEN_MS, D, FakeDaemon, FixedWall, node, snapshot

FILL = FillRow(
    user="alice", token="KOGE", symbol="ALPHA_22USDT", pair_id=PAIR_ID, order_id="1", leg="working", side="BUY",
    price=D("48.0241"), quantity=D("0.4000"), quote_quantity=D("19.2"), commission=D("0.0001"),
    commission_asset="ALPHA_22", mul_point=D(1), fill_id="1", trade_id="1", source="stream", exchange_time=TEN_MS,
    recorded_at=TEN_MS,
)  # fmt: skip
PROGRESS = snapshot().progress
VOLATILE = Pause(reason="PRICE_VOLATILITY", since_ms=TEN_MS, detail="60 s range 2.31 % is above 2 %", hint="wait")
USERS = (
    snapshot("alice", last_fill=FILL),
    snapshot("bob", phase="idle", pair=None, waiting=Waiting(wait="interval", since_ms=TEN_MS)),
    snapshot("carol", phase="idle", pair=None, pauses=(VOLATILE,)),
)


def state(*, users=USERS, **changes):
    bus = EventBus(FixedWall(), boot="b")
    bus.emit("fill.alice", "fill", side="BUY", price=D("48.020"), quantity=D("1.0410"), quote=D("49.9888"))
    bus.emit("order.alice", "order", status="FILLED")
    told = view.ViewState(
        mode="paper",
        token="KOGE",
        speed=1,
        started_ms=TEN_MS - 63_000,
        now_ms=TEN_MS,
        quote=QUOTE,
        users=users,
        tree=FakeDaemon().root,
        events=tuple(bus.recent),
    )
    return replace(told, **changes)


def text(renderable, columns, rows=30):
    console = Console(width=columns, height=rows, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(renderable)
    return console.file.getvalue().splitlines()


def words(line):
    """A line without the bar, whose length is not what matters."""
    return line.replace("━", "").replace("╸", "").replace("╺", "").split()


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_picture_fits_and_no_number_is_cut(columns):
    lines = text(view.render(state()), columns)
    assert max(map(len, lines)) <= columns
    assert lines[0] == "otod paper · KOGE 48.0021 · 60 s range 0.31 % · 1 min 03 s"
    target = "319.05/500.00" if columns == 160 else "319.05/500"
    fill = ["BUY", "0.4", "at", "48.0241"] if columns == 160 else []
    assert words(lines[3]) == ["alice", "partially_filled", target, "6", "4", "0.1100", "3.7", *fill]
    assert words(lines[4])[:3] == ["bob", "wait:", "interval"]
    assert words(lines[5])[:3] == ["carol", "‖", "PRICE_VOLATILITY"]
    assert lines[6] == "carol is paused, PRICE_VOLATILITY: 60 s range 2.31 % is above 2 %"
    assert lines[8] == "5 actors, 0 restarts"
    assert lines[9] == "10:00:00 alice bought 1.041 at 48.02 for 49.99 USDT"
    assert lines[10] == "Ctrl-C ends it in order"


@pytest.mark.parametrize("columns", [30, 40, 60, 70])
def test_a_narrow_terminal_loses_figures_and_no_name(columns):
    lines = text(view.render(state()), columns)
    assert max(map(len, lines)) <= columns
    for user in ("alice", "bob"):
        assert any(line.split()[:1] == [user] and len(line.split()) > 1 for line in lines), lines


def test_extreme_names_and_numbers_fit_80_columns():
    rich = replace(
        PROGRESS, volume=D("1234567.123"), target=D(1234567), percent=D("100.001"), pairs=1234, wear=D("12.3")
    )
    user = snapshot("a" * 32, phase="done", pair=None, progress=rich)
    lines = text(view.render(state(users=(user,))), 80)
    assert max(map(len, lines)) <= 80
    assert " 1,234,567/1,234,567 " in lines[3]
    assert "12.3000" in lines[3]


def test_what_a_user_does_is_said_in_a_word():
    users = (
        snapshot("u1", phase="done"),
        snapshot("u2", wanted="stopped", phase="idle"),
        snapshot("u3", wanted="stopped", phase="selling"),
        snapshot("u4", phase="unresolved"),
        snapshot("u5", pauses=(VOLATILE, replace(VOLATILE, reason="WEAR_LIMIT"))),
        snapshot("u6", phase="reconciling", progress=None),
    )
    lines = text(view.render(state(users=users)), 160)
    said = [" ".join(words(line)[1:3]) for line in lines[3:9]]
    assert said[0].startswith("done")
    assert said[1].startswith("stopped")
    assert said[2] == "stopping: selling"
    assert said[3].startswith("unresolved")
    assert said[4] == "‖ PRICE_VOLATILITY"
    assert "+1" in lines[7]
    assert words(lines[8])[1:] == ["reconciling", "0.00", "0", "0", "-", "-"]


def test_many_pauses_are_summed_up():
    users = tuple(snapshot(f"u{n}", pauses=(VOLATILE,)) for n in range(9))
    lines = text(view.render(state(users=users)), 80, rows=40)
    assert "… and 4 more pauses" in lines


def test_more_users_than_rows_leave_room_for_the_rest_and_the_paused_stay():
    users = tuple(snapshot(f"u{n:03d}", pauses=(VOLATILE,) if n == 999 else ()) for n in range(1000))
    lines = text(view.render(state(users=users)), 80, rows=30)
    assert len(lines) < 30
    assert "… and 988 more users (otoctl status shows all)" in lines
    assert words(lines[14])[0] == "u999"
    finished = (*(snapshot(f"a{n}", phase="done") for n in range(20)), snapshot("z"))
    assert any(line.startswith("z ") for line in text(view.render(state(users=finished)), 80, rows=24))


def test_target_points_count_the_counted_volume():
    progress = replace(PROGRESS, target_points=9, target=D(512), counted_volume=D("400"))
    lines = text(view.render(state(users=(snapshot(progress=progress),))), 160)
    assert "400.00/512.00" in lines[3]


def test_trouble_with_actors_is_named():
    tree = node("", kind="group", children=(node("store", restarts=1), node("traders/bob", state="parked")))
    lines = text(view.render(state(tree=tree)), 80)
    assert "2 actors, 1 restart, parked: traders/bob" in lines


def test_speed_a_lost_stream_and_a_missing_price_are_in_the_title():
    assert "20 × real time" in text(view.render(state(speed=20)), 80)[0]
    assert "(stream down)" in text(view.render(state(quote=replace(QUOTE, connected=False))), 80)[0]
    assert "KOGE: no price yet" in text(view.render(state(quote=None)), 80)[0]


def test_a_picture_of_nobody():
    empty = Screen(title=("otod",), users=(), actors=ActorLine(total=0, restarts=0))
    assert text(Picture(empty), 80)[-1] == "0 actors, 0 restarts"


def test_a_bar_never_overflows():
    line = UserLine(user="a", wanted="running", phase="selling", target=D(1), percent=D(250), volume=D("2.5"))
    lines = text(Picture(Screen(title=("x",), users=(line,), actors=ActorLine(total=0, restarts=0))), 80)
    assert "2.50/1.00" in lines[3]


# -- live


class Terminal(io.StringIO):
    def isatty(self):
        return True


async def test_the_picture_is_drawn_four_times_a_real_second_and_a_last_time(autojump_clock):
    drawn = []

    def collect():
        drawn.append(trio.current_time())
        return state()

    console = Console(width=80, file=Terminal(), force_terminal=True)
    with trio.move_on_after(20.1):
        await view.watch(collect, console=console, rate=20.0)
    assert len(drawn) == 1 + 4 + 1
    assert drawn[2] - drawn[1] == pytest.approx(5.0)
    assert "partially_filled" in console.file.getvalue()


async def test_without_a_terminal_nothing_is_drawn():
    console = Console(width=80, file=io.StringIO())
    await view.watch(state, console=console)
    assert console.file.getvalue() == ""


# -- the summary


def summary(told, columns=80):
    console = Console(width=columns, file=io.StringIO(), force_terminal=True, color_system=None)
    view.summary(told, console, state_dir=Path("/var/lib/otod"), day="2026-11-20")
    return console.file.getvalue().splitlines()


def test_the_summary_tells_per_user_what_was_reached_and_what_it_cost():
    done = snapshot("alice", phase="done", since_ms=TEN_MS - 3_000, progress=replace(PROGRESS, volume=D("500.4")))
    lines = summary(state(users=(done, *USERS[1:])))
    assert lines[1] == "KOGE, 1 min 03 s"
    assert lines[2].split() == ["USER", "VOLUME", "TARGET", "PAIRS", "WEAR", "BPS", "FEES", "TIME"]
    assert lines[3].split() == [
        "alice",
        "500.40",
        "500.00",
        "6",
        "0.1100",
        "3.7",
        "0.03",
        "USDT",
        "1",
        "min",
        "00",
        "s",
    ]
    assert lines[4].split()[-2:] == ["not", "done"]
    assert lines[5].split()[-1] == "PRICE_VOLATILITY"
    assert lines[6].split() == ["all", "1,138.50", "18", "0.3300", "3.7"]


def test_the_summary_says_where_the_records_are_and_how_to_query_them():
    lines = summary(state(speed=20))
    assert lines[1].endswith("of the daemon's clock at 20 × real time")
    assert lines[-2].split() == ["Records", "/var/lib/otod/analytics/day_2026-11-20.duckdb"]
    query = 'otoctl query --state-dir /var/lib/otod "SELECT user, volume, pairs, wear, wear_bps FROM daily"'
    assert lines[-1] == f"Query   {query}"  # on one line, however narrow: it is copied


def test_a_user_that_never_began_is_in_the_summary():
    lines = summary(state(users=(snapshot("alice", progress=None, phase="reconciling"),)))
    assert lines[3].split() == ["alice", "-", "-", "-", "-", "-", "-", "not", "done"]


# -- words


def test_durations_are_said_as_people_do():
    assert [duration(s) for s in (0.25, 12, 61.2, 3700, 200_000)] == [
        "0.2 s", "12 s", "1 min 01 s", "1 h 01 min", "2 d 7 h",
    ]  # fmt: skip


def test_money_and_counts():
    assert money(D("1234567.128"), 2) == "1,234,567.13"
    assert money(D("0.000000000000000001"), 4) == "0.0000"
    assert (count(1, "user"), count(0, "user")) == ("1 user", "0 users")

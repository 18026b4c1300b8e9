"""Keys of `otoctl top`."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from supervisor.ctl.dashboard import ORDERS, Ask, Dashboard, foot, keys_of, press, visible
from supervisor.screen import ActorLine, Picture, Screen, UserLine, fitting_users

USERS = [
    UserLine(user="alice", wanted="running", phase="working", percent=D(10), wear=D("0.5")),
    UserLine(user="bob", wanted="running", phase="idle", percent=D(90), pauses=(("OPERATOR", ""),)),
    UserLine(user="carol", wanted="stopped", phase="idle", percent=D(50), wear=D("0.7")),
]


def typed(keys, board=None):
    board, asked = board or Dashboard(), []
    for key in keys:
        board, ask = press(board, key, USERS)
        asked += [ask] if ask else []
    return board, asked


def names(board):
    return [line.user for line in visible(board, USERS)]


def test_users_are_sorted_by_what_s_chooses():
    found = {}
    board = Dashboard()
    for order in ORDERS:
        assert board.order == order
        found[order] = names(board)
        board, _ = typed("s", board)
    assert board.order == "name"
    assert found == {
        "name": ["alice", "bob", "carol"],
        "state": ["bob", "alice", "carol"],
        "progress": ["bob", "carol", "alice"],
        "wear": ["carol", "alice", "bob"],
    }


def test_a_user_is_chosen_by_arrows_and_round_the_end():
    assert typed(["down"])[0].chosen == "alice"
    assert typed(["up"])[0].chosen == "carol"
    assert typed(["down", "down", "j", "j"])[0].chosen == "alice"
    assert typed(["down", "k"])[0].chosen == "carol"


def test_pausing_is_asked_back():
    board, asked = typed(["down", "p"])
    assert asked == []
    assert "pause alice?" in foot(board)
    assert typed("p", board)[1] == [Ask("trading.pause", "alice")]
    assert typed("y", board)[1] == [Ask("trading.pause", "alice")]
    left, asked = typed("q", board)
    assert (asked, left.quit, left.said) == ([], False, "left alone")
    assert typed(["down", "down", "r", "r"])[1] == [Ask("trading.resume", "bob")]


def test_without_a_chosen_user_nothing_is_asked():
    board, asked = typed("pp")
    assert asked == []
    assert "choose a user first" in foot(board)
    hidden, asked = typed(["down", "/", "b", "o", "enter", "p", "p"])
    assert asked == []
    assert hidden.chosen == "alice"


def test_a_filter_is_typed_and_cleared():
    board, _ = typed(["/", "c", "a", "x", "back", "enter"])
    assert (board.filter, board.typing, names(board)) == ("ca", False, ["carol"])
    assert "filter 'ca'" in foot(board)
    assert typed(["/", "q", "s"])[0].filter == "qs"
    assert typed(["escape"], board)[0].filter == ""
    assert names(typed(["/", *"operator"])[0]) == ["bob"]
    assert typed(["/", "a", "escape"])[0].filter == ""


def test_enter_looks_into_a_user_and_back():
    inside, _ = typed(["down", "enter"])
    assert inside.inside
    assert not typed(["enter"], inside)[0].inside
    assert not typed(["escape"], inside)[0].inside
    assert not typed(["enter"])[0].inside


def test_q_quits():
    assert typed("q")[0].quit


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"", ["q"]),
        (b"\x1b[A\x1b[Bq", ["up", "down", "q"]),
        (b"\x1b", ["escape"]),
        (b"\r", ["enter"]),
        (b"\x7f", ["back"]),
        (b"\x1b[15~s", ["s"]),
        (b"\x1b[", []),
        ("ä".encode(), ["ä"]),
        (b"\xff", []),
    ],
)
def test_keys_of_a_terminal(data, keys):
    assert keys_of(data) == keys


@given(st.binary(max_size=64), st.booleans())
def test_any_bytes_are_keys_and_any_keys_leave_a_board(data, typing):
    board = Dashboard(typing=typing)
    for key in keys_of(data):
        board, _ = press(board, key, USERS)
    assert foot(board)


def test_the_chosen_user_and_paused_ones_stay_on_a_small_screen():
    many = [UserLine(user=f"u{n:02}", wanted="running", phase="done") for n in range(30)]
    shown, hidden = fitting_users([*many, *USERS], 5, "u29")
    assert hidden == 28
    assert [line.user for line in shown if line.user in ("u29", "bob")] == ["u29", "bob"]


@pytest.mark.parametrize("columns", [80, 160])
def test_a_chosen_user_and_its_details_fit(columns):
    console = Console(width=columns, height=40, force_terminal=True, color_system="standard")
    screen = Screen(
        title=("otod",), users=tuple(USERS), actors=ActorLine(total=9, restarts=0), chosen="bob",
        detail=("bob:", "  - paused OPERATOR " + "x" * 200), foot=foot(Dashboard(chosen="bob")),
    )  # fmt: skip
    with console.capture() as captured:
        console.print(Picture(screen))
    assert "\x1b[7m" in captured.get()


@pytest.mark.parametrize(("columns", "rows"), [(60, 15), (80, 24), (160, 50)])
def test_details_push_the_keys_out_of_no_terminal(columns, rows):
    """A paused user with long reasons, among others that are paused."""
    console = Console(width=columns, height=rows, force_terminal=True, color_system=None)
    paused = [
        UserLine(user=f"u{n}", wanted="running", phase="idle", pauses=(("PRICE_VOLATILITY", "60 s range"),))
        for n in range(4)
    ]
    screen = Screen(
        title=("otod",), users=tuple(paused), actors=ActorLine(total=9, restarts=0), chosen="u1", foot="q quit",
        detail=("u1:", *(f"  - reason {n} " + "word " * 30 for n in range(10))),
    )  # fmt: skip
    with console.capture() as captured:
        console.print(Picture(screen))
    lines = captured.get().splitlines()
    assert len(lines) <= rows
    assert lines[-1].strip() == "q quit"
    assert "9 actors, 0 restarts" in lines[-2]
    assert any(line.startswith("u1:") for line in lines)
    assert not any("is paused" in line for line in lines), "the details stand instead of the notes"

"""What `otoctl top` does with keys: which users are shown, in which order, which is chosen, what is asked. Pure.

    up down (k j)   choose a user          enter   look into it, and back      s   sort: name, state, progress, wear
    p   pause the chosen user              r       resume it                   /   filter by name or state, enter ends
    q   quit

Pausing and resuming are asked back: the key again, or y, does it; any other key does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from supervisor.screen import UserLine, state

Order = Literal["name", "state", "progress", "wear"]
ORDERS: tuple[Order, ...] = ("name", "state", "progress", "wear")
FILTER_CHARS = 32

FOOT = "↑↓ choose · enter look into · p pause · r resume · s sort · / filter · q quit"


class Ask(Struct, frozen=True):
    """A request for the daemon."""

    cmd: str
    user: str


class Dashboard(Struct, frozen=True, kw_only=True):
    """chosen: the user whose row is marked. inside: its details are shown. pending: waits for the key again."""

    order: Order = "name"
    filter: str = ""
    typing: bool = False
    chosen: str | None = None
    inside: bool = False
    pending: Ask | None = None
    quit: bool = False
    said: str = ""  # what came of the last request


def visible(board: Dashboard, users: Sequence[UserLine]) -> list[UserLine]:
    """The users that pass the filter, in order."""
    wanted = board.filter.casefold()
    found = [line for line in users if wanted in line.user or wanted in state(line).plain.casefold()]
    keys = {
        "name": lambda line: line.user,
        "state": lambda line: (not line.pauses, line.wanted == "stopped", state(line).plain, line.user),
        "progress": lambda line: (-(line.percent or Decimal(-1)), line.user),
        "wear": lambda line: (-(line.wear or Decimal(-1)), line.user),
    }
    return sorted(found, key=keys[board.order])


def press(board: Dashboard, key: str, users: Sequence[UserLine]) -> tuple[Dashboard, Ask | None]:
    """One key: "up", "down", "enter", "escape", "back", or a character. Returns the board and what to ask."""
    if board.pending is not None:
        same = key in ("y", {"trading.pause": "p", "trading.resume": "r"}[board.pending.cmd])
        return replace(board, pending=None, said="" if same else "left alone"), board.pending if same else None
    if board.typing:
        return _type(board, key), None
    names = [line.user for line in visible(board, users)]
    match key:
        case "q" | "Q":
            return replace(board, quit=True), None
        case "up" | "k" | "down" | "j":
            return replace(board, chosen=_next(names, board.chosen, -1 if key in ("up", "k") else 1)), None
        case "enter":
            return replace(board, inside=not board.inside and _chosen(board, names) is not None), None
        case "escape" | "back":
            return replace(board, inside=False, filter="" if not board.inside else board.filter), None
        case "s":
            return replace(board, order=ORDERS[(ORDERS.index(board.order) + 1) % len(ORDERS)]), None
        case "/":
            return replace(board, typing=True, filter="", inside=False), None
        case "p" | "r":
            user = _chosen(board, names)
            if user is None:
                return replace(board, said="choose a user first: ↑ ↓"), None
            return replace(board, pending=Ask("trading.pause" if key == "p" else "trading.resume", user), said=""), None
        case _:
            return board, None


def _type(board: Dashboard, key: str) -> Dashboard:
    match key:
        case "enter":
            return replace(board, typing=False)
        case "escape":
            return replace(board, typing=False, filter="")
        case "back":
            return replace(board, filter=board.filter[:-1])
        case _ if len(key) == 1 and key.isprintable() and len(board.filter) < FILTER_CHARS:
            return replace(board, filter=board.filter + key)
    return board


def _chosen(board: Dashboard, names: Sequence[str]) -> str | None:
    return board.chosen if board.chosen in names else None


def _next(names: Sequence[str], chosen: str | None, by: int) -> str | None:
    if not names:
        return None
    if chosen not in names:
        return names[0] if by > 0 else names[-1]
    return names[(names.index(chosen) + by) % len(names)]


def foot(board: Dashboard) -> str:
    """The last line: what a key would do now."""
    if board.pending is not None:
        verb = board.pending.cmd.partition(".")[2]
        return f"{verb} {board.pending.user}? {verb[0]} or y does it, any other key does not"
    if board.typing:
        return f"filter: {board.filter}▏ (enter ends, escape clears)"
    parts = [board.said] if board.said else []
    if board.order != "name":
        parts.append(f"by {board.order}")
    if board.filter:
        parts.append(f"filter {board.filter!r}")
    return " · ".join([*parts, FOOT])


# -- keys as a terminal sends them

_SEQUENCES = {
    b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down", b"\r": "enter", b"\n": "enter",
    b"\x7f": "back", b"\x08": "back", b"\x1b": "escape",
}  # fmt: skip


def keys_of(data: bytes) -> list[str]:
    """What was typed. Sequences that nobody knows count as nothing; the end of the input counts as q."""
    if not data:
        return ["q"]
    keys: list[str] = []
    while data:
        known = next((seq for seq in sorted(_SEQUENCES, key=len, reverse=True) if data.startswith(seq)), None)
        if known is not None and not (known == b"\x1b" and len(data) > 1 and data[1:2] in b"[O"):
            keys.append(_SEQUENCES[known])
            data = data[len(known) :]
        elif data.startswith(b"\x1b"):
            end = next((at for at in range(2, len(data)) if 0x40 <= data[at] <= 0x7E), len(data) - 1)
            data = data[end + 1 :]
        else:
            text = data[:4].decode(errors="ignore")[:1]
            if text:
                keys.append(text)
            data = data[max(len(text.encode()), 1) :]
    return keys

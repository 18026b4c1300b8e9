"""Answers as tables for people: no frames, numbers to the right, as wide as the terminal and cut nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS = 200  # nothing is cut for a program that reads lines


def console() -> Console:
    return Console(soft_wrap=False, highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def tables(cmd: str, data: Any) -> list[RenderableType]:
    """What to print for the answer to a command."""
    make = _MADE.get(cmd)
    return make(data) if make else [pretty(data)]


def pretty(data: Any) -> RenderableType:
    """Anything without a table of its own."""
    if isinstance(data, dict):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for name, value in data.items():
            table.add_row(Text(name, style="bold"), pretty(value))
        return table
    if isinstance(data, list):
        return Text(", ".join(str(each) for each in data) or "-")
    return Text("-" if data is None else str(data))


_MADE: dict[str, Callable[[Any], list[RenderableType]]] = {}

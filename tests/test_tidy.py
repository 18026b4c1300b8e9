"""Keeps style.md true: who may import whom, where time, chance, threads and floats may come in, how long things get.

A line that has a good reason says so: `# sim-ok: reason`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "actors").rglob("*.py"), *(ROOT / "supervisor").rglob("*.py")])
LINES_MAX = 450
FUNCTION_LINES_MAX = 70

STOREYS: dict[str, tuple[str, ...]] = {
    "actors/domain/": ("actors.domain", "actors.errors", "actors.rows"),
    "actors/errors.py": (),
    "actors/exchange/": ("actors.domain", "actors.errors", "actors.exchange"),
    "actors/paper/": ("actors.domain", "actors.errors", "actors.exchange", "actors.paper"),
    "actors/ports.py": ("actors.domain", "actors.errors", "actors.exchange", "actors.rows"),
    "actors/rows.py": ("actors.domain", "actors.errors"),
    "actors/messages.py": ("actors.domain", "actors.errors", "actors.permits", "actors.rows"),
    "actors/permits.py": ("actors.domain",),
    "supervisor/spec.py": ("actors.errors", "supervisor.spec"),
    "supervisor/policy.py": ("actors.errors", "supervisor.spec"),
}
"""Beginning of a path → what of ours it may import. Pure rooms import no trio either."""

ACTORS = ("feed", "keeper", "store", "tokens", "trader", "notifier")
"""One actor never imports another, but for the way into the store and a feed's and trader's common sockets."""

PURE = ("actors/domain/", "actors/exchange/", "actors/paper/", "supervisor/spec.py", "supervisor/policy.py")

FORBIDDEN: dict[str, str] = {
    r"\btime\.(time|monotonic|perf_counter|sleep)\b": "the clock: use trio's, or the injected Wall",
    r"\bdatetime\.(now|utcnow|today)\b": "the clock: use the injected Wall",
    r"\brandom\.(random|randint|choice|shuffle|uniform|seed)\(": "chance: use the injected random.Random",
    r"\b(uuid4|uuid1|urandom|token_hex|token_bytes)\(": "chance: use the injected random.Random",
    r"\btrio\.open_tcp_stream\b": "the network: use the Dialer port",
    r"\bthreading\.": "threads: use the Database port",
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "something left open",
    r"pragma: no cover": "code that nobody tests",
}

THREADS = ("actors/adapters/duck.py", "supervisor/log.py")
"""DuckDB blocks; a log line may come from its worker thread."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of everything imported at run time; what only type checkers see is nobody's dependency."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_point_down_the_storeys(path: Path) -> None:
    here = name_of(path)
    found = list(imports(path))
    if here.startswith("actors/"):
        assert [m for _, m in found if m.split(".")[0] == "supervisor"] == []
    if here.startswith(PURE):
        assert [m for _, m in found if m.split(".")[0] in ("trio", "httpx", "duckdb", "pynng", "structlog")] == []
    for beginning, allowed in STOREYS.items():
        if here.startswith(beginning):
            ours = [m for _, m in found if m.startswith(("actors.", "supervisor."))]
            assert [m for m in ours if not m.startswith(allowed)] == []
    if Path(here).parent.as_posix() == "actors" and Path(here).stem in ACTORS:
        others = {f"actors.{name}" for name in ACTORS} - {f"actors.{Path(here).stem}"}
        assert [m for _, m in found if m in others] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_time_chance_threads_and_sockets_come_in_through_ports(path: Path) -> None:
    here = name_of(path)
    if here.startswith("supervisor/ctl/"):
        return  # another process, a person's: it is never simulated
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if "sim-ok:" in line:
            continue
        for pattern, why in FORBIDDEN.items():
            if pattern.startswith(r"\bthreading") and here in THREADS:
                continue
            assert not re.search(pattern, line), f"{here}:{number}: {why}"


@pytest.mark.parametrize("path", [p for p in SOURCES if name_of(p).startswith(("actors/domain/", "actors/exchange/"))],
                         ids=name_of)  # fmt: skip
def test_money_is_never_a_float(path: Path) -> None:
    lines = path.read_text().splitlines()
    calls = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.Call)]
    floats = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "float"]
    assert [number for number in floats if "sim-ok:" not in lines[number - 1]] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_one_room_and_a_function_one_thought(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{name_of(path)}:{node.lineno} {node.name}: {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_those_who_end_incarnations_catch_everything(path: Path) -> None:
    wide = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            reraises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if caught in ("", "Exception", "BaseException") and not reraises:
                wide.append(node.lineno)
    if name_of(path) not in ("supervisor/life.py",):
        assert wide == []


def test_the_top_level_stays_as_agreed() -> None:
    allowed = {"actors", "supervisor", "tests", "etc", "systemd", "pyproject.toml", "README.md", "LICENSE"}
    here = {p.name for p in ROOT.iterdir() if not p.name.startswith(".") and p.name not in ("build",)}
    assert {name for name in here if not name.endswith(".egg-info")} <= allowed

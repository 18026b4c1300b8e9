"""Handing things over from the command line: credentials and users documents. Never by way of the argument list."""

from __future__ import annotations

import os
import signal
import sys
import termios
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
import msgspec

from supervisor.control.arguments import SECRET_CHARS_MAX
from supervisor.ctl.client import EXIT_FAILED, EXIT_USAGE, Trouble

END = b"\x04"  # Ctrl-D


def credentials(args: dict[str, Any]) -> dict[str, Any]:
    """The text to hand over: of --file, of stdin, or as it is pasted. Raises: Trouble."""
    file = args.pop("curl", None)
    if file is not None and file != "-":
        data = _read(Path(file))
    elif sys.stdin.isatty():
        data = _pasted()
    else:
        data = sys.stdin.buffer.read(SECRET_CHARS_MAX * 4 + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Trouble("what was handed over is no text", EXIT_FAILED) from None
    if not text.strip():
        raise Trouble("nothing was handed over\n  -> see otoctl user set-credentials --help", EXIT_USAGE)
    return args | {"curl": text}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Trouble(f"cannot read {path}: {error.strerror}", EXIT_FAILED) from None


def _pasted() -> bytes:
    """What is pasted until Ctrl-D, without an echo. A terminal's own line would be cut at 4095 characters."""
    found = bytearray()
    with _quiet(sys.stdin.fileno()) as descriptor:
        click.echo('Paste the request ("copy as cURL" of the browser), then press Ctrl-D. It is not shown.', err=True)
        while END not in found and len(found) <= SECRET_CHARS_MAX * 4:
            more = os.read(descriptor, 65_536)
            if not more:
                break
            found += more
    click.echo(f"{len(found)} characters.", err=True)
    return bytes(found.partition(END)[0])


@contextmanager
def _quiet(descriptor: int) -> Iterator[int]:
    """Keys come at once and are not shown while the block runs. Who ends it by a signal, Ctrl-C say, finds the terminal
    as it was: main() lets signals end otoctl where it stands."""
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)

    def leave(number: int, _: FrameType | None) -> None:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    handlers = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    termios.tcsetattr(descriptor, termios.TCSAFLUSH, quiet)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def document(args: dict[str, Any]) -> dict[str, Any]:
    """The users document of a TOML file; files of credentials that it names are read here. Raises: Trouble."""
    from actors.errors import ConfigError
    from supervisor.document import parse_file

    path = Path(args["document"])
    try:
        found = parse_file(path)
    except ConfigError as error:
        raise Trouble(str(error), EXIT_USAGE) from None
    users = found.get("users")
    for table in users.values() if isinstance(users, dict) else ():
        if isinstance(table, dict) and isinstance(table.get("credentials_file"), str) and "credentials" not in table:
            table["credentials"] = _credentials_of(path.parent / table.pop("credentials_file"))
    return args | {"document": found}


def _credentials_of(file: Path) -> Any:
    try:
        return msgspec.json.decode(_read(file).removeprefix(BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Trouble(f'{file} is no JSON of the form {{"cookies": {{…}}, "headers": {{…}}}}', EXIT_USAGE) from None


READERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "user.set-credentials": credentials,
    "user.apply": document,
}
"""Commands whose arguments are read from somewhere else than the command line."""

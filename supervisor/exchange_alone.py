"""`otod exchange`: the paper exchange as a process of its own, for `otod run` to talk to."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from actors.adapters.clock import WallClock, system_now_ms
from actors.adapters.paper import run_exchange
from actors.errors import ConfigError
from actors.paper.faults import Faults
from actors.paper.rules import Rules
from supervisor.endings import Ending, until_signal
from supervisor.log import Logging
from supervisor.paper_house import House
from supervisor.wiring import only


class Options(Struct, frozen=True, kw_only=True):
    """The command line of `otod exchange`."""

    state_dir: Path
    http: int
    ws: int
    seed: int | None = None
    replay: Path | None = None
    faults: Path | None = None


def run(options: Options, say: Callable[[str], None]) -> int:
    """Serves until a signal. say: gets the one line that tells where. Raises: OtodError."""
    faults, rules = read_faults(options.faults) if options.faults is not None else (Faults(), Rules())
    trio.run(partial(_run, options, faults, rules, say))
    return 0


async def _run(options: Options, faults: Faults, rules: Rules, say: Callable[[str], None]) -> None:
    house = House(
        options.state_dir,
        now_ms=system_now_ms(),
        seed=options.seed,
        replay=options.replay,
        faults=faults,
        rules=rules,
    )
    now_ms = system_now_ms()
    wall = WallClock.real() if house.start_ms <= now_ms else WallClock.speed(house.start_ms)
    ending = Ending()
    logging = Logging(wall, form="console", stream=sys.stderr)
    try:
        with logging.libraries():
            async with trio.open_nursery() as nursery:
                await nursery.start(until_signal, ending)
                nursery.start_soon(run_exchange, house.server(wall), options.http, options.ws, say)
                await ending.asked.wait()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = only(group)
        raise error from error.__cause__


def read_faults(path: Path) -> tuple[Faults, Rules]:
    """[[fault]] tables (actors/paper/faults.py) and a [rules] table (actors/paper/rules.py). Raises: ConfigError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        return Faults.from_mapping(document), msgspec.convert(document.get("rules", {}), Rules, strict=False)
    except OSError as error:
        what = f"cannot read the file: {error.strerror or error}"
        raise ConfigError(what, where=str(path), do="give the path of a TOML file of faults") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(str(error), where=str(path), do="see actors/paper/README.md for the switches") from None

"""otod: the daemon's command line. Exit codes and options: contract § 1."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from actors.adapters.vault import new_key as new_vault_key
from actors.errors import ConfigError, IntegrityError, OtodError
from supervisor import config, demo, exchange_alone, service
from supervisor import install as installing
from supervisor import simulate as simulation
from supervisor.endings import root_of
from supervisor.paper_house import token_names

VERSION = "0.1.0"

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTEGRITY = 78
"""Configuration, key or store integrity: a restart does not help, and systemd is told not to try."""


class Amount(click.ParamType[Decimal]):
    """A positive amount of USDT; money is never read as a float."""

    name = "usdt"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not an amount; write digits, as in 500 or 49.5", param, ctx)
        if not amount.is_finite() or amount <= 0:
            self.fail(f"{value!r} must be a positive amount", param, ctx)
        if amount > AMOUNT_MAX:
            self.fail(f"{value!r} is more than {AMOUNT_MAX:,}: a slip of the decimal point?", param, ctx)
        return amount


class Finite(click.FloatRange):
    """A number in a range; NaN is in every one, and infinity in those that have no end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


AMOUNT_MAX = Decimal(1_000_000_000)
PORT = click.IntRange(0, 65535)


def paper_state_dir(environ: Mapping[str, str], name: str) -> Path:
    """Contract § 2: $STATE_DIRECTORY, else $XDG_STATE_HOME/NAME, else ~/.local/state/NAME."""
    given = environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":", maxsplit=1)[0])
    home = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / name


ACCEPT_LOST = click.option(
    "--accept-lost-records", is_flag=True, help="Start although records were lost; reconciles everything."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="otod")
def main() -> None:
    """Trades Binance Alpha tokens with OTO pairs for many users. Start with: otod paper"""


@main.command()
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), help="Where records are kept.")
@click.option("--users", type=click.IntRange(1, 1000), default=3, show_default=True, help="Demo users.")
@click.option("--token", metavar="NAME", help="Short name of the token; a new directory begins with KOGE.")
@click.option("--seed", type=click.IntRange(0), help="Of the synthetic market.")
@click.option("--replay", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="CSV of real trades.")
@click.option("--replay-once", is_flag=True, help="Stop at the end of the tape instead of mirroring it.")
@click.option("--speed", type=Finite(0, 1000, min_open=True), default=1.0, show_default=True)
@click.option("--for", "for_s", type=Finite(0, min_open=True), metavar="SECONDS", help="End after.")
@click.option("--target", type=Amount(), metavar="USDT", help="Volume per user and day; a new directory: 500.")
@click.option("--chaos", type=Finite(0), default=0.0, metavar="RATE", help="Injected crashes per minute.")
@click.option("--fresh", is_flag=True, help="Delete this demo directory first.")
@click.option("--no-view", is_flag=True, help="Log lines instead of the live view.")
@ACCEPT_LOST
def paper(state_dir: Path | None, token: str | None, no_view: bool, **given: Any) -> None:
    """The whole daemon trading on the embedded exchange, with a live view."""
    if token is not None and token not in token_names():
        names = ", ".join(token_names())
        raise click.BadParameter(f"{token!r} is not listed on the paper exchange: {names}", param_hint="--token")
    options = demo.Options(
        state_dir=(state_dir or paper_state_dir(os.environ, "otod-paper")).absolute(),
        token=token,
        view=not no_view,
        version=VERSION,
        **given,
    )
    _end(partial(demo.run, options, Console()))


@main.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help=f"Default: {config.DEFAULT_PATH}.")
@click.option("--apply", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Users document.")
@click.option("--state-dir", type=click.Path(file_okay=False), help="Instead of the configured one.")
@ACCEPT_LOST
def run(config: Path | None, **given: Any) -> None:
    """The service. Without --config the file in /etc is read, if there is one."""
    options = service.Options(config=config or default_file(), version=VERSION, **given)
    _end(partial(_serve, options))


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default=config.DEFAULT_PATH)
def check_config(file: Path) -> None:
    """Says everything that is wrong with a configuration file at once."""
    problems = config.check(file)
    for problem in problems:
        click.echo(f"{file}: {problem}", err=True)
    if problems:
        sys.exit(EXIT_FAILED)
    click.echo(f"{file}: sound")


PREFIX = click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put all below it, for an image or a package.",
)
FOR_USER = click.option("--user", is_flag=True, help="For yourself alone, without root.")


def _places(prefix: Path | None, user: bool, otod: Path | None) -> installing.Options:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return installing.Options(prefix=prefix and prefix.absolute(), user=user, otod=otod, config_home=home)


@main.command()
@PREFIX
@FOR_USER
@click.option("--otod", type=click.Path(path_type=Path), help="The command as the unit shall call it; default: this.")
def install(prefix: Path | None, user: bool, otod: Path | None) -> None:
    """Puts units and example configuration in place, and says what is left to do."""
    version = None if prefix is not None else installing.systemd_version()
    _end(partial(installing.install, _places(prefix, user, otod), click.echo, systemd=version))


@main.command()
@PREFIX
@FOR_USER
def uninstall(prefix: Path | None, user: bool) -> None:
    """Takes the units away; configuration and records stay."""
    active = partial(installing.is_active, user)
    _end(partial(installing.uninstall, _places(prefix, user, None), click.echo, active=active))


@main.command()
def new_key() -> None:
    """Prints a new vault key."""
    click.echo(new_vault_key())


@main.command()
@click.option("--http", "http", type=PORT, default=8701, show_default=True, help="Of REST; 0: any free.")
@click.option("--ws", "ws", type=PORT, default=8702, show_default=True, help="Of the streams; 0: any free.")
@click.option("--seed", type=click.IntRange(0), help="Of the synthetic market.")
@click.option("--replay", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="CSV of real trades.")
@click.option("--faults", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="TOML of switches.")
@click.option("--state-dir", type=click.Path(path_type=Path, file_okay=False), help="Where its journal is kept.")
def exchange(state_dir: Path | None, **given: Any) -> None:
    """The paper exchange alone, another process for `otod run` to talk to."""
    directory = (state_dir or paper_state_dir(os.environ, "otod-exchange")).absolute()
    options = exchange_alone.Options(state_dir=directory, **given)
    _end(partial(exchange_alone.run, options, partial(click.echo, color=False)))


@main.command()
@click.option("--apply", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Users document.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the market and the trouble.")
@click.option("--days", type=click.IntRange(1, 366), default=1, show_default=True, help="Whole UTC days.")
@click.option("--replay", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="CSV of real trades.")
@click.option("--faults", type=click.Choice(("none", "normal", "harsh")), default="none", show_default=True)
@click.option("--json", "json", is_flag=True, help="For programs.")
def simulate(**given: Any) -> None:
    """What a configuration would have cost: days of it on the paper market, in a minute, without a daemon."""
    _end(partial(simulation.run, simulation.Options(**given), Console(), Console(stderr=True)))


def default_file() -> Path | None:
    return config.DEFAULT_PATH if config.DEFAULT_PATH.exists() else None


def _serve(options: service.Options) -> int:
    """A wrong configuration or key is not mended by a restart: 78, whatever it is."""
    try:
        return service.run(options)
    except ConfigError as error:
        raise IntegrityError(error.what, where=error.where, do=error.do) from None


def _end(body: Callable[[], int]) -> None:
    """Runs it; what is wrong is said on stderr in one line that says what to do, never as a traceback."""
    try:
        code = body()
    except OtodError as error:
        click.echo(f"otod: {root_of(error)}", err=True)
        code = _code(root_of(error))
    sys.exit(code)


def _code(error: OtodError) -> int:
    return EXIT_INTEGRITY if isinstance(error, IntegrityError) else EXIT_USAGE if is_usage(error) else EXIT_FAILED


def is_usage(error: OtodError) -> bool:
    return isinstance(error, ConfigError)


if __name__ == "__main__":
    main()

"""`otod run`: the service, as the configuration file describes it.

Everything is checked before anything touches the network: configuration, users document, key, state directory.
"""

from __future__ import annotations

import faulthandler
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct

from actors.adapters.clock import WallClock, system_now_ms, watch
from actors.adapters.vault import FileVault
from actors.errors import OtodError, Refusal
from actors.messages import LoadUsers, UserRecord
from actors.ports import Vault
from supervisor import config, dumps, userfile, users
from supervisor.config import Config
from supervisor.control.office import Levers
from supervisor.control.views import walk
from supervisor.endings import Ending, root_of, stuck, until_signal
from supervisor.lifecycle import Happened
from supervisor.log import Logging, form_for
from supervisor.metrics import serving as metrics
from supervisor.outside import ControlBody, Limits, Place, real_world
from supervisor.paper_house import House, open_doors, serve
from supervisor.prudence import judge_wishes
from supervisor.reload import Reload, patience_of, settings_of
from supervisor.systemd import Notifier, status
from supervisor.telling import telling_of
from supervisor.tree import END_S_MAX
from supervisor.unit import Unit
from supervisor.wiring import Daemon, only

WEBSOCKETS_MAX = 300
"""Connects within five minutes and address on a real host (wire § 10.2)."""

STUCK_S_MAX = 10.0
"""An actor that was cancelled and does not end gets so long after it was found stuck; then the service ends in order,
with a status for which systemd starts it again."""

STOP_SPARE_S = 5.0
"""Asked of systemd beyond what a stop may take by its own deadlines."""


class Options(Struct, frozen=True, kw_only=True):
    """The command line of `otod run`. config None: the defaults."""

    config: Path | None
    apply: Path | None = None
    state_dir: str | None = None
    accept_lost_records: bool = False
    version: str = ""


def run(options: Options) -> int:
    """Runs until a signal. Raises: OtodError; whatever it raises before trading, nothing has touched the network."""
    dumps.leave_none()
    faulthandler.enable()  # when the watchdog kills a blocked loop: files, lines and functions, never a value
    notifier = Notifier.of(os.environ, os.getpid())
    try:
        settings = config.load(options.config)
        wishes = userfile.load_users(options.apply) if options.apply is not None else ()
        state_dir = config.state_directory(options.state_dir, settings.state_dir, os.environ)
        vault = FileVault.at(state_dir)
        return trio.run(partial(_run, settings, state_dir, vault, wishes, options, notifier))
    except OtodError as error:
        notifier.tell(status(f"failed: {root_of(error)}"))  # what `systemctl status` shows of a unit that is down
        raise
    finally:
        notifier.close()


async def _run(
    settings: Config,
    state_dir: Path,
    vault: Vault,
    wishes: tuple[users.UserWish, ...],
    options: Options,
    notifier: Notifier,
) -> int:
    wall = WallClock.real()
    logging = Logging(wall, level=settings.logging.level, form=form_for(settings.logging.form, sys.stderr, os.environ))
    with logging.libraries():
        return await Service(settings, state_dir, wall, vault, logging, options, notifier).run(wishes)


class Service:
    """One run of `otod run`."""

    def __init__(
        self,
        settings: Config,
        state_dir: Path,
        wall: WallClock,
        vault: Vault,
        logging: Logging,
        options: Options,
        notifier: Notifier,
    ) -> None:
        self._settings, self._state_dir, self._wall = settings, state_dir, wall
        self._vault, self._logging, self._options = vault, logging, options
        self._notifier = notifier
        self._ending = Ending()
        self._daemon: Daemon
        self._reload: Reload
        self._nursery: trio.Nursery

    async def run(self, wishes: tuple[users.UserWish, ...]) -> int:
        """Returns the exit code. Raises: OtodError."""
        async with AsyncExitStack() as stack:
            return await self._run(wishes, await self._make_daemon(stack))

    async def _run(self, wishes: tuple[users.UserWish, ...], daemon: Daemon) -> int:
        ending = self._ending
        self._daemon = daemon
        unit = Unit(self._notifier, daemon, self._logging.log)
        daemon.levers = Levers(
            log_level=self._logging.set_level,
            reload=partial(self._reload_for_command, daemon, unit),
            drain=partial(ending.ask, "drain"),
            notify=daemon.tell_test,
        )
        daemon.subscribe(self._notice_stuck)
        try:
            async with trio.open_nursery() as self._nursery:
                nursery = self._nursery
                await nursery.start(until_signal, ending)
                if not sys.stderr.isatty():  # a terminal that is closed ends what runs in it
                    await nursery.start(self._reload_on_signal, daemon, unit)
                nursery.start_soon(self._stop_when_asked, daemon, unit)
                nursery.start_soon(watch, self._wall, daemon.outside.bus, self._logging.log)
                nursery.start_soon(unit.run)
                await daemon.run(partial(self._apply, daemon, wishes), task_status=unit)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = only(group)
            raise error from error.__cause__
        return 1 if ending.reason == "stuck" else 0

    async def _stop_when_asked(self, daemon: Daemon, unit: Unit) -> None:
        await self._ending.asked.wait()
        drain_s = self._reload.settings.service.drain_s
        why = f"{self._ending.reason} {self._ending.text}".strip()
        self._logging.log.info("stopping", why=why, drain_s=drain_s)
        unit.stopping(why, drain_s + END_S_MAX + STOP_SPARE_S)
        await daemon.stop(drain_s)

    def _notice_stuck(self, it: Happened) -> None:
        if it.what == "stuck" and self._ending.reason is None:
            self._nursery.start_soon(self._end_if_stuck, it.path)

    async def _end_if_stuck(self, path: str) -> None:
        """Its name is not free as long as it lives: only the next process can run it again (F52)."""
        await trio.sleep(STUCK_S_MAX)
        if any(node.path == path and node.state == "stuck" for node in walk(self._daemon.tree())):
            self._ending.ask("stuck", path)

    # -- reload

    async def _reload_on_signal(
        self, daemon: Daemon, unit: Unit, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Never returns. A reload that fails is told; the daemon goes on as it was."""
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                unit.reloading()
                try:
                    outcome = await daemon.people.whole(self._reload)
                    if outcome.control:
                        await self._reload.reopen_control(outcome.before)
                except OtodError as error:
                    self._reload_failed(unit, error)
                else:
                    unit.reloaded()

    async def _reload_for_command(self, daemon: Daemon, unit: Unit) -> Mapping[str, Any]:
        """Raises: ConfigError, Refusal."""
        unit.reloading()
        try:
            outcome = await daemon.people.whole(self._reload)
        except OtodError as error:
            self._reload_failed(unit, error)
            raise
        if outcome.control:  # the reply goes out through it first
            self._nursery.start_soon(self._reopen_control, outcome.before, unit)
        else:
            unit.reloaded()
        return outcome.shown()

    async def _reopen_control(self, before: Config, unit: Unit) -> None:
        try:
            await self._reload.reopen_control(before)
        except Refusal as error:
            self._reload_failed(unit, error)
        else:
            unit.reloaded()

    def _reload_failed(self, unit: Unit, error: OtodError) -> None:
        self._logging.log.error("reload_failed", why=str(error))
        unit.reloaded(f"reload failed, the old settings are in force: {error.what}")

    async def _apply(self, daemon: Daemon, wishes: tuple[users.UserWish, ...]) -> None:
        """--apply: the users document, all or nothing, before anything trades. Raises: Problems, TokenError."""
        if wishes:
            records: tuple[UserRecord, ...] = await daemon.store.ask(LoadUsers())
            known = {record.user.user: record for record in records}
            wishes, warnings = await judge_wishes(daemon, wishes, known, force=False, blind=True)
            for warning in warnings:
                self._logging.log.warning("users_applied_with_doubt", why=warning)
            applied = await users.apply(
                wishes, store=daemon.store, vault=self._vault, who="otod run --apply", now_ms=self._wall.now_ms()
            )
            self._logging.log.info("users_applied", created=applied.created, changed=applied.changed)

    async def _make_daemon(self, stack: AsyncExitStack) -> Daemon:
        """stack: closes what belongs to the process and not to an actor."""
        settings, exchange = self._settings, self._settings.exchange
        urls = {"rest_base": exchange.rest_base, "ws_public": exchange.ws_public, "ws_user": exchange.ws_user}
        paper = None
        if exchange.mode == "paper":
            doors = await open_doors()
            for listener in (*doors.http, *doors.ws):
                stack.push_async_callback(listener.aclose)
            house = House(self._state_dir / "paper", now_ms=system_now_ms())
            stack.callback(house.close)
            urls = doors.urls
            paper = partial(serve, house, doors, self._wall)
        place = Place(
            state_dir=self._state_dir,
            run_dir=config.runtime_directory(settings.runtime_dir, os.environ, self._state_dir),
            identity=config.identity(exchange),
            instance=settings.instance or socket.gethostname(),
            rest_base=urls["rest_base"],
        )
        rates = config.rationing(exchange)
        outside = real_world(
            place,
            Limits(
                rates=rates,
                call_s_max=exchange.call_s_max,
                connect_s_max=exchange.connect_s_max,
                websockets_max=None if rates.address_per_s is None else WEBSOCKETS_MAX,
            ),
            wall=self._wall,
            vault=self._vault,
            log=self._logging.log,
            rng=random.Random(secrets.randbits(64)),  # sim-ok: the edge, where randomness comes in
            duck={
                "threads": settings.store.threads,
                "memory_limit": settings.store.memory_limit,
                "live_days": settings.store.live_days,
                "accept_lost_records": self._options.accept_lost_records,
            },
        )
        door = ControlBody(place, outside, settings.control)
        daemon = Daemon(
            outside,
            settings_of(settings, urls["ws_user"]),
            ws_public=urls["ws_public"],
            mode=exchange.mode,
            version=self._options.version,
            patience=patience_of(settings),
            control=door,
            paper=paper,
            metrics=metrics.body(settings.metrics, outside),
            telling=telling_of(settings.notifications, outside.bus, instance=place.instance),
            kept=config.kept(settings.supervision),
            on_stuck=stuck,
            access=config.access(settings.control),
        )
        self._reload = Reload(
            settings,
            partial(config.load, self._options.config),
            daemon=daemon,
            door=door,
            logging=self._logging,
            ws_user=urls["ws_user"],
        )
        return daemon

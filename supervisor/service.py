"""`otod run`: the service, as the configuration file describes it.

Everything is checked before anything touches the network: configuration, users document, key, state directory.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.adapters.clock import WallClock, system_now_ms, watch
from actors.adapters.vault import FileVault
from actors.desk import Settings
from actors.ports import Vault
from supervisor import config, dumps, userfile, users
from supervisor.config import Config
from supervisor.control.office import Levers
from supervisor.control.server import Remote
from supervisor.endings import Ending, stuck, until_signal
from supervisor.log import Logging
from supervisor.outside import ControlBody, Limits, Place, real_world
from supervisor.metrics import serving as metrics
from supervisor.paper_house import House, open_doors, serve
from supervisor.wiring import Daemon, Patience, only

WEBSOCKETS_MAX = 300
"""Connects within five minutes and address on a real host (wire § 10.2)."""


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
    settings = config.load(options.config)
    wishes = userfile.load_users(options.apply) if options.apply is not None else ()
    state_dir = config.state_directory(options.state_dir, settings.state_dir, os.environ)
    vault = FileVault.at(state_dir)
    trio.run(partial(_run, settings, state_dir, vault, wishes, options))
    return 0


async def _run(
    settings: Config, state_dir: Path, vault: Vault, wishes: tuple[users.UserWish, ...], options: Options
) -> None:
    wall = WallClock.real()
    form = settings.logging.form
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    logging = Logging(wall, level=settings.logging.level, form=form)
    with logging.libraries():
        await Service(settings, state_dir, wall, vault, logging, options).run(wishes)


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
    ) -> None:
        self._settings, self._state_dir, self._wall = settings, state_dir, wall
        self._vault, self._logging, self._options = vault, logging, options

    async def run(self, wishes: tuple[users.UserWish, ...]) -> None:
        daemon = await self._daemon()
        ending = Ending()
        daemon.levers = Levers(
            log_level=self._logging.set_level,
            reload=partial(self._reload, daemon),
            drain=partial(ending.ask, "drain"),
        )
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(until_signal, ending)
                nursery.start_soon(self._stop_when_asked, daemon, ending)
                nursery.start_soon(watch, self._wall, daemon.outside.bus, self._logging.log)
                await daemon.run(partial(self._apply, daemon, wishes))
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = only(group)
            raise error from error.__cause__

    async def _stop_when_asked(self, daemon: Daemon, ending: Ending) -> None:
        await ending.asked.wait()
        self._logging.log.info("stopping", why=ending.text, drain_s=self._settings.service.drain_s)
        await daemon.stop(self._settings.service.drain_s)

    def _reload(self, daemon: Daemon) -> Mapping[str, Any]:
        """The configuration file again: roles and log level are in force at once. Raises: Problems, ConfigError."""
        settings = config.load(self._options.config)
        daemon.access = config.access(settings.control)
        self._logging.set_level(settings.logging.level)
        now = {"control": settings.control, "logging": settings.logging}
        before = {"control": self._settings.control, "logging": self._settings.logging}
        same = replace(settings, control=self._settings.control, logging=self._settings.logging) == self._settings
        self._settings = replace(self._settings, control=settings.control, logging=settings.logging)
        self._logging.log.info("reloaded", roles_changed=now["control"] != before["control"])
        return {"reloaded": ["control", "logging"], "changed": now != before, "restart_needed": not same}

    async def _apply(self, daemon: Daemon, wishes: tuple[users.UserWish, ...]) -> None:
        """--apply: the users document, all or nothing, before anything trades."""
        if wishes:
            applied = await users.apply(
                wishes, store=daemon.store, vault=self._vault, who="otod run --apply", now_ms=self._wall.now_ms()
            )
            self._logging.log.info("users_applied", created=applied.created, changed=applied.changed)

    async def _daemon(self) -> Daemon:
        settings, exchange = self._settings, self._settings.exchange
        urls = {"rest_base": exchange.rest_base, "ws_public": exchange.ws_public, "ws_user": exchange.ws_user}
        paper = None
        if exchange.mode == "paper":
            doors = await open_doors()
            house = House(self._state_dir / "paper", now_ms=system_now_ms())
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
        return Daemon(
            outside,
            Settings(
                ws_user=urls["ws_user"],
                stale_s=settings.market.stale_s,
                price_age_s_max=settings.market.price_age_s_max,
                settle_s=settings.placement.settle_s,
                looks=settings.placement.looks,
                poll_s=settings.placement.poll_s,
                credit_lag_s=settings.placement.credit_lag_s,
                rotate_s=settings.market.rotate_s,
            ),
            ws_public=urls["ws_public"],
            mode=exchange.mode,
            version=self._options.version,
            patience=Patience(
                publish_s=settings.store.publish_s,
                commit_wait_s=settings.store.commit_wait_s,
                commit_rows=settings.store.commit_rows,
                renew_s=exchange.listen_key_renew_s,
            ),
            control=ControlBody(place, outside, int(settings.control.socket_mode, 8), _remote(settings.control.remote)),
            paper=paper,
            metrics=metrics.body(settings.metrics, outside),
            kept=config.kept(settings.supervision),
            on_stuck=stuck,
            access=config.access(settings.control),
        )


def _remote(remote: config.Remote) -> Remote | None:
    if not remote.listen:
        return None
    return Remote(listen=remote.listen, certificate=remote.certificate, key=remote.key, clients_ca=remote.clients_ca)

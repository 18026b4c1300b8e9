"""The real world behind the ports: sockets, threads, files and the system's clock, joined for one daemon process."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from msgspec import Struct

from actors.adapters.clock import monotonic_s
from actors.adapters.dialer import TcpDialer, client_tls
from actors.adapters.duck import DuckDatabase
from actors.adapters.limits import Rates
from actors.adapters.websocket import Timing, TrioSockets
from actors.ports import Log, Started, Vault, Wall
from actors.tally import Tally
from supervisor.bus import EventBus
from supervisor.config import Control
from supervisor.control.memory import ReplyMemory
from supervisor.control.server import PERMISSIONS, Remote
from supervisor.control.server import run as run_control
from supervisor.sessions import Sessions
from supervisor.spec import Start
from supervisor.wiring import Daemon, Outside

HANDSHAKE_S_MAX = 10.0
"""Of a web socket, from connected to open (F11)."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a daemon lives and which exchange it belongs to. instance: written into every published row."""

    state_dir: Path
    run_dir: Path
    identity: str
    instance: str
    rest_base: str


class Limits(Struct, frozen=True, kw_only=True):
    """websockets_max: connects within five minutes, None for the loopback. Times in seconds."""

    rates: Rates
    call_s_max: float = 10.0
    connect_s_max: float = 5.0
    websockets_max: int | None = None


def real_world(
    place: Place,
    limits: Limits,
    *,
    wall: Wall,
    vault: Vault,
    log: Log,
    rng: random.Random,
    rate: float = 1.0,
    duck: Mapping[str, object] | None = None,
) -> Outside:
    """duck: further options of the database (threads, memory_limit, accept_lost_records). rate: trio s per real s."""
    dialer = TcpDialer(
        client_tls(),
        connect_s_max=limits.connect_s_max * rate,
        websockets_max=limits.websockets_max,
    )
    tally = Tally()
    return Outside(
        wall=wall,
        sockets=TrioSockets(dialer, timing=Timing(open_s_max=HANDSHAKE_S_MAX * rate, close_s_max=2.0 * rate)),
        sessions=Sessions(
            place.rest_base, dialer, limits.rates, vault, wall, call_s_max=limits.call_s_max * rate, tally=tally
        ),
        database=DuckDatabase(
            place.state_dir,
            identity=place.identity,
            instance=place.instance,
            wall=wall,
            log=log,
            **(duck or {}),  # type: ignore[arg-type]
        ),
        rng=rng,
        log=log,
        bus=EventBus(wall, boot=str(UUID(int=rng.getrandbits(128), version=4))),
        rate=rate,
        tally=tally,
        loop_s=monotonic_s,
    )


class ControlBody:
    """Makes the body of the child `control` for a daemon; what clients sent stays known over its incarnations."""

    def __init__(self, place: Place, outside: Outside, settings: Control | None = None) -> None:
        self._place, self._outside = place, outside
        self._permissions: int = PERMISSIONS
        self._remote: Remote | None = None
        self._memory = ReplyMemory()
        if settings is not None:
            self.reset(settings)

    def reset(self, settings: Control) -> None:
        """For the next incarnation: file mode of the sockets, and the further one for callers with certificates."""
        self._permissions = int(settings.socket_mode, 8)
        far = settings.remote
        self._remote = None
        if far.listen:
            self._remote = Remote(
                listen=far.listen, certificate=far.certificate, key=far.key, clients_ca=far.clients_ca
            )

    def __call__(self, daemon: Daemon) -> Start:
        async def body(inbox: object, *, task_status: Started) -> None:
            await run_control(
                inbox,  # type: ignore[arg-type]
                office=daemon,
                bus=self._outside.bus,
                memory=self._memory,
                control_url=f"ipc://{self._place.run_dir / 'control.sock'}",
                events_url=f"ipc://{self._place.run_dir / 'events.sock'}",
                log=self._outside.log.bind(child="control"),
                rate=self._outside.rate,
                permissions=self._permissions,
                remote=self._remote,
                task_status=task_status,
            )

        return body

"""The child `metrics`: figures for those who fetch them over HTTP on the loopback, and for node_exporter in a file.

There is one only where the configuration asks for it. What it cannot do (a directory that is not there, a port that is
taken) it says, and the trading goes on without it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from actors.adapters.files import AtomicFile
from actors.adapters.paper_http import converse
from actors.errors import Refusal
from actors.paper.api import Request, Response
from actors.ports import Inbox, Log, Started
from supervisor import config
from supervisor.metrics.render import CONTENT_TYPE, render
from supervisor.metrics.view import Sources
from supervisor.outfit import Outside
from supervisor.spec import Start

CONNECTIONS_MAX = 16
"""Scrapers at once: one or two fetch every few seconds, a crowd waits for its turn."""

Render = Callable[[], Awaitable[str]]


def body(settings: config.Metrics, outside: Outside) -> Callable[[Sources], Start] | None:
    """Makes the body of the child for a daemon. None: nobody wants one."""
    if not settings.listen and not settings.textfile:
        return None
    host, _, port = settings.listen.rpartition(":")

    def of(sources: Sources) -> Start:
        async def start(inbox: Inbox, *, task_status: Started) -> None:
            await run(
                inbox,
                render=lambda: render(sources, outside.bus.statistics()),
                now_ms=outside.wall.now_ms,
                log=outside.log.bind(child="metrics"),
                listen=(host.strip("[]"), int(port)) if settings.listen else None,
                textfile=Path(settings.textfile) if settings.textfile else None,
                textfile_s=settings.textfile_s,
                task_status=task_status,
            )

        return start

    return of


async def run(
    inbox: Inbox,
    *,
    render: Render,
    now_ms: Callable[[], int],
    log: Log,
    listen: tuple[str, int] | None = None,
    textfile: Path | None = None,
    textfile_s: float = 15.0,
    task_status: Started,
) -> None:
    """One incarnation, until Stop. listen: loopback host and port. textfile_s: between two writings.

    Nobody has anything to say to it; that it waits for messages is its sign of life (supervisor/pulse.py).
    Raises: Refusal, the port is taken: tried again by its supervisor, parked in the end.
    """
    async with trio.open_nursery() as nursery:
        if listen is not None:
            await nursery.start(_serve, listen, render, now_ms)
        if textfile is not None:
            nursery.start_soon(_write, AtomicFile(textfile), textfile_s, render, log)
        task_status.started()
        await inbox.take()
        nursery.cancel_scope.cancel()


# -- HTTP


async def _serve(
    listen: tuple[str, int],
    render: Render,
    now_ms: Callable[[], int],
    *,
    task_status: trio.TaskStatus[list[trio.SocketListener]],
) -> None:
    host, port = listen
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        what = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise Refusal(what, where="metrics.listen", do="choose another port") from error
    limiter = trio.CapacityLimiter(CONNECTIONS_MAX)

    async def answer(request: Request) -> Response:
        return await _answer(request, render)

    async def connection(stream: trio.SocketStream) -> None:
        async with limiter:
            await converse(stream, answer, now_ms)

    await trio.serve_listeners(connection, listeners, task_status=task_status)


async def _answer(request: Request, render: Render) -> Response:
    if request.path != "/metrics":
        await trio.lowlevel.checkpoint()
        return Response(status=404, body=b"see /metrics\n")
    if request.method != "GET":
        await trio.lowlevel.checkpoint()
        return Response(status=405, headers=(("allow", "GET"),), body=b"GET it\n")
    return Response(headers=(("content-type", CONTENT_TYPE),), body=(await render()).encode())


# -- the file


async def _write(file: AtomicFile, every_s: float, render: Render, log: Log) -> None:
    """A file that cannot be written is told once, and when it can be again."""
    well = True
    while True:
        try:
            await file.write(await render())
        except OSError as error:
            if well:
                log.error("textfile_failed", path=str(file.path), why=error.strerror or str(error))
            well = False
        else:
            if not well:
                log.info("textfile_written_again", path=str(file.path))
            well = True
        await trio.sleep(every_s)

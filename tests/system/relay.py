"""A cable that can be cut: stands between otod and an exchange on the loopback, as a process of its own.

python -m tests.system.relay HTTP_PORT WS_PORT     prints its own two ports; then obeys lines on stdin:

    halt     bytes stop in both directions, connections stay, new ones come about and get no answer   (black hole)
    drop     every connection is reset, new ones are reset too
    heal     all is well: what was halted goes on its way
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import trio

from tests.system.processes import ROOT, environment

Word = Literal["halt", "drop", "heal"]
CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of 0: closing sends RST."""


class Cable:
    def __init__(self) -> None:
        self.dropping = False
        self._open = trio.Event()
        self._open.set()
        self._scopes: set[trio.CancelScope] = set()

    def obey(self, word: str) -> None:
        match word:
            case "halt":
                self._open = trio.Event()
            case "drop":
                self.dropping = True
                for scope in self._scopes:
                    scope.cancel()
            case "heal":
                self.dropping = False
                self._open.set()
            case _:
                raise AssertionError(word)

    async def carry(self, port: int, near: trio.SocketStream) -> None:
        """One connection, until one end closes it or it is dropped."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if not self.dropping:
                    await self._open.wait()
                    async with await trio.open_tcp_stream("127.0.0.1", port) as far:
                        await self._both_ways(near, far)
            except OSError:
                pass  # the exchange is not there: the near end is closed, as a router would
            finally:
                self._scopes.discard(scope)
        if scope.cancelled_caught or self.dropping:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(near)

    async def _both_ways(self, near: trio.SocketStream, far: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._one_way, near, far, nursery.cancel_scope)
            nursery.start_soon(self._one_way, far, near, nursery.cancel_scope)

    async def _one_way(self, source: trio.SocketStream, sink: trio.SocketStream, over: trio.CancelScope) -> None:
        try:
            while data := await source.receive_some(CHUNK):
                await self._open.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one end is gone: so is the other
        over.cancel()


async def serve(ports: list[int]) -> None:
    cable = Cable()
    async with trio.open_nursery() as nursery:
        for port in ports:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, partial(cable.carry, port), [listener])
            print(listener.socket.getsockname()[1], flush=True)
        async for line in trio.wrap_file(sys.stdin):
            cable.obey(line.strip())
            print("done", flush=True)
        nursery.cancel_scope.cancel()


class Relay:
    """urls: where the exchange seems to be."""

    def __init__(self, process: subprocess.Popen[str], urls: dict[str, str]) -> None:
        self._process = process
        self.urls = urls

    def say(self, word: Word) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def relay(urls: dict[str, str]) -> Iterator[Relay]:
    """Between whoever uses its urls and the exchange at these."""
    http, ws = (urls[name].split(":")[2].split("/")[0] for name in ("rest_base", "ws_public"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.system.relay", http, ws],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        own_http, own_ws = (process.stdout.readline().strip() for _ in range(2))
        moved = {
            name: url.replace(f":{http}", f":{own_http}").replace(f":{ws}", f":{own_ws}") for name, url in urls.items()
        }
        try:
            yield Relay(process, moved)
        finally:
            process.stdin.close()
            process.wait(10)


if __name__ == "__main__":
    trio.run(serve, [int(word) for word in sys.argv[1:]])

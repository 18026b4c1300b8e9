"""The client's side of the control socket: one request, one reply, without threads or loops of its own.

pynng is imported when the first connection is made: help, completion and queries need none of its 40 ms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from supervisor.control.protocol import VERSION
from supervisor.ctl.sockets import candidates

REPLY_BYTES_MAX = 64 << 20  # status of some ten thousand users

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_DAEMON = 3
EXIT_NOT_PERMITTED = 4

_EXIT_OF_CODE = {
    "BAD_FRAME": EXIT_USAGE,
    "BAD_ARGUMENT": EXIT_USAGE,
    "COMMAND_UNKNOWN": EXIT_USAGE,
    "NOT_PERMITTED": EXIT_NOT_PERMITTED,
}


class Trouble(Exception):
    """Something that ends otoctl: the text for stderr, and the exit code (contract § 1)."""

    def __init__(self, text: str, exit_code: int, *, error: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.error = error


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(value: Any) -> Any:
    """The same without characters that would act on a terminal: some texts are the exchange's own words."""
    if isinstance(value, str):
        return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value


def refused(error: Mapping[str, Any]) -> Trouble:
    """The daemon's error object as trouble."""
    hint = f"\n  -> {error['hint']}" if error.get("hint") else ""
    return Trouble(f"{error['message']}{hint}", _EXIT_OF_CODE.get(error["code"], EXIT_FAILED), error=error)


class Client:
    """A connection to the first daemon that answers. Use as a context manager."""

    def __init__(self, environ: Mapping[str, str], *, socket: str | None, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._socket, self.url = _connect(candidates(environ, socket), round(timeout_s * 1000), environ)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(self, cmd: str, args: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The reply frame. Raises: Trouble, when none came."""
        import pynng  # type: ignore[import-untyped]  # it ships no types

        frame = {"v": VERSION, "id": os.urandom(8).hex(), "cmd": cmd, "args": dict(args or {})}  # sim-ok: a client
        try:
            request = msgspec.json.encode(frame)
        except UnicodeEncodeError:
            raise Trouble("an argument is no text in UTF-8\n  -> look at its bytes", EXIT_USAGE) from None
        try:
            self._socket.send(request)
            reply: dict[str, Any] = clean(msgspec.json.decode(self._socket.recv(), type=dict[str, Any]))
            return reply
        except pynng.Timeout:
            hint = "it may still act: look with otoctl status"
            raise Trouble(f"no answer within {self._timeout_s:g} s from {self.url}\n  -> {hint}", EXIT_FAILED) from None
        except (pynng.ConnectionReset, pynng.Closed, pynng.ConnectionAborted):
            text = f"the daemon at {self.url} ended the connection\n  -> look whether it still runs, then ask again"
            raise Trouble(text, EXIT_FAILED) from None

    def data(self, cmd: str, args: Mapping[str, Any] | None = None) -> Any:
        """The data of a reply that is ok. Raises: Trouble."""
        reply = self.call(cmd, args)
        if not reply["ok"]:
            raise refused(reply["error"])
        return reply["data"]


def _certificates(url: str, environ: Mapping[str, str]) -> Any:
    """Of $OTOD_TLS_CA, $OTOD_TLS_CERT and $OTOD_TLS_KEY, PEM files. Raises: Trouble."""
    import pynng

    try:
        authority, certificate, key = (Path(environ[f"OTOD_TLS_{word}"]).read_text() for word in ("CA", "CERT", "KEY"))
    except KeyError as missing:
        raise Trouble(f"{url} needs certificates\n  -> set {missing.args[0]} to a PEM file", EXIT_USAGE) from None
    except OSError as error:
        raise Trouble(f"{error.filename}: {error.strerror}", EXIT_FAILED) from None
    host = url.partition("://")[2].rpartition(":")[0]
    return pynng.TLSConfig(
        pynng.TLSConfig.MODE_CLIENT,
        own_key_string=key,
        own_cert_string=certificate,
        ca_string=authority,
        server_name=host,
        auth_mode=pynng.TLSConfig.AUTH_MODE_REQUIRED,
    )


def _connect(urls: list[str], timeout_ms: int, environ: Mapping[str, str]) -> tuple[Any, str]:
    import pynng

    forbidden: list[str] = []
    for url in urls:
        socket = pynng.Req0(send_timeout=timeout_ms, recv_timeout=timeout_ms, recv_max_size=REPLY_BYTES_MAX)
        if url.startswith("tls+"):
            socket.tls_config = _certificates(url, environ)
        # a broken connection is an error to us: asking again by itself might act twice (probes § 1)
        pynng.check_err(pynng.lib.nng_socket_set_ms(socket.socket, b"req:resend-time", -1))
        try:
            socket.dial(url, block=True)
        except pynng.NNGException as error:
            socket.close()
            if isinstance(error, pynng.PermissionDenied):
                forbidden.append(url)
            continue
        return socket, url
    if forbidden:
        text = f"not permitted to use {forbidden[0]}\n  -> callers come in through the socket's group: see ls -l"
        raise Trouble(text, EXIT_NOT_PERMITTED)
    looked = "".join(f"\n     {url}" for url in urls)
    hint = "start one with `otod paper`, or name its socket with --socket"
    raise Trouble(f"no daemon at any of these sockets:{looked}\n  -> {hint}", EXIT_NO_DAEMON)

"""The real way to the network: TCP and TLS streams with a deadline of their own, and addresses checked before use.

Whatever goes wrong here happened before the first byte of a request, so every failure is NotSent. TLS is decided by the
address and never downgraded; a plain address is accepted on the loopback only. Web sockets are dialed at a pace: the
exchange counts connection attempts of an address (wire § 10.2), and a reconnecting daemon with many users would be the
first to exceed that.
"""

from __future__ import annotations

import ipaddress
import ssl
import urllib.parse
from typing import Protocol, runtime_checkable

import trio
from msgspec import Struct

from actors.adapters.limits import Gate, Turnstile
from actors.errors import ConfigError, NotSent

CONNECT_S_MAX = 5.0  # DNS, TCP and TLS together
WEBSOCKETS_MAX = 300  # wire § 10.2: connection attempts per address ...
WEBSOCKETS_WINDOW_S = 300.0  # ... within five minutes


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where a URL points. target: path and query, as a request line shows it."""

    host: str
    port: int
    tls: bool
    target: str = "/"

    @property
    def authority(self) -> str:
        """host, with the port unless it is the scheme's own: what a Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def endpoint(url: str, *, plain: str, secure: str, where: str) -> Endpoint:
    """Takes a URL of the configuration apart.

    Args:
        plain, secure: the two schemes that are meant: "http", "https" or "ws", "wss".
        where: the configuration key, for the error.
    Raises: ConfigError: another scheme, no host, an impossible port, a user name inside, or plain beyond the loopback.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no URL: {error}", where=where, do=f"write {secure}://host[:port]/…") from None
    if parts.scheme not in (plain, secure) or not parts.hostname:
        raise ConfigError(f"{url!r} is no {secure} URL", where=where, do=f"write {secure}://host[:port]/…")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ConfigError("a URL with a user name or a fragment", where=where, do="leave these parts out")
    tls = parts.scheme == secure
    if not tls and not is_loopback(parts.hostname):
        raise ConfigError(f"{url!r} would go unencrypted over the network", where=where, do=f"write {secure}://")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(host=parts.hostname, port=port or (443 if tls else 80), tls=tls, target=target)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def client_tls(cafile: str | None = None) -> ssl.SSLContext:
    """The one TLS context that all connections share (making one costs 15 ms and 800 kB, probes § 3).

    cafile: trust these certificates instead of the system's.
    """
    context = ssl.create_default_context(cafile=cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])  # neither HTTP/2 nor anything else is spoken here
    return context


@runtime_checkable
class Readable(Protocol):
    """A stream that can tell without waiting whether bytes or its end have come; simulated streams may offer it."""

    def is_readable(self) -> bool: ...


def is_readable(stream: trio.abc.Stream) -> bool:
    """Whether bytes, or the end, are waiting; of an idle HTTP connection that means: the peer has closed it."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    if isinstance(stream, trio.SocketStream):
        return stream.socket.is_readable()
    return stream.is_readable() if isinstance(stream, Readable) else False


class DialStatistics(Struct, frozen=True, kw_only=True):
    """dialed, failed: since the start. pacing: web socket connects that wait for their turn."""

    dialed: int
    failed: int
    pacing: int


class TcpDialer:
    """ports.Dialer over the operating system's sockets. TCP_NODELAY is set (trio's default)."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        connect_s_max: float = CONNECT_S_MAX,
        websockets_max: int | None = WEBSOCKETS_MAX,
        websockets_window_s: float = WEBSOCKETS_WINDOW_S,
    ) -> None:
        """tls: shared by all. websockets_max: connects within the window; None: unlimited (loopback)."""
        self._tls = tls
        self._connect_s_max = connect_s_max
        self._pace = Turnstile(Gate(None, ceiling=websockets_max, window_s=websockets_window_s))
        self._dialed = 0
        self._failed = 0

    async def dial(self, host: str, port: int, *, tls: bool, websocket: bool = False) -> trio.abc.Stream:
        """A connected stream; with TLS also the handshake is done and the certificate checked against `host`.

        The wait of a web socket for its turn is not part of the deadline and shows in `statistics`.
        Raises: NotSent, whatever went wrong.
        """
        if websocket:
            await self._pace.enter("public")
        self._dialed += 1
        try:
            with trio.fail_after(self._connect_s_max):
                stream = await trio.open_tcp_stream(host, port)  # sim-ok: the dialer itself
                return await self._secured(stream, host) if tls else stream
        except trio.TooSlowError:
            self._failed += 1
            raise _not_sent(f"no connection within {self._connect_s_max:g} s", host, port) from None
        except (OSError, UnicodeError, trio.BrokenResourceError) as error:  # Unicode: a name that DNS cannot carry
            self._failed += 1
            raise _not_sent(_reason(error), host, port) from error

    async def _secured(self, stream: trio.SocketStream, host: str) -> trio.SSLStream[trio.SocketStream]:
        secured = trio.SSLStream(stream, self._tls, server_hostname=host, https_compatible=True)
        done = False
        try:
            await secured.do_handshake()
            done = True
        finally:
            if not done:
                await trio.aclose_forcefully(stream)
        return secured

    def statistics(self) -> DialStatistics:
        return DialStatistics(dialed=self._dialed, failed=self._failed, pacing=self._pace.statistics().waiting)


def _not_sent(what: str, host: str, port: int) -> NotSent:
    return NotSent(what, where=f"{host}:{port}", do="check network, name and port; nothing was sent")


def _reason(error: BaseException) -> str:
    """One line for a failed connect: the innermost cause says it best (certificate, refused, name unknown)."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):  # one per address that was tried
        error = error.exceptions[-1]
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return f"no connection: {error.strerror if isinstance(error, OSError) and error.strerror else error}"

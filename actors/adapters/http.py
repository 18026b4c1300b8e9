"""HTTP sessions: httpx on our own transport, so that simulated and real requests take one path (design § 7).

The question that decides about money is whether a failed request may have reached the exchange. Two witnesses must
agree that it did not: the class of the exception is on the "certainly not sent" list of probes § 3, and httpcore had
not begun to send (its trace says when). Only then it is NotSent; all else is NoReply, which nobody may repeat blindly.

One deadline spans the whole call, because httpcore's own time-outs are per socket operation and a dripping server
never trips them. Neither redirects are followed nor cookies learned: a session sends what its owner handed in, and no
error, repr or log line of this module shows it.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpcore
import httpx
import trio
from msgspec import Struct

from actors.adapters.dialer import endpoint
from actors.adapters.limits import Permits
from actors.adapters.transport import DialedBackend, PoolTransport
from actors.errors import ConfigError, NoReply, NotSent
from actors.ports import Dialer, HttpReply, Lane, Wall

CALL_S_MAX = 10.0  # from the permit to the last byte
PERMIT_S_MAX = 10.0  # a decision older than that is better taken anew than sent
IDLE_S_MAX = 20.0  # below the idle time-outs of common front ends (60 s and more)
CONNECTIONS = 6  # of one session: it is one user ...
CONNECTIONS_RESERVED = 2  # ... and these are for cancels and reconciling reads alone
REPLY_BYTES_MAX = 16 * 2**20  # exchange info, the largest reply known, has 2 MB
QUICK_S = 1.0  # slower replies do not tell when their Date was written
THROTTLED_S, BANNED_S = 30.0, 300.0  # waits after 429 and 418 that name none

NOT_SENT = (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout, httpcore.UnsupportedProtocol)
"""Exceptions after which certainly nothing was sent (probes § 3). All others of httpcore decide nothing."""

HTTPCORE = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
"""All that httpcore raises of its own (a test compares)."""

OWN_HEADERS = frozenset(
    {"host", "connection", "keep-alive", "content-length", "transfer-encoding", "accept-encoding", "cookie", "te"}
    | {"trailer", "upgrade", "expect", "content-type"}
)
"""What the session itself says. Browsers' "copy as cURL" brings some of these along; they are left out."""

# httpx and httpcore log request lines and reply headers below this level.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


class HttpStatistics(Struct, frozen=True, kw_only=True):
    """Counts since the start. server_skew_ms: the exchange's clock minus ours, as last measured by a Date header."""

    requests: int
    replies: int
    not_sent: int
    no_reply: int
    in_flight: int
    connections: int
    server_skew_ms: int | None


class HttpSession:
    """ports.Http for one user, or for public calls."""

    def __init__(
        self,
        base_url: str,
        dialer: Dialer,
        permits: Permits,
        *,
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        wall: Wall | None = None,
        call_s_max: float = CALL_S_MAX,
        permit_s_max: float = PERMIT_S_MAX,
        idle_s_max: float = IDLE_S_MAX,
        connections: int = CONNECTIONS,
        reserved: int = CONNECTIONS_RESERVED,
        reply_bytes_max: int = REPLY_BYTES_MAX,
    ) -> None:
        """base_url: scheme, host, port; plain http on the loopback only. wall: measures the skew, None: not measured.

        Raises: ConfigError: a wrong URL, a header or cookie that HTTP cannot carry (its name is told, not its value).
        """
        assert 0 <= reserved < connections, (reserved, connections)
        self._at = endpoint(base_url, plain="http", secure="https", where="exchange.rest_base")
        if self._at.target != "/":
            raise ConfigError(f"{base_url!r} has a path", where="exchange.rest_base", do="write scheme, host and port")
        self._base = f"{'https' if self._at.tls else 'http'}://{self._at.authority}"
        self._permits = permits
        self._wall = wall
        self._call_s_max = call_s_max
        self._permit_s_max = permit_s_max
        self._reply_bytes_max = reply_bytes_max
        self._headers = _session_headers(cookies or {}, headers or {})
        self._slots = trio.Semaphore(connections)
        self._unreserved = trio.Semaphore(connections - reserved)
        backend = DialedBackend(dialer, self._at, idle_s_max=idle_s_max, reply_bytes_max=reply_bytes_max)
        self._transport = PoolTransport(backend, connections=connections)
        self._client = httpx.AsyncClient(transport=self._transport, timeout=None, trust_env=False)
        self._requests = self._replies = self._not_sent = self._no_reply = self._in_flight = 0
        self._exchange_ms: float | None = None  # what the exchange's clock showed at trio time 0

    def __repr__(self) -> str:
        return f"HttpSession({self._base})"

    async def request(
        self,
        method: Literal["GET", "POST"],
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        lane: Lane = "read",
        key: str = "",
    ) -> HttpReply:
        """One request, one reply of any status, once permits and a connection are free.

        Args:
            path: from the root, "/bapi/…". body: JSON bytes.
            key: what placements (lane "order") are spaced by, the symbol.
        Raises: NotSent, NoReply. A cancelled call may have been processed, unless it waited for its permit.
        """
        call = _Call(method, path, query, body)
        self._requests += 1
        try:
            if self._client.is_closed:
                raise NotSent("this session is closed", do="take the user's present one")
            await self._permit(lane, key)
            reply = await self._within_deadline(call, lane)
        except NotSent as error:
            assert call.handed_over_s is None
            self._not_sent += 1
            error.where = error.where or f"{method} {self._base}{path}"
            raise
        except NoReply as error:
            self._no_reply += 1
            error.where = f"{method} {self._base}{path}"
            raise
        self._replies += 1
        self._learn(reply)
        return reply

    def renew(self, cookies: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """From the next request on these are sent (F77); what is in the air is not affected. Raises: ConfigError."""
        self._headers = _session_headers(cookies, headers)

    @property
    def server_skew_ms(self) -> int | None:
        """The exchange's clock minus ours, ms; good to half a second, the grain of the Date header."""
        if self._exchange_ms is None or self._wall is None:
            return None
        return round(self._exchange_ms + trio.current_time() * 1000) - self._wall.now_ms()

    async def aclose(self) -> None:
        """Closes the connections; requests after this are NotSent."""
        await self._client.aclose()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> HttpStatistics:
        return HttpStatistics(
            requests=self._requests,
            replies=self._replies,
            not_sent=self._not_sent,
            no_reply=self._no_reply,
            in_flight=self._in_flight,
            connections=self._transport.connections,
            server_skew_ms=self.server_skew_ms,
        )

    async def _permit(self, lane: Lane, key: str) -> None:
        with trio.move_on_after(self._permit_s_max):
            await self._permits.acquire(lane, key)
            return
        error = NotSent(f"no permit within {self._permit_s_max:g} s", do="nothing was sent; ask again later")
        if self._permits.closed_for_s > 0:
            error.trouble, error.retry_after_s = "throttled", self._permits.closed_for_s
        raise error

    async def _within_deadline(self, call: _Call, lane: Lane) -> HttpReply:
        with trio.move_on_after(self._call_s_max):
            if lane in ("cancel", "reconcile"):
                async with self._slots:
                    return await self._send(call)
            async with self._unreserved, self._slots:
                return await self._send(call)
        raise call.failed(f"no complete reply within {self._call_s_max:g} s", certain=True)

    async def _send(self, call: _Call) -> HttpReply:
        own = [("content-type", "application/json")] if call.body is not None else []
        request = httpx.Request(
            call.method,
            self._base + call.path,
            params=call.query,
            headers=[*self._headers, *own],
            content=call.body,
            extensions={"trace": call.trace},
        )
        self._in_flight += 1
        try:
            response = await self._client.send(request, stream=True)
            try:
                body = await _content(response, self._reply_bytes_max)
            finally:
                await response.aclose()
        except HTTPCORE as error:
            raise call.failed(_text(error), certain=isinstance(error, NOT_SENT)) from None
        finally:
            self._in_flight -= 1
        assert call.handed_over_s is not None, "a reply without a request"
        elapsed_s = trio.current_time() - call.handed_over_s
        return HttpReply(status=response.status_code, headers=dict(response.headers), body=body, elapsed_s=elapsed_s)

    def _learn(self, reply: HttpReply) -> None:
        """What a reply says about the exchange's clock, and whether it asks this address to wait (wire § 10.1)."""
        if reply.elapsed_s <= QUICK_S and (date_ms := _date_ms(reply.headers.get("date"))) is not None:
            then_s = trio.current_time() - reply.elapsed_s / 2
            self._exchange_ms = date_ms + 500 - then_s * 1000
        if reply.status in (418, 429):
            default_s = BANNED_S if reply.status == 418 else THROTTLED_S
            wait_s = retry_after_s(reply.headers)
            self._permits.penalise(default_s if wait_s is None else wait_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, a number or a date (then counted from the Date header), else None."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text):
        return float(text)
    until_ms, now_ms = _date_ms(text), _date_ms(headers.get("date"))
    return None if until_ms is None or now_ms is None else max(0.0, (until_ms - now_ms) / 1000)


class _Shy(str):
    """A header's value whose repr tells nothing: tracebacks may print local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


class _Call:
    """One request on its way. handed_over_s: trio time at which httpcore began to send it, None before."""

    def __init__(self, method: str, path: str, query: Mapping[str, str] | None, body: bytes | None) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.handed_over_s: float | None = None

    async def trace(self, name: str, info: Mapping[str, Any]) -> None:
        # httpcore awaits this between two of its own steps
        if name == "http11.send_request_headers.started":
            self.handed_over_s = trio.current_time()

    def failed(self, text: str, *, certain: bool) -> NotSent | NoReply:
        """certain: the way it failed says that nothing was sent. It is believed only if the trace agrees."""
        if certain and self.handed_over_s is None:
            return NotSent(text, do="nothing was sent; it may be asked again")
        return NoReply(text, do="it may have been processed: look, never repeat blindly")


async def _content(response: httpx.Response, bytes_max: int) -> bytes:
    """The whole body, unpacked if it is gzip, which is all we ask for. Raises: NoReply."""
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    content = bytearray()
    inflater = zlib.decompressobj(wbits=31) if packing == "gzip" else None
    problem = "" if packing in ("gzip", "identity") else f"a reply packed as {packing!r}, which nobody asked for"
    async for part in response.aiter_raw():  # always to its end: a generator left half way is a leak
        if problem:
            continue
        try:
            content += inflater.decompress(part, bytes_max + 1 - len(content)) if inflater is not None else part
        except zlib.error:
            problem = "a reply whose gzip is damaged"
        if len(content) > bytes_max:
            problem = f"a reply of more than {bytes_max} bytes"
    if inflater is not None and not inflater.eof and not problem:
        problem = "a reply whose gzip is cut short"
    if problem:
        raise NoReply(problem, do="it may have been processed: look, never repeat blindly")
    return bytes(content)


def _session_headers(cookies: Mapping[str, str], headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """What each request of a session carries. A "cookie" among the headers counts only if there are no cookies."""
    lines = {name.lower(): value for name, value in headers.items()}
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items()) or lines.get("cookie", "")
    kept = {name: value for name, value in lines.items() if name not in OWN_HEADERS and not name.startswith(":")}
    kept = {"accept": "application/json", "user-agent": "otod", **kept, "accept-encoding": "gzip"}
    for name, value in cookies.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[\x20-\x3a\x3c-\x7e]*", value):
            raise ConfigError("a cookie that HTTP cannot carry", where=f"cookie {name!r}", do="copy it again")
    for name, value in (*kept.items(), ("cookie", cookie)):
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise ConfigError("a header that HTTP cannot carry", where=f"header {name!r}", do="copy it again")
    if cookie:
        kept["cookie"] = cookie
    return tuple((name, _Shy(value)) for name, value in kept.items())


def _date_ms(text: str | None) -> int | None:
    """An HTTP date as ms since 1970 UTC, None if it is none."""
    if not text:
        return None
    try:
        date = parsedate_to_datetime(text)
        return None if date.tzinfo is None else round(date.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _text(error: Exception) -> str:
    """What happened, by the class alone: texts of h11 quote bytes, and bytes may be secrets."""
    match error:
        case httpcore.RemoteProtocolError():
            return "the connection ended before a whole reply, or what came was no HTTP"
        case httpcore.ReadError() | httpcore.WriteError():
            return str(error)  # our own words, see transport.py
        case _:
            return f"the request failed ({type(error).__name__})"

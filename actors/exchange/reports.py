"""The order stream's executionReport: one frame per state change or fill of an own order (wire § 6.5, § 7)."""

from __future__ import annotations

from msgspec import Raw, Struct

from actors.domain.orders import Execution, OrderReport, Side
from actors.errors import ProtocolChanged
from actors.exchange.numbers import Amount
from actors.exchange.orders import list_of, position_of
from actors.exchange.shapes import Id, Millis, Shape, Word, changed, text_of

FILL = "TRADE"  # a fill is `x`, not `X` (wire § 8.1)


class _Report(Struct):
    s: Word
    i: Id
    S: Side
    q: Amount
    p: Amount
    x: Word
    X: Word
    z: Amount
    Z: Amount
    O: Millis  # noqa: E741 - the wire's name
    T: Millis
    E: Millis
    id: Id
    l: Amount | None = None  # noqa: E741 - the wire's name
    L: Amount | None = None
    Y: Amount | None = None
    n: Amount | None = None
    N: Word | None = None
    t: Id | None = None
    il: str | int | None = None
    ct: Word | None = None
    cp: Word | None = None


_report: Shape[_Report] = Shape(_Report, of="executionReport (wire § 6.5)")


def read_report(data: bytes | Raw) -> OrderReport:
    """Raises: ProtocolChanged, naming symbol and order where they could be read."""
    wire = _report.read(data)
    return OrderReport(
        symbol=wire.s,
        order_id=text_of(wire.i),
        list_id=list_of(wire.il),
        position=position_of(wire.ct, wire.cp),
        side=wire.S,
        price=wire.p,
        quantity=wire.q,
        cumulative=wire.z,
        cumulative_quote=wire.Z,
        kind=wire.x,
        status=wire.X,
        created_ms=wire.O,
        time_ms=wire.T,
        sent_ms=wire.E,
        event_id=text_of(wire.id),
        execution=_execution(wire) if wire.x == FILL else None,
    )


def _execution(wire: _Report) -> Execution:
    """A fill needs every part of it: what is missing or zero must never be booked as 0."""
    if not wire.l or not wire.L:
        raise _incomplete(wire, "l or L missing or zero")
    if wire.Y is None:
        raise _incomplete(wire, "Y missing")
    if wire.t is None:
        raise _incomplete(wire, "t missing")
    if wire.n is None:
        raise _incomplete(wire, "n missing")
    if wire.N is None and wire.n > 0:
        raise _incomplete(wire, "N missing")
    return Execution(
        fill_id=text_of(wire.id),
        trade_id=text_of(wire.t),
        price=wire.L,
        quantity=wire.l,
        quote=wire.Y,
        commission=wire.n,
        commission_asset=wire.N or "",  # of a commission of nothing
        time_ms=wire.T,
        source="stream",
    )


def _incomplete(wire: _Report, what: str) -> ProtocolChanged:
    return changed(_report.of, f"x is TRADE with {what}, order {text_of(wire.i)} of {wire.s}")

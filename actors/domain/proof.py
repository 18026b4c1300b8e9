"""What became of a request without an answer: adopted, or proven absent. There is no third way out (design § 4).

A look is open orders and history back to before the intent, complete, two equal passes; a failed or short read is no
look. One look proves nothing: an accepted order may be missing from both lists for seconds (read-after-write lag, F28).
Absence is proven by `looks` looks without a match that all began after the doubt, the last one at least settle_ms
later. One sighting in between starts the counting anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from actors.domain.orders import TERMINAL, OrderReport, OrderView, Side

CREATED_BEFORE_MS = 2_000
"""An order of ours may carry an exchange time this much before our intent: the two clocks differ. A bigger difference
pauses the user (CLOCK_SKEW, domain/gate.py) before anything is placed, and what is known of it widens the window."""


class Instant(Struct, frozen=True):
    """One moment: wall_ms for dates and the exchange's times, mono_ms (trio's clock) for intervals."""

    wall_ms: int
    mono_ms: int


class Look(Struct, frozen=True, kw_only=True):
    """One complete look at the account. orders: open orders and history merged; ours and unattributed ones only.

    baseline: the order stream was not connected all the time, so it need not have told what this look shows.
    skew_ms: the exchange's clock minus ours as its replies show it, None: not known.
    """

    started: Instant
    since_ms: int
    orders: tuple[OrderView, ...]
    baseline: bool = False
    skew_ms: int | None = None


class Absence(Struct, frozen=True, kw_only=True):
    """The proof so far. doubt_ms: mono time since when there is doubt."""

    doubt_ms: int
    clean: int = 0
    last_ms: int | None = None


def with_clean_look(absence: Absence, look: Look, intent_ms: int) -> Absence:
    """Counts a look that showed nothing.

    One that began before the doubt, or not after the one counted last, does not count; nor does one that does not reach
    back to before the intent (wall ms): what it did not show may lie further back.
    """
    began = look.started.mono_ms
    again = absence.last_ms is not None and began <= absence.last_ms
    if began < absence.doubt_ms or again or look.since_ms > intent_ms - CREATED_BEFORE_MS:
        return absence
    return replace(absence, clean=absence.clean + 1, last_ms=began)


def with_sighting(absence: Absence) -> Absence:
    """It was there after all."""
    return replace(absence, clean=0, last_ms=None)


def proven(absence: Absence, *, looks: int, settle_ms: int) -> bool:
    if absence.last_ms is None:
        return False
    return absence.clean >= looks and absence.last_ms >= absence.doubt_ms + settle_ms


class Wanted(Struct, frozen=True, kw_only=True):
    """What a request of ours would look like at the exchange. oto: the working leg of a list, else a plain order.

    partner_price: limit of the list's other leg.
    """

    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    intent_ms: int
    oto: bool
    partner_price: Decimal | None = None
    never: frozenset[str] = frozenset()  # orders that a human has said are not ours


def matches_view(wanted: Wanted, view: OrderView) -> bool:
    """Whether a row of REST may be the order we asked for. Rows may lack the list's words (wire § 4.1)."""
    if view.order_id in wanted.never or view.position == "pending" or (not wanted.oto and view.list_id is not None):
        return False
    return _same(wanted, view) and (view.created_ms is None or _in_time(wanted, view.created_ms))


def matches_report(wanted: Wanted, report: OrderReport) -> bool:
    if report.order_id in wanted.never or (report.position == "working") != wanted.oto:
        return False
    if not wanted.oto and report.list_id is not None:
        return False
    return _same(wanted, report) and _in_time(wanted, report.created_ms)


def candidates(wanted: Wanted, reports: Iterable[OrderReport], views: Iterable[OrderView]) -> tuple[str, ...]:
    """Ids of the orders that may be the one we asked for, ascending; more than one must never be guessed between."""
    rows = tuple(views)
    ids = {report.order_id for report in reports if matches_report(wanted, report)}
    ids |= {view.order_id for view in rows if matches_view(wanted, view) and _in_company(wanted, view, rows)}
    return by_age(ids)


def suspects(wanted: Wanted, reports: Iterable[OrderReport], views: Iterable[OrderView]) -> tuple[str, ...]:
    """Ids of orders that are like the one we asked for in all but their time, which is before our intent (F67).

    Either clock may be wrong, so they prove neither presence nor absence. Dead ones that traded nothing harm nobody.
    """
    rows, frames = tuple(views), tuple(reports)
    timeless = replace(wanted, intent_ms=0)
    found = set(candidates(timeless, frames, rows)) - set(candidates(wanted, frames, rows))
    dead = {view.order_id for view in rows if view.status in TERMINAL and view.executed == 0}
    return by_age(found - dead)


def by_age(order_ids: Iterable[str]) -> tuple[str, ...]:
    """Ids grow with time, as numbers: a shorter one is older."""
    return tuple(sorted(order_ids, key=lambda order_id: (len(order_id), order_id)))


def _in_company(wanted: Wanted, view: OrderView, rows: tuple[OrderView, ...]) -> bool:
    """Whether the row's list is ours. A row without a list is a plain order, unless no row names any list."""
    if not wanted.oto:
        return True
    if view.list_id is None and view.position is None:
        return not any(row.list_id is not None for row in rows)
    others = [row for row in rows if (row.symbol, row.list_id) == (view.symbol, view.list_id) and row is not view]
    return all(row.side != wanted.side and row.price == wanted.partner_price for row in others)


def _same(wanted: Wanted, news: OrderReport | OrderView) -> bool:
    asked = (wanted.symbol, wanted.side, wanted.price, wanted.quantity)
    return (news.symbol, news.side, news.price, news.quantity) == asked


def _in_time(wanted: Wanted, created_ms: int) -> bool:
    return created_ms >= wanted.intent_ms - CREATED_BEFORE_MS

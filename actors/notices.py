"""What people are told: which events are worth a word, in which words, and how many of them become one message. Pure.

A notice has an id that is a function of what it tells (this pause of this user, since then), so that nothing is told
twice, whatever is restarted in between. Important ones are rows of the store until everybody they are for has heard
them; the others (`repeats`) are told at most every so often, with the number of times in between.

A message gathers what waits for one target: users who are paused for one cause stand in one line, so that a feed that
is lost and pauses a thousand users is one message, and each of them is named or counted in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.rows import NoticeRow, PauseRow

Kind = Literal[
    "paused", "resumed", "unresolved", "settled", "target", "parked", "stuck", "back", "crashed", "store", "clock",
    "credential", "summary", "test",
]  # fmt: skip

TEXT_MAX: Final = 3_500  # characters of a message: Telegram takes 4,096, all others more
NAMES_MAX: Final = 40  # users in one line; then they are counted
WHY_MAX: Final = 300  # characters of one reason
UNRESOLVED_MAX: Final = 10_000  # pairs whose settling is still to be told; one per user at most, really

MARKS: Mapping[str, str] = {
    "paused": "PAUSED", "resumed": "resumed", "unresolved": "UNRESOLVED", "settled": "settled", "target": "done",
    "parked": "DOWN", "stuck": "STUCK", "back": "back", "crashed": "crashed", "store": "STORE", "clock": "clock",
    "credential": "CREDENTIALS", "summary": "summary", "test": "test",
}  # fmt: skip


class Notice(Struct, frozen=True, kw_only=True):
    """user None: of the daemon. what: the words after the users' names. repeats: key of what is not important."""

    notice_id: str
    kind: Kind
    user: str | None = None
    what: str
    at_ms: int
    repeats: str | None = None


class Target(Struct, frozen=True):
    """Whom to tell by one way. name: never holds a secret. users None: everything; else only what is about them."""

    name: str
    users: frozenset[str] | None = None

    def wants(self, notice: Notice) -> bool:
        """A day's sum of all is for those who hear everything, a user's own for those who hear only of him."""
        if self.users is None:
            return notice.kind != "summary" or notice.user is None
        return notice.user in self.users


class Watch:
    """From events to notices; remembers which pairs are unresolved and which actors are down."""

    def __init__(self) -> None:
        self._unresolved: dict[str, None] = {}
        self._down: set[str] = set()

    def hear(self, topic: str, kind: str, at_ms: int, payload: Mapping[str, Any]) -> Notice | None:
        """None: nothing that people want to be called for."""
        area, _, user = topic.partition(".")
        match area, kind:
            case "pause", "paused":
                return paused(user, payload["reason"], payload["detail"], payload["since_ms"])
            case "pause", "resumed":
                reason, since_ms = payload["reason"], payload["since_ms"]
                by = "" if payload["who"].startswith("traders/") else f" by {payload['who']}"
                notice_id = f"resumed/{user}/{reason}/{since_ms}"
                return Notice(notice_id=notice_id, kind="resumed", user=user, what=f"{reason} is over{by}", at_ms=at_ms)
            case "progress", "target_reached":
                day = payload["day"]
                return Notice(
                    notice_id=f"target/{user}/{day}", kind="target", user=user, what=f"target of {day} reached",
                    at_ms=at_ms,
                )  # fmt: skip
            case "pair", _:
                return self._pair(user, at_ms, payload)
            case "actor", _:
                return self._actor(kind, at_ms, payload)
            case "system", _:
                return _system(kind, at_ms, payload)
            case _:
                return None

    def _pair(self, user: str, at_ms: int, payload: Mapping[str, Any]) -> Notice | None:
        pair_id, status = payload["pair_id"], payload["status"]
        if status == "unresolved" and pair_id not in self._unresolved:
            self._unresolved[pair_id] = None
            if len(self._unresolved) > UNRESOLVED_MAX:
                del self._unresolved[next(iter(self._unresolved))]
            what = f"pair {pair_id} got no answer; its fate is being looked for, nothing is placed"
            return Notice(notice_id=f"unresolved/{pair_id}", kind="unresolved", user=user, what=what, at_ms=at_ms)
        if status != "unresolved" and pair_id in self._unresolved:
            del self._unresolved[pair_id]
            end = payload["outcome"] or status
            what = f"pair {pair_id} is settled: {end}"
            return Notice(notice_id=f"settled/{pair_id}", kind="settled", user=user, what=what, at_ms=at_ms)
        return None

    def _actor(self, kind: str, at_ms: int, payload: Mapping[str, Any]) -> Notice | None:
        path = payload["path"]
        user = path.removeprefix("traders/") if path.startswith("traders/") else None
        named = f"{path}/{payload['incarnation']}/{at_ms}"
        match kind:
            case "crashed":
                what = f"{path} crashed and is started again: {_short('; '.join(payload['errors']))}"
                return Notice(
                    notice_id=f"crashed/{named}", kind="crashed", user=user, what=what, at_ms=at_ms,
                    repeats=f"crashed/{path}",
                )  # fmt: skip
            case "parked" | "stuck":
                self._down.add(path)
                does = "died too often and stays down" if kind == "parked" else "does not react even to cancellation"
                what = f"{path} {does}: {_short(payload['why'])} -> otoctl actor restart {path}"
                return Notice(
                    notice_id=f"{kind}/{named}", kind="parked" if kind == "parked" else "stuck", user=user, what=what,
                    at_ms=at_ms,
                )  # fmt: skip
            case "ready" if path in self._down:
                self._down.discard(path)
                return Notice(notice_id=f"back/{named}", kind="back", user=user, what=f"{path} runs again", at_ms=at_ms)
            case _:
                return None


def _system(kind: str, at_ms: int, payload: Mapping[str, Any]) -> Notice | None:
    match kind:
        case "store_unavailable":
            what = f"records cannot be made durable; nothing new is begun: {_short(payload['why'])}"
            return Notice(notice_id=f"store/{at_ms}", kind="store", what=what, at_ms=at_ms)
        case "store_recovered":
            what = f"records are durable again, after {payload['outage_ms'] / 1000:.0f} s"
            return Notice(notice_id=f"store_recovered/{at_ms}", kind="store", what=what, at_ms=at_ms)
        case "publish_failed":
            what = f"analytics files cannot be written: {_short(payload['why'])}"
            return Notice(notice_id=f"publish/{at_ms}", kind="store", what=what, at_ms=at_ms, repeats="publish")
        case "clock_stepped":
            what = f"the system clock was moved by {payload['step_ms'] / 1000:.1f} s"
            return Notice(notice_id=f"clock/{at_ms}", kind="clock", what=what, at_ms=at_ms, repeats="clock")
        case _:
            return None


def paused(user: str, reason: str, detail: str, since_ms: int) -> Notice:
    return Notice(
        notice_id=pause_id(user, reason, since_ms),
        kind="paused",
        user=user,
        what=f"{reason}: {_short(detail)}" if detail else reason,
        at_ms=since_ms,
    )


def paused_by(row: PauseRow) -> Notice:
    """The same of a pause that is in force and that the records alone tell of."""
    return paused(row.user, row.reason, row.detail, row.since_at)


def pause_id(user: str, reason: str, since_ms: int) -> str:
    return f"paused/{user}/{reason}/{since_ms}"


def old_credentials(user: str, stored_ms: int, days: int, at_ms: int) -> Notice:
    return Notice(
        notice_id=f"credential/{user}/{stored_ms}",
        kind="credential",
        user=user,
        what=f"handed over {days} days ago, they may lapse soon -> otoctl user set-credentials {user}",
        at_ms=at_ms,
    )


# -- the day


class DaySum(Struct, frozen=True, kw_only=True):
    """What a user did on a day. target None: there was none."""

    user: str
    volume: Decimal
    target: Decimal | None
    pairs: int
    wear: Decimal
    wear_bps: Decimal | None


def summary(day: str, sums: Sequence[DaySum], user: str | None, at_ms: int) -> Notice:
    """user None: of all, the busiest by name; else his own day."""
    own = [each for each in sums if user in (None, each.user)]
    if user is not None:
        what = f"{day}: {_day(own[0])}" if own else f"{day}: nothing was traded"
        return Notice(notice_id=f"summary/{day}/{user}", kind="summary", user=user, what=what, at_ms=at_ms)
    volume = sum((each.volume for each in own), Decimal(0))
    wear = sum((each.wear for each in own), Decimal(0))
    reached = sum(each.target is not None and each.volume >= each.target for each in own)
    pairs = sum(each.pairs for each in own)
    head = (
        f"{day}: {len(own)} users, {volume:.2f} USDT bought, {pairs} pairs, wear {wear:.2f} USDT, {reached} at target"
    )
    lines = [f"\n  {each.user}: {_day(each)}" for each in sorted(own, key=lambda each: (-each.volume, each.user))]
    left = len(lines) - NAMES_MAX
    more = f"\n  and {left} more: otoctl report --days 1" if left > 0 else ""
    return Notice(
        notice_id=f"summary/{day}", kind="summary", what=head + "".join(lines[:NAMES_MAX]) + more, at_ms=at_ms
    )


def _day(each: DaySum) -> str:
    of = f" of {each.target:.2f}" if each.target is not None else ""
    bps = f" ({each.wear_bps:.1f} bps)" if each.wear_bps is not None else ""
    return f"{each.volume:.2f}{of} USDT, {each.pairs} pairs, wear {each.wear:.2f}{bps}"


# -- rows


def row_of(notice: Notice, owed: Iterable[str], told_at: int | None = None) -> NoticeRow:
    return NoticeRow(
        notice_id=notice.notice_id,
        kind=notice.kind,
        user=notice.user,
        what=notice.what,
        happened_at=notice.at_ms,
        owed=" ".join(sorted(owed)),
        ended_at=told_at,
    )


def of_row(row: NoticeRow) -> Notice:
    kind: Any = row.kind  # an earlier version's, or a later one's: only a word in a message
    return Notice(notice_id=row.notice_id, kind=kind, user=row.user, what=row.what, at_ms=row.happened_at)


# -- repetition


class Repeats:
    """Of what is not important: at most one in so long, then with the number of those that were left out."""

    def __init__(self, repeat_ms: int) -> None:
        self._repeat_ms = repeat_ms
        self._told: dict[str, tuple[int, int]] = {}  # key → (told at, left out since)

    def pass_on(self, notice: Notice) -> Notice | None:
        assert notice.repeats is not None, notice
        told_ms, left_out = self._told.get(notice.repeats, (None, 0))
        if told_ms is not None and 0 <= notice.at_ms - told_ms < self._repeat_ms:
            self._told[notice.repeats] = (told_ms, left_out + 1)
            return None
        self._told[notice.repeats] = (notice.at_ms, 0)
        return replace(notice, what=f"{notice.what} ({left_out} more since it was told last)") if left_out else notice


# -- messages


class Message(Struct, frozen=True):
    title: str
    text: str


def message(notices: Sequence[Notice], *, instance: str, dropped: int, moment: Callable[[int], str]) -> Message:
    """All of them in one, oldest first. moment: ms as a time. dropped: so many others were lost to a full queue.

    Where there are too many details for a message, what has one reason becomes one line, with the first one's detail.
    """
    assert notices or dropped, "nothing to tell"
    lines = _lines(notices, moment, lambda notice: notice.what)
    if sum(map(len, lines)) > TEXT_MAX:
        lines = _lines(notices, moment, lambda notice: notice.what.partition(":")[0])
    if dropped:
        lines.insert(0, f"{dropped} notices were dropped, the queue was full; otoctl status has the state of now")
    text, kept = lines[0][:TEXT_MAX], 1
    while kept < len(lines) and len(text) + len(lines[kept]) < TEXT_MAX:
        text, kept = f"{text}\n{lines[kept]}", kept + 1
    if kept < len(lines):
        text += f"\nand {len(lines) - kept} more lines: otoctl system audit"
    kinds = dict.fromkeys(MARKS.get(notice.kind, notice.kind) for notice in notices)
    return Message(f"otod {instance}: {', '.join(kinds) or 'dropped'}", text)


def _lines(notices: Sequence[Notice], moment: Callable[[int], str], same: Callable[[Notice], str]) -> list[str]:
    """Users are gathered, other facts are not."""
    found: dict[tuple[str, str], list[Notice]] = {}
    for notice in notices:
        key = same(notice) if notice.user is not None else notice.notice_id
        found.setdefault((notice.kind, key), []).append(notice)
    return [_line(group, moment) for group in found.values()]


def _line(group: Sequence[Notice], moment: Callable[[int], str]) -> str:
    first = group[0]
    names = list(dict.fromkeys(notice.user for notice in group if notice.user is not None))
    who = ", ".join(names[:NAMES_MAX]) + (f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else "")
    others = len({notice.what for notice in group}) - 1
    details = f" (and {others} other details)" if others else ""
    times = f" ({len(group)} times)" if len(group) > max(len(names), 1) else ""
    mark = MARKS.get(first.kind, first.kind)
    return f"{moment(first.at_ms)} {mark} {who + ': ' if who else ''}{first.what}{details}{times}"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= WHY_MAX else f"{flat[:WHY_MAX]}…"

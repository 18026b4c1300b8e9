"""Permits: how many requests may leave, in which order (requirements "Exchange manners", wire § 10.1).

A request passes two gates: its session's own (a user's, or the public one), then the one of the address that all
sessions share. A `Gate` is a pure machine: tickets come in by lane, leave when

- the gate is open (`close` shuts it after a 429 or 418, for everybody behind this address),
- its token bucket holds one; the last `reserve` tokens are for cancels and reconciling reads alone,
- the hard ceiling of requests within any second is not reached, whatever the bucket holds (NFR-004),
- placements keep their distance from the last one of the same key (the symbol).

Cancels come first, then reconciling reads, then all others in the order of their arrival; within a lane it is always
first come, first served. A lane that must wait for its distance holds up nobody but itself. `Turnstile` lets callers
wait at a gate in trio time without a task of its own: one waiter, the one to be served next, carries the timer.
"""

from __future__ import annotations

import math
from collections import deque

import trio
from msgspec import Struct

from actors.ports import Lane

HARD_MAX = 10  # NFR-004: requests of one user within any second
HARD_WINDOW_S = 1.05  # a second, plus what the network may squeeze two requests together
RANK: dict[Lane, int] = {"cancel": 0, "reconcile": 1, "order": 2, "read": 2, "public": 2}
URGENT = 1  # ranks up to this one may use the reserve
NEAR_S = 1e-9  # two float times closer than this are one


class Allowance(Struct, frozen=True, kw_only=True):
    """A token bucket. per_s: tokens gained per second; burst: it holds at most; reserve: of these, for urgent lanes."""

    per_s: float
    burst: int
    reserve: int = 0


class Rates(Struct, frozen=True, kw_only=True):
    """Defaults: a real host. spacing_s: between placements per symbol. address_per_s None: no ceiling."""

    private: Allowance = Allowance(per_s=1, burst=3, reserve=1)
    public: Allowance = Allowance(per_s=2, burst=2)
    spacing_s: float = 0.5
    address_per_s: int | None = 10


REAL_HOST = Rates()
LOOPBACK = Rates(
    private=Allowance(per_s=10, burst=10, reserve=2),
    public=Allowance(per_s=10, burst=10),
    spacing_s=0,
    address_per_s=None,
)


class PermitStatistics(Struct, frozen=True, kw_only=True):
    """waiting: tickets at the gate; granted: since it was made; closed_for_s: until a penalty ends, 0 if none."""

    waiting: int
    granted: int
    closed_for_s: float


class Ticket:
    """One request at a gate. state: it waits, was granted, or left without waiting any longer."""

    __slots__ = ("arrival", "event", "granted_s", "key", "lane", "left", "scope")

    def __init__(self, lane: Lane, key: str, arrival: int) -> None:
        self.lane = lane
        self.key = key
        self.arrival = arrival
        self.granted_s: float | None = None
        self.left = False
        self.event: trio.Event | None = None  # both belong to the turnstile, made only when somebody waits
        self.scope: trio.CancelScope | None = None


class Gate:
    """Who may pass when. Pure: every method is told the time (trio seconds, never smaller than before)."""

    def __init__(
        self,
        allowance: Allowance | None,
        *,
        ceiling: int | None = None,
        window_s: float = HARD_WINDOW_S,
        spacing_s: float = 0.0,
    ) -> None:
        """allowance None: no bucket. ceiling: at most so many within any window_s. spacing_s: between two of a key."""
        assert allowance is None or allowance.per_s > 0, allowance
        assert allowance is None or 0 <= allowance.reserve < allowance.burst, allowance
        assert ceiling is None or ceiling > 0, ceiling
        self._allowance = allowance
        self._empty_s = -math.inf  # when the bucket held, or will hold, no token: it fills from there on
        self._ceiling = ceiling
        self._window_s = window_s
        self._recent: deque[float] = deque()  # times of the last `ceiling` grants
        self._spacing_s = spacing_s
        self._last_s: dict[str, float] = {}  # by key of a placement
        self._open_s = -math.inf
        self._queues: dict[tuple[int, str], deque[Ticket]] = {}  # by rank and, for placements, key
        self._arrivals = 0
        self._waiting = 0
        self._granted = 0

    def enter(self, lane: Lane, key: str = "") -> Ticket:
        """key: what placements are spaced by, the symbol; ignored for other lanes."""
        self._arrivals += 1
        ticket = Ticket(lane, key if lane == "order" else "", self._arrivals)
        name = (RANK[lane], f"order {ticket.key}" if lane == "order" else "")
        self._queues.setdefault(name, deque()).append(ticket)
        self._waiting += 1
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The ticket is not used: it stops waiting, or what it was granted is given back."""
        assert not ticket.left
        ticket.left = True
        if ticket.granted_s is None:
            self._waiting -= 1
            return
        if self._allowance is not None:
            self._empty_s -= 1 / self._allowance.per_s
        if ticket.granted_s in self._recent:
            self._recent.remove(ticket.granted_s)

    def close(self, until_s: float) -> None:
        """Nobody passes before until_s; then it starts with a single token instead of a burst."""
        self._open_s = max(self._open_s, until_s)
        if self._allowance is not None:
            self._empty_s = max(self._empty_s, self._open_s - 1 / self._allowance.per_s)

    def serve(self, now_s: float) -> list[Ticket]:
        """Grants all that may pass now, in their order."""
        served: list[Ticket] = []
        while (ticket := self._next_of(now_s)) is not None:
            self._grant(ticket, now_s)
            served.append(ticket)
        return served

    def next(self) -> tuple[float, Ticket] | None:
        """When the next waiting ticket may pass, as things stand, and which one; None if nobody waits."""
        heads = self._heads()
        if not heads:
            return None
        due = [(self._due_s(ticket), RANK[ticket.lane], ticket.arrival, ticket) for ticket in heads]
        first = min(due, key=lambda entry: entry[:3])
        return first[0], first[3]

    def statistics(self, now_s: float) -> PermitStatistics:
        return PermitStatistics(
            waiting=self._waiting, granted=self._granted, closed_for_s=max(0.0, self._open_s - now_s)
        )

    def _next_of(self, now_s: float) -> Ticket | None:
        for ticket in sorted(self._heads(), key=lambda ticket: (RANK[ticket.lane], ticket.arrival)):
            if self._due_s(ticket) <= now_s + NEAR_S:
                return ticket
        return None

    def _heads(self) -> list[Ticket]:
        heads = []
        for name, queue in list(self._queues.items()):
            while queue and queue[0].left:
                queue.popleft()
            if queue:
                heads.append(queue[0])
            else:
                del self._queues[name]  # keys come and go with the symbols
        return heads

    def _due_s(self, ticket: Ticket) -> float:
        """The earliest time at which this ticket may pass if no other passes before it."""
        due_s = self._open_s
        if self._allowance is not None:
            needed = 1 if RANK[ticket.lane] <= URGENT else 1 + self._allowance.reserve
            due_s = max(due_s, self._empty_s + needed / self._allowance.per_s)
        if self._ceiling is not None and len(self._recent) == self._ceiling:
            due_s = max(due_s, self._recent[0] + self._window_s)
        if ticket.lane == "order" and ticket.key in self._last_s:
            due_s = max(due_s, self._last_s[ticket.key] + self._spacing_s)
        return due_s

    def _grant(self, ticket: Ticket, now_s: float) -> None:
        queue = self._queues[RANK[ticket.lane], f"order {ticket.key}" if ticket.lane == "order" else ""]
        assert queue.popleft() is ticket
        ticket.granted_s = now_s
        self._waiting -= 1
        self._granted += 1
        if self._allowance is not None:
            full_s = now_s - self._allowance.burst / self._allowance.per_s
            self._empty_s = max(self._empty_s, full_s) + 1 / self._allowance.per_s
        if self._ceiling is not None:
            if len(self._recent) == self._ceiling:
                self._recent.popleft()
            self._recent.append(now_s)
        if ticket.lane == "order" and self._spacing_s > 0:
            self._last_s = {key: at_s for key, at_s in self._last_s.items() if at_s + self._spacing_s > now_s}
            self._last_s[ticket.key] = now_s


class Turnstile:
    """A gate that one can wait at. Cancellation safe: who leaves takes no permit along and holds up nobody."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def enter(self, lane: Lane, key: str = "") -> Ticket:
        """Waits for a permit. A caller that gets it and then does not send anything calls `give_back`."""
        ticket = self._gate.enter(lane, key)
        kept = False
        try:
            self._serve()
            if ticket.granted_s is not None:
                await trio.lowlevel.checkpoint()
            else:
                await self._wait(ticket)
            kept = True
        finally:
            if not kept:
                self.give_back(ticket)
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        self._gate.leave(ticket)
        self._serve()

    def close(self, seconds: float) -> None:
        self._gate.close(trio.current_time() + seconds)
        self._serve()

    def statistics(self) -> PermitStatistics:
        return self._gate.statistics(trio.current_time())

    async def _wait(self, ticket: Ticket) -> None:
        ticket.event = trio.Event()
        while ticket.granted_s is None:
            ticket.scope = trio.CancelScope()
            self._serve()  # may set this very scope's deadline
            if ticket.granted_s is None:
                with ticket.scope:
                    await ticket.event.wait()

    def _serve(self) -> None:
        """Lets pass who may, hands the timer to who is next. Who had it before wakes once for nothing."""
        for ticket in self._gate.serve(trio.current_time()):
            if ticket.event is not None:
                ticket.event.set()
        following = self._gate.next()
        if following is not None:
            due_s, ticket = following
            if ticket.scope is not None:
                ticket.scope.deadline = due_s


class Permits:
    """The permits of one session: its own gate, then that of the address."""

    def __init__(self, own: Turnstile, address: Turnstile) -> None:
        self._own = own
        self._address = address

    async def acquire(self, lane: Lane, key: str = "") -> None:
        """Waits until one request of this lane may leave. key: the symbol of a placement."""
        ticket = await self._own.enter(lane, key)
        kept = False
        try:
            await self._address.enter(lane)
            kept = True
        finally:
            if not kept:
                self._own.give_back(ticket)

    def penalise(self, seconds: float) -> None:
        """The exchange asked this address to wait: nobody behind it sends anything for so long, then cancels first."""
        self._address.close(seconds)

    @property
    def closed_for_s(self) -> float:
        """Seconds until the address may send again, 0 if it may now."""
        return self._address.statistics().closed_for_s

    def statistics(self) -> PermitStatistics:
        return self._own.statistics()


class AddressLimits:
    """All sessions behind one address of ours. One per process and REST host."""

    def __init__(self, rates: Rates = REAL_HOST) -> None:
        self._rates = rates
        ceiling = rates.address_per_s
        shared = None if ceiling is None else Allowance(per_s=ceiling, burst=ceiling, reserve=ceiling // 5)
        self._address = Turnstile(Gate(shared, ceiling=ceiling))

    def user(self) -> Permits:
        """Permits of a new private session."""
        gate = Gate(self._rates.private, ceiling=HARD_MAX, spacing_s=self._rates.spacing_s)
        return Permits(Turnstile(gate), self._address)

    def public(self) -> Permits:
        """Permits of a new public session."""
        return Permits(Turnstile(Gate(self._rates.public, ceiling=HARD_MAX)), self._address)

    def penalise(self, seconds: float) -> None:
        self._address.close(seconds)

    def statistics(self) -> PermitStatistics:
        return self._address.statistics()

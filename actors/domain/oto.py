"""The life of one OTO pair, from intent to record: its states, what happens to it, and what it wishes for.

Theory of operation. A pair is born by `begin` (a new plan) or `recover` (a pair that an earlier life left open), then
`step(state, event, at)` is the whole brain; the shell (actors/trader.py) performs the effects and brings their endings
back as events. Nothing here waits, looks at a clock or logs.

    begin ─▶ Placing ──accepted──▶ Open ──both legs filled──────────────────────────────▶ Closed
               │  └─no answer─▶ Unresolved ──adopted──▶ Open                                  ▲
               │                     └──absence proven───────────────────────────────────────┤
               └─refused──────────────────────────────────────────────────────────────────────┤
             Open ──deadline, cancel──▶ TimedOut ──durable──▶ Cancelling ──fill won──▶ Open   │
                                                                 └─both legs over─▶ Unwinding ─┤
    recover ─▶ Reconciling ──first clean look──▶ any of the above                              │
               Closed ──news of an order of it (a ghost)──▶ any of the above ──────────────────┘

Each turn has two halves: first the facts of the event are absorbed into the pair (domain/legs.py; monotone, so that
order, repetition and source of the news do not matter), then the state is settled against the facts. The only way to
place is the effect `Place`, which is emitted once, when the intent is durable; from Unresolved there is no way back to
it. A request that got no answer leaves its state by a proof (domain/proof.py) and by nothing else.

What *we* send at the wrong moment is a bug and raises IllegalEvent; what the exchange says is never illegal: at worst
it is an Alarm. A closed pair goes on listening: an order of it that lives after all opens it again.

The stages: opening.py from the request to an order that is known, ending.py from a cancel to two legs that are over,
unwind.py sells what they left, ghosts.py listens after the end; absorb.py takes in facts, turn.py is `step` itself.

Deadlines are mono_ms (trio's clock) inside the states; `next_due` tells the shell when the next Tick is wanted.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from actors.domain.orders import Execution, OrderReport, OrderView, Outcome, Refused
from actors.domain.pair import Pair
from actors.domain.proof import Absence, Look
from actors.domain.trading import PairOutcome, PauseReason, Phase
from actors.errors import Trouble

TROUBLE_PAUSES: dict[Trouble, PauseReason] = {
    "session": "AUTH_FAILED",
    "human": "VERIFICATION_REQUIRED",
    "blocked": "VERIFICATION_REQUIRED",
    "throttled": "RATE_LIMITED",
    "clock": "CLOCK_SKEW",
}
"""The pause that a request without an answer deserves besides its proof (design § 4). Others settle by the proof."""

CancelCause = Literal["timeout", "operator", "stop", "external", "rejected", "given_up"]
"""external: somebody else ended a leg; rejected: the exchange did not take the pending leg at its release; given_up:
what is left was handed to a human, so that nothing of it is sold any more, whatever is heard later."""


# -- states


class Live(Struct, frozen=True, kw_only=True):
    """What every living state carries besides its own.

    look_due: when to look at the account next. looking: a look is in the air. reading: orders whose fills are being
    read. read_due: not before. missing_ms: since when fills are missing. unheard_ms: since when REST has told more than
    the order stream. early: reports of orders that nobody knows yet.
    """

    pair: Pair
    look_due: int
    looking: bool = False
    reading: frozenset[str] = frozenset()
    read_due: int = 0
    missing_ms: int | None = None
    unheard_ms: int | None = None
    early: tuple[OrderReport, ...] = ()


class Placing(Struct, frozen=True, tag=True, kw_only=True):
    """The request is being made durable, or (durable) in the air."""

    live: Live
    durable: bool = False


class Unresolved(Struct, frozen=True, tag=True, kw_only=True):
    """The outcome is unknown; proofs are being gathered.

    twins: all candidates ever seen, once there were two: none of them is adopted any more, a human has to say.
    """

    live: Live
    absence: Absence
    twins: tuple[str, ...] = ()


class Open(Struct, frozen=True, tag=True, kw_only=True):
    """Accepted. deadline: of the leg that is to be filled now."""

    live: Live
    deadline: int


class TimedOut(Struct, frozen=True, tag=True, kw_only=True):
    """A cancel is decided; it is sent once its row is durable, at the latest at give_up (cancelling is safe)."""

    live: Live
    give_up: int


class Cancelling(Struct, frozen=True, tag=True, kw_only=True):
    """Until both legs are over.

    target: the leg that a cancel is to end first. began: mono_ms. tries: cancels so far; in_air: those without an
    ending yet. absence: the proof that a leg that was never released does not live.
    """

    live: Live
    target: Literal["working", "pending"]
    began: int
    retry_due: int
    tries: int = 0
    in_air: frozenset[str] = frozenset()
    absence: Absence | None = None


class Unwinding(Struct, frozen=True, tag=True, kw_only=True):
    """Selling what the pair left. rung: steps down from the market; due: next step, or next try."""

    live: Live
    rung: int
    due: int
    refusals: int = 0
    refusal: str = ""  # the last one, for people
    floor_rested: bool = False  # a sale has rested at the floor for one step
    in_air: frozenset[str] = frozenset()  # cancels of sales without an ending yet
    absence: Absence | None = None  # while the newest sale is unresolved
    twins: tuple[str, ...] = ()  # all candidates ever seen for it, once there were two


class Reconciling(Struct, frozen=True, tag=True, kw_only=True):
    """After a restart: nothing is decided before the exchange's own word was heard."""

    live: Live


class Closed(Struct, frozen=True, tag=True, kw_only=True):
    """Over, and still listening. twins: two orders were seen that could both be its ghost."""

    pair: Pair
    outcome: PairOutcome
    twins: tuple[str, ...] = ()


State = Placing | Unresolved | Open | TimedOut | Cancelling | Unwinding | Reconciling | Closed
LiveState = Placing | Unresolved | Open | TimedOut | Cancelling | Unwinding | Reconciling


# -- events: commands (ours, illegal at the wrong moment) and news


class Durable(Struct, frozen=True, tag=True):
    """The rows of the step that wished Persist(what) are on disk."""

    what: str


class Cancel(Struct, frozen=True, tag=True):
    """Command: end this pair."""

    cause: CancelCause


class Judged(Struct, frozen=True, tag=True):
    """Command, of a human who has looked at twins: this order is the one we asked for; None: none of them is."""

    order_id: str | None


class PlaceEnded(Struct, frozen=True, tag=True):
    outcome: Outcome


class SaleEnded(Struct, frozen=True, tag=True):
    number: int
    outcome: Outcome


NOT_DURABLE = Refused("NOT_DURABLE", "the store refuses the rows of its intent")
"""The ending of a sale that never left, because its intent can never become durable."""


class CancelEnded(Struct, frozen=True, tag=True):
    order_id: str
    outcome: Outcome


class Reported(Struct, frozen=True, tag=True):
    report: OrderReport


class Looked(Struct, frozen=True, tag=True):
    look: Look


class LookFailed(Struct, frozen=True, tag=True):
    trouble: Trouble
    text: str


class ExecutionsRead(Struct, frozen=True, tag=True):
    order_id: str
    executions: tuple[Execution, ...]


class ExecutionsFailed(Struct, frozen=True, tag=True):
    order_id: str
    text: str


class Priced(Struct, frozen=True, tag=True):
    """A fresh market price, for an unwinding pair."""

    price: Decimal


class Tick(Struct, frozen=True, tag=True):
    """Time has passed; sent at `next_due`."""


Event = (
    Durable | Cancel | Judged | PlaceEnded | SaleEnded | CancelEnded | Reported | Looked | LookFailed | ExecutionsRead
    | ExecutionsFailed | Priced | Tick
)  # fmt: skip


# -- effects


class Persist(Struct, frozen=True, tag=True):
    """Make the rows of this step durable, then say Durable(what)."""

    what: str


class Place(Struct, frozen=True, tag=True):
    """Send the OTO request of the pair's plan, once; its ending is PlaceEnded."""


class PlaceSale(Struct, frozen=True, tag=True):
    """Send the plain SELL of sale `number`, once; its ending is SaleEnded."""

    number: int


class CancelOrder(Struct, frozen=True, tag=True):
    order_id: str


class TakeLook(Struct, frozen=True, tag=True):
    """Look at the account: open orders and history of orders created since since_ms (wall)."""

    since_ms: int


class ReadExecutions(Struct, frozen=True, tag=True):
    order_id: str


class AskPause(Struct, frozen=True, tag=True):
    """The user must not open another pair; detail names orders and amounts."""

    reason: PauseReason
    detail: str


class Alarm(Struct, frozen=True, tag=True):
    """Something a human should read in the log; nothing changed by it."""

    what: str


class Unclaimed(Struct, frozen=True, tag=True):
    """A report that was kept in case it was ours turned out not to be."""

    report: OrderReport


class Finished(Struct, frozen=True, tag=True):
    outcome: PairOutcome


Effect = (
    Persist | Place | PlaceSale | CancelOrder | TakeLook | ReadExecutions | AskPause | Alarm | Unclaimed | Finished
)  # fmt: skip


def pair_of(state: State) -> Pair:
    return state.pair if isinstance(state, Closed) else state.live.pair


def wants_unknown(state: State) -> bool:
    """Whether a report of an order that nobody knows may be of this pair: not every request of it has led to an id."""
    pair = pair_of(state)
    if isinstance(state, Closed) and state.outcome == "cancelled" and pair.working.order_id is None:
        return False  # it was never sent, or both that it may be are dead
    nameless = pair.working.order_id is None or pair.pending.order_id is None
    return nameless or any(sale.leg.order_id is None and sale.state != "intent" for sale in pair.sales)


def may_be_of(state: State, order: OrderView) -> bool:
    """Whether an order that nobody owns may be of this pair: it is like a request that has led to no id so far."""
    pair = pair_of(state)
    alike = ((leg.side, leg.price) == (order.side, order.price) for leg in pair.legs() if leg.order_id is None)
    return wants_unknown(state) and order.symbol == pair.plan.symbol and any(alike)


def in_doubt(state: State) -> bool:
    """Whether the outcome of a request is unknown: nothing is resumed before that is settled (F72)."""
    return isinstance(state, Unresolved) or (isinstance(state, Unwinding) and state.absence is not None)


def phase_of(state: LiveState) -> Phase:
    """The outside word (contract § 4) of a living state."""
    match state:
        case Placing():
            return "placing"
        case Unresolved():
            return "unresolved"
        case TimedOut():
            return "timed_out"
        case Cancelling():
            return "cancelling"
        case Unwinding():
            return "unwinding"
        case Reconciling():
            return "reconciling"
        case Open(live=live):
            if live.pair.working.status == "FILLED":
                return "selling"
            return "partially_filled" if live.pair.working.told > 0 else "working"

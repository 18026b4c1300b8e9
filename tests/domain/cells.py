"""Every state and every event of the pair machine, by name; and what a cell of the two answers, in one line.

The table of all cells is cells.txt. An answer is: what becomes of the state, then the effects. `=` nothing changed,
`~` the same kind of state with other facts or deadlines, else the new kind (of Closed with its outcome); `illegal`:
IllegalEvent is raised, because only we could have sent this.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from actors.domain import oto
from actors.domain.orders import Accepted, NoAnswer, Refused
from actors.domain.proof import Look
from actors.domain.turn import step
from actors.errors import IllegalEvent
from tests.domain.pairkit import (
    ALL_SOLD,
    BOUGHT,
    FILLED,
    HELD,
    MARKET,
    PART_SOLD,
    PENDING,
    PLACED,
    RELEASE,
    RELEASED,
    ROUND_TRIP,
    SOLD_1,
    SOLD_2,
    WALL_MS,
    WORKING,
    Story,
    accepted,
    at,
    begun,
    execution,
    in_air,
    part,
    recovered,
    report,
    sale_report,
    sale_view,
    selling,
    view,
)

D = Decimal
NO_ANSWER = NoAnswer("no_reply", "timed out")
SALE = "51481851"
TWIN = view(order_id="777", list_id="8")
SALE_FILL = execution("1009", RELEASED, MARKET, side="SELL")

DEAD_WORKING = report("working", "CANCELED")
DEAD_PENDING = report("pending", "CANCELED", quantity=D(0))
DEAD_RELEASED = report("pending", "CANCELED")
DEAD_PART = report("working", "CANCELED", upto=400, upto_quote="90.76")


# -- states


def unresolved() -> Story:
    return in_air().tell(oto.PlaceEnded(NO_ANSWER), after=100)


def timed_out() -> Story:
    return accepted().tell(oto.Cancel("operator"))


def cancelling(*reports, cause="operator") -> Story:
    """A cancel of the working leg is in the air."""
    story = accepted().tell(*reports)
    if cause == "timeout":
        story.wait(300_000)
    else:
        story.tell(oto.Cancel(cause))
    return story.tell(oto.Durable("cancel"))


def sorry(story: Story, order_id=WORKING) -> Story:
    """The cancel was answered, and the look after it is over."""
    return story.tell(oto.CancelEnded(order_id, Refused("481099", "no such order"))).look(started=0)


def unseen() -> Story:
    """Cancelled; of the pending leg, which was never released, nothing is heard."""
    return sorry(cancelling().tell(DEAD_WORKING))


def beaten() -> Story:
    """The fill was faster than the cancel of a time-out, and the release is still to come."""
    return cancelling(cause="timeout").tell(FILLED)


def cancelling_pending() -> Story:
    return selling().tell(oto.Cancel("operator"), oto.Durable("cancel"))


def unwinding() -> Story:
    """Both legs are over, 869.47 are left; nothing is offered yet."""
    return cancelling_pending().tell(DEAD_RELEASED)


def unwinding_intent() -> Story:
    return unwinding().tell(oto.Priced(MARKET))


def unwinding_air() -> Story:
    return unwinding_intent().tell(oto.Durable("sale:1"))


def unwinding_unresolved() -> Story:
    return unwinding_air().tell(oto.SaleEnded(1, NO_ANSWER))


def unwinding_open() -> Story:
    return unwinding_air().tell(oto.SaleEnded(1, Accepted((SALE,))))


def unwinding_cancelling() -> Story:
    story = unwinding_open()
    return story.wait(6_000)


def closed(outcome) -> Story:
    match outcome:
        case "completed":
            return accepted().tell(*ROUND_TRIP)
        case "cancelled":
            return cancelling().tell(DEAD_WORKING, DEAD_PENDING)
        case "unwound":
            return unwinding_open().tell(sale_report(SALE, RELEASED, MARKET, "FILLED", fill=SALE_FILL))
        case "inventory_left":
            story = unwinding()
            for _ in range(5):
                story.tell(oto.Priced(MARKET)).tell(oto.Durable(f"sale:{len(story.pair.sales)}"))
                story.tell(oto.SaleEnded(len(story.pair.sales), Refused("481020", "balance")))
                story.ms += 2_000
            return story
        case "refused":
            return in_air().tell(oto.PlaceEnded(Refused("481020", "balance")))
        case "absent":
            story = unresolved()
            while story.kind != "Closed":
                story.look(after=7_000)
            return story
        case "external":
            return accepted().tell(DEAD_WORKING, DEAD_PENDING)
    raise AssertionError(outcome)


STATES = {
    "placing": begun,
    "placing_to_end": lambda: begun().tell(oto.Cancel("operator")),
    "placing_durable": in_air,
    "placing_reported": lambda: in_air().tell(PLACED, HELD),
    "unresolved": unresolved,
    "unresolved_twins": lambda: unresolved().look(view(), TWIN, after=100),
    "open": accepted,
    "open_lone": lambda: unresolved().look(view(list_id=None, position=None), after=100),
    "open_partly": lambda: accepted().tell(part()),
    "open_told": lambda: accepted().look(view("working", "PARTIALLY_FILLED", "400")),
    "open_bought": lambda: accepted().tell(FILLED),
    "open_selling": selling,
    "open_part_sold": lambda: selling().tell(PART_SOLD),
    "timed_out": timed_out,
    "timed_out_selling": lambda: selling().tell(oto.Cancel("operator")),
    "cancelling": cancelling,
    "cancelling_partly": lambda: cancelling(part()),
    "cancelling_late": lambda: cancelling(cause="timeout"),
    "cancelling_unseen": unseen,
    "cancelling_beaten": beaten,
    "cancelling_pending": cancelling_pending,
    "unwinding": unwinding,
    "unwinding_intent": unwinding_intent,
    "unwinding_air": unwinding_air,
    "unwinding_unresolved": unwinding_unresolved,
    "unwinding_open": unwinding_open,
    "unwinding_cancelling": unwinding_cancelling,
    "reconciling_nameless": lambda: recovered(begun().pair),
    "reconciling": lambda: recovered(accepted().pair),
    "reconciling_cancelled": lambda: recovered(cancelling(part()).pair),
    "reconciling_sale": lambda: recovered(unwinding_air().pair),
    "closed_completed": lambda: closed("completed"),
    "closed_cancelled": lambda: closed("cancelled"),
    "closed_unwound": lambda: closed("unwound"),
    "closed_inventory_left": lambda: closed("inventory_left"),
    "closed_refused": lambda: closed("refused"),
    "closed_absent": lambda: closed("absent"),
    "closed_external": lambda: closed("external"),
}


# -- events; a number of ms is how much later than the state they come


def looked(*views):
    return lambda ms: oto.Looked(Look(started=at(ms), since_ms=WALL_MS - 60_000, orders=views))


def _reported(frame):
    return lambda ms: oto.Reported(frame)


def _plain(event):
    return lambda ms: event


def _rest(*executions):
    return tuple(replace(e, source="rest") for e in executions)


LONG = 3_600_000  # everything that has a deadline is due

EVENTS = {
    "durable_intent": (0, _plain(oto.Durable("intent"))),
    "durable_cancel": (0, _plain(oto.Durable("cancel"))),
    "durable_sale": (0, _plain(oto.Durable("sale:1"))),
    "cancel": (0, _plain(oto.Cancel("stop"))),
    "judged_ours": (0, _plain(oto.Judged(TWIN.order_id))),
    "judged_nobodys": (0, _plain(oto.Judged(None))),
    "place_accepted": (0, _plain(oto.PlaceEnded(Accepted((WORKING, PENDING))))),
    "place_accepted_oddly": (0, _plain(oto.PlaceEnded(Accepted((WORKING,))))),
    "place_refused": (0, _plain(oto.PlaceEnded(Refused("000002", "illegal")))),
    "place_unsent": (0, _plain(oto.PlaceEnded(Refused("NOT_SENT", "no route", "not_sent")))),
    "place_unanswered": (0, _plain(oto.PlaceEnded(NoAnswer("throttled", "429")))),
    "sale_accepted": (0, _plain(oto.SaleEnded(1, Accepted((SALE,))))),
    "sale_accepted_oddly": (0, _plain(oto.SaleEnded(1, Accepted(())))),
    "sale_refused": (0, _plain(oto.SaleEnded(1, Refused("481020", "balance")))),
    "sale_unanswered": (0, _plain(oto.SaleEnded(1, NO_ANSWER))),
    "cancel_accepted": (0, _plain(oto.CancelEnded(WORKING, Accepted()))),
    "cancel_refused": (0, _plain(oto.CancelEnded(WORKING, Refused("481099", "no such order")))),
    "cancel_pending_accepted": (0, _plain(oto.CancelEnded(PENDING, Accepted()))),
    "cancel_sale_accepted": (0, _plain(oto.CancelEnded(SALE, Accepted()))),
    "cancel_sale_refused": (0, _plain(oto.CancelEnded(SALE, Refused("481099", "no such order")))),
    "cancel_unanswered": (0, _plain(oto.CancelEnded(WORKING, NoAnswer("session", "login expired")))),
    "told_placed": (0, _reported(PLACED)),
    "told_held": (0, _reported(HELD)),
    "told_part": (0, _reported(part())),
    "told_filled": (0, _reported(FILLED)),
    "told_released": (0, _reported(RELEASE)),
    "told_part_sold": (0, _reported(PART_SOLD)),
    "told_all_sold": (0, _reported(ALL_SOLD)),
    "told_working_dead": (0, _reported(DEAD_WORKING)),
    "told_part_dead": (0, _reported(DEAD_PART)),
    "told_held_dead": (0, _reported(DEAD_PENDING)),
    "told_pending_dead": (0, _reported(DEAD_RELEASED)),
    "told_pending_rejected": (0, _reported(report("pending", "REJECTED"))),
    "told_sale": (0, _reported(sale_report(SALE, RELEASED, MARKET))),
    "told_sale_filled": (0, _reported(sale_report(SALE, RELEASED, MARKET, "FILLED", fill=SALE_FILL))),
    "told_sale_dead": (0, _reported(sale_report(SALE, RELEASED, MARKET, "CANCELED"))),
    "told_odd_word": (0, _reported(report("working", "SLEEPING"))),
    "told_foreign": (0, _reported(report(order_id="555", list_id="4", price=D("0.2")))),
    "told_other_symbol": (0, _reported(replace(FILLED, symbol="ALPHA_22USDT"))),
    "look_empty": (1, looked()),
    "look_open": (1, looked(view(), view("pending", "PENDING"))),
    "look_dead": (1, looked(view("working", "CANCELED"), view("pending", "CANCELED", quantity=D(0)))),
    "look_bought": (1, looked(view("working", "FILLED", "869.56", "197.30724223"), view("pending", "NEW"))),
    "look_sale": (1, looked(sale_view(SALE, RELEASED, MARKET))),
    "look_sales": (1, looked(sale_view(SALE, RELEASED, MARKET), sale_view("51481852", RELEASED, MARKET))),
    "look_twins": (1, looked(view(), TWIN)),
    "look_failed": (0, _plain(oto.LookFailed("no_reply", "timed out"))),
    "read": (0, _plain(oto.ExecutionsRead(WORKING, _rest(BOUGHT)))),
    "read_sold": (0, _plain(oto.ExecutionsRead(PENDING, _rest(SOLD_1, SOLD_2)))),
    "read_failed": (0, _plain(oto.ExecutionsFailed(WORKING, "timed out"))),
    "priced": (0, _plain(oto.Priced(MARKET))),
    "tick": (0, _plain(oto.Tick())),
    "tick_late": (LONG, _plain(oto.Tick())),
}


# -- answers


def answer(state: str, event: str) -> str:
    story = STATES[state]()
    after_ms, make = EVENTS[event]
    ms = story.ms + after_ms
    try:
        after, effects = step(story.state, make(ms), at(ms))
    except IllegalEvent:
        return "illegal"
    if after == story.state:
        became = "="
    elif type(after) is type(story.state) and not isinstance(after, oto.Closed):
        became = "~"
    elif isinstance(after, oto.Closed):
        became = "~" if story.outcome == after.outcome else f"Closed {after.outcome}"
    else:
        became = type(after).__name__
    return " ".join([became, *map(_word, effects)])


def _word(effect: oto.Effect) -> str:
    match effect:
        case oto.AskPause(reason=reason):
            return f"!{reason}"
        case oto.Persist(what=what):
            return f"+persist({what})"
        case oto.CancelOrder(order_id=order_id):
            return f"+cancel({order_id[-2:]})"
        case oto.ReadExecutions(order_id=order_id):
            return f"+read({order_id[-2:]})"
        case oto.PlaceSale(number=number):
            return f"+sell({number})"
        case oto.Finished():
            return "+finished"
        case oto.TakeLook():
            return "+look"
        case _:
            return "+" + type(effect).__name__.lower()


def render() -> str:
    """The table as cells.txt holds it."""
    lines: list[str] = []
    for state in STATES:
        groups: dict[str, list[str]] = {}
        for event in EVENTS:
            groups.setdefault(answer(state, event), []).append(event)
        lines.append(f"[{state}]")
        lines += [f"{reply} <- {' '.join(events)}" for reply, events in groups.items()]
        lines.append("")
    return "\n".join(lines)


def read(text: str) -> dict[tuple[str, str], str]:
    """(state, event) → answer. Raises: AssertionError, a cell stands twice."""
    cells: dict[tuple[str, str], str] = {}
    state = ""
    for line in text.splitlines():
        if line.startswith("["):
            state = line.strip("[]")
        elif " <- " in line:
            reply, events = line.split(" <- ")
            for event in events.split():
                assert (state, event) not in cells, (state, event)
                cells[state, event] = reply
    return cells

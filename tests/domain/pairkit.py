"""What tests of the pair machine share: a token, a plan, words of the exchange, and a story that is told step by step.

Prices and quantities are those of the captured OTO (wire § 7.1): BUY 869.56 at 0.23, pending SELL at 0.0001.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from actors.domain import oto
from actors.domain.instrument import Filters, Instrument
from actors.domain.orders import Accepted, Execution, OrderReport, OrderView
from actors.domain.pair import Plan, Rules, accounts, wear
from actors.domain.proof import Instant, Look
from actors.domain.trading import TradingConfig
from actors.domain.turn import begin, next_due, recover, step

D = Decimal

SYMBOL = "ALPHA_373USDT"
BASE = "ALPHA_373"
WORKING, PENDING, LIST = "51481849", "51481850", "9001"
WALL_MS = 1_790_000_000_000
MONO_MS = 1_000_000

INSTRUMENT = Instrument(
    symbol=SYMBOL,
    base_asset=BASE,
    quote_asset="USDT",
    status="TRADING",
    price_precision=8,
    quantity_precision=2,
    base_precision=8,
    quote_precision=8,
    filters=Filters(
        tick_size=D("0.00000001"),
        min_price=D("0.00000001"),
        max_price=D(1000),
        step_size=D("0.01"),
        min_quantity=D("0.01"),
        max_quantity=D("9999999999"),
        min_notional=D("0.1"),
        max_notional=D(1_000_000),
    ),
)

CONFIG = TradingConfig(
    token="KOGE", target_volume=D(500), order_amount=D(200), buy_offset=D("1.4"), sell_offset=D("-99")
)

RULES = Rules(config=CONFIG, instrument=INSTRUMENT)

PLAN = Plan(
    pair_id="alice-2026-11-20-7",
    symbol=SYMBOL,
    day="2026-11-20",
    number=7,
    reference=D("0.2269"),
    buy_price=D("0.23"),
    sell_price=D("0.0001"),
    quantity=D("869.56"),
    intent_ms=WALL_MS,
    bid=D("0.2268"),
    ask=D("0.2269"),
    token="KOGE",
)

RELEASED = D("869.47")  # 869.56 less 0.0001 of commission, floored to the step
MARKET = D("0.2269")


def at(ms: int = 0) -> Instant:
    """`ms` after the beginning, on both clocks."""
    return Instant(WALL_MS + ms, MONO_MS + ms)


def plan(**changes) -> Plan:
    return replace(PLAN, **changes)


def rules(*, config=None, **changes) -> Rules:
    """config: changed keys of the configuration."""
    return replace(RULES, config=replace(CONFIG, **(config or {})), **changes)


def execution(fill_id, quantity, price=MARKET, *, side="BUY", source="stream", trade_id="7", time_ms=WALL_MS, **keys):
    """A fill with the exchange's own arithmetic: quote cut to 8, commission 0.0001 of what was received."""
    quantity, price = D(quantity), D(price)
    quote = (price * quantity).quantize(D("1e-8"), "ROUND_DOWN")
    received, asset = (quantity, BASE) if side == "BUY" else (quote, "USDT")
    made = Execution(
        fill_id=str(fill_id),
        trade_id=trade_id,
        price=price,
        quantity=quantity,
        quote=quote,
        commission=(received * D("0.0001")).quantize(D("1e-8"), "ROUND_HALF_UP"),
        commission_asset=asset,
        time_ms=time_ms,
        source=source,
    )
    return replace(made, **keys)


def report(leg="working", status="NEW", *, fill=None, upto=None, upto_quote=None, **keys) -> OrderReport:
    """One frame. fill: the Execution of a TRADE; upto: cumulative quantity after it (else its own quantity)."""
    working = leg == "working"
    cumulative = D(upto) if upto is not None else (fill.quantity if fill is not None else D(0))
    made = OrderReport(
        symbol=SYMBOL,
        order_id=WORKING if working else PENDING,
        list_id=LIST,
        position="working" if working else "pending",
        side="BUY" if working else "SELL",
        price=PLAN.buy_price if working else PLAN.sell_price,
        quantity=PLAN.quantity if working else (D(0) if status == "PENDING" else RELEASED),
        cumulative=cumulative,
        cumulative_quote=D(upto_quote) if upto_quote is not None else (fill.quote if fill is not None else D(0)),
        kind="TRADE" if fill is not None else status,
        status=status,
        created_ms=WALL_MS + 50,
        time_ms=fill.time_ms if fill is not None else WALL_MS + 50,
        sent_ms=WALL_MS + 60,
        event_id=fill.fill_id if fill is not None else "1",
        execution=fill,
    )
    return replace(made, **keys)


def sale_report(order_id, quantity, price, status="NEW", *, fill=None, **keys) -> OrderReport:
    """A frame of a plain SELL."""
    plain = {"list_id": None, "position": None, "quantity": D(quantity), "price": D(price)}
    return report("pending", status, fill=fill, order_id=order_id, **{**plain, **keys})


def view(leg="working", status="NEW", executed="0", executed_quote=None, **keys) -> OrderView:
    """A row of open orders or history."""
    working = leg == "working"
    quote = (D(executed) * MARKET).quantize(D("1e-8"), "ROUND_DOWN") if executed_quote is None else D(executed_quote)
    made = OrderView(
        symbol=SYMBOL,
        order_id=WORKING if working else PENDING,
        list_id=LIST,
        position="working" if working else "pending",
        side="BUY" if working else "SELL",
        status=status,
        price=PLAN.buy_price if working else PLAN.sell_price,
        quantity=PLAN.quantity if working else (D(0) if status == "PENDING" else RELEASED),
        executed=D(executed),
        executed_quote=quote,
        created_ms=WALL_MS + 50,
        updated_ms=WALL_MS + 50,
    )
    return replace(made, **keys)


def sale_view(order_id, quantity, price, status="NEW", executed="0", **keys) -> OrderView:
    plain = {"list_id": None, "position": None, "quantity": D(quantity), "price": D(price)}
    return view("pending", status, executed, order_id=order_id, **{**plain, **keys})


BOUGHT = execution("1003", "869.56", "0.22690469", trade_id="798491")
HELD = report("pending", "PENDING")
PLACED = report("working", "NEW")
FILLED = report("working", "FILLED", fill=BOUGHT)
RELEASE = report("pending", "NEW")
SOLD_1 = execution("1005", "200", "0.22690468", side="SELL", trade_id="798492")
SOLD_2 = execution("1006", "669.47", "0.22690468", side="SELL", trade_id="798492")
PART_SOLD = report("pending", "PARTIALLY_FILLED", fill=SOLD_1)
ALL_SOLD = report("pending", "FILLED", fill=SOLD_2, upto="869.47", upto_quote=SOLD_1.quote + SOLD_2.quote)

ROUND_TRIP = (PLACED, HELD, FILLED, RELEASE, PART_SOLD, ALL_SOLD)


def part(quantity="400", fill_id="1002", price=MARKET, **keys) -> OrderReport:
    """A partial fill of the working leg."""
    return report("working", "PARTIALLY_FILLED", fill=execution(fill_id, quantity, price), **keys)


class Story:
    """A pair as it is told: state, all effects so far, the effects of the last step, and the time."""

    def __init__(self, state, effects, ms=0):
        self.state = state
        self.ms = ms
        self.last = list(effects)
        self.effects = list(effects)
        self.steps = [(None, state, "Begin", ms)]  # (before, after, event, ms)

    def tell(self, *events, after=0):
        """Each event after `after` ms; a report, a look … may be given bare."""
        self.last = []
        for event in events:
            self.ms += after
            if isinstance(event, OrderReport):
                event = oto.Reported(event)
            before = self.state
            self.state, effects = step(before, event, at(self.ms))
            self.steps.append((before, self.state, type(event).__name__, self.ms))
            self.last += effects
        self.effects += self.last
        return self

    def look(self, *views, after=0, started=None, since_ms=WALL_MS - 60_000, **keys):
        """A look ends. started: ms when it began, else now."""
        self.ms += after
        look = Look(started=at(self.ms if started is None else started), since_ms=since_ms, orders=views, **keys)
        return self.tell(oto.Looked(look))

    def wait(self, ms=None):
        """Until the machine wants a tick (or for ms); then it gets one."""
        due = next_due(self.state)
        if ms is None:
            assert due is not None, self.state
            self.ms = max(self.ms, due - MONO_MS)
        else:
            self.ms += ms
        return self.tell(oto.Tick())

    def read(self, leg, *executions):
        """A read of fills ends. leg: a name of the pair's legs, or an order id."""
        order_id = {"working": WORKING, "pending": PENDING}.get(leg, leg)
        return self.tell(oto.ExecutionsRead(order_id, tuple(replace(e, source="rest") for e in executions)))

    # -- what there is

    @property
    def pair(self):
        return oto.pair_of(self.state)

    @property
    def accounts(self):
        return accounts(self.pair)

    @property
    def wear(self):
        return wear(self.pair)

    @property
    def kind(self):
        return type(self.state).__name__

    @property
    def outcome(self):
        return self.state.outcome if isinstance(self.state, oto.Closed) else None

    def wished(self, kind, *, ever=False):
        """The effects of this kind: of the last call, or all so far."""
        return [effect for effect in (self.effects if ever else self.last) if isinstance(effect, kind)]

    def pauses(self):
        """Reasons asked for so far, in order, each once."""
        return list(dict.fromkeys(effect.reason for effect in self.wished(oto.AskPause, ever=True)))


def begun(*, the_plan=PLAN, the_rules=RULES) -> Story:
    return Story(*begin(the_plan, the_rules, at()))


def in_air(**keys) -> Story:
    """The request has left."""
    return begun(**keys).tell(oto.Durable("intent"))


def accepted(**keys) -> Story:
    return in_air(**keys).tell(oto.PlaceEnded(Accepted((WORKING, PENDING))), after=50).tell(PLACED, HELD)


def selling(**keys) -> Story:
    """The working leg is filled, the pending leg released."""
    return accepted(**keys).tell(FILLED, RELEASE, after=100)


def recovered(pair, ms=0) -> Story:
    return Story(*recover(pair, at(ms)), ms)

"""What must hold once the world is healed and nothing lives: the daemon's records are the exchange's own, to the last
decimal (reliability § 2.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from actors.domain.day import date_of
from actors.paper.orders import Fill, Order
from actors.rows import AuditRow, ConfigRow, FillRow, OrderRow, PairRow, PauseRow, StateChangeRow
from tests.sim.options import SETTLED_S
from tests.sim.world import World, balance_of

ATOM = Decimal("1e-12")
"""Parts of the wear are rounded, each once."""

LEGS = {"OTO_WORKING": "working", "OTO_PENDING": "pending", "": "unwind"}
"""By an order's position at the exchange."""

LIES = frozenset({"edit_body", "edit_frame"})
"""Faults that make the exchange contradict itself."""

UNSOLD = ("inventory_left", "external")
"""Outcomes of pairs that may leave what could still be sold."""


def at_rest(world: World) -> Iterator[tuple[str, str | None]]:
    """(what is wrong, whose) once nothing lives: records against the exchange's own, to the last decimal."""
    yield from _conserved(world)
    yield from _among_users(world)
    for user in world.names:
        audit = world.exchange.audit(user)
        yield from ((what, user) for what in _fills(world, user, audit.fills))
        yield from ((what, user) for what in _orders(world, user, audit.orders))
        yield from ((what, user) for what in _pairs(world, user, audit.fills))
        yield from ((what, user) for what in _progress(world, user, audit.fills))
        yield from ((what, user) for what in _holdings(world, user))
        yield from ((what, user) for what in _phases(world, user))
    yield from _audited(world)
    yield from _no_more_than_needed(world)


def _among_users(world: World) -> Iterator[tuple[str, str | None]]:
    """The two legs of one pair may meet where the exchange releases a leg early; two users of ours never, but for a
    ghost: nobody knows of it until it is there."""
    owners = {order.key: name for name in world.names for order in world.exchange.audit(name).orders}
    for symbol, taker, maker in world.exchange.self_matches:
        users = owners[symbol, taker], owners[symbol, maker]
        unknown = {key for user in users for key in (*world.by_hand(user), *_ghosts(world, user))}
        if users[0] != users[1] and not {(symbol, taker), (symbol, maker)} & unknown:
            yield f"{users[0]}'s order {taker} traded with {users[1]}'s order {maker}", users[0]


def _ghosts(world: World, user: str) -> Iterator[tuple[str, int]]:
    """Orders that the exchange accepted so long after their intent that their absence was proven."""
    if not world.options.ghosts:
        return
    intents = {pair.pair_id: pair.intent_at for pair in world.disk.of(PairRow, user)}
    pair_of = {(row.symbol, row.order_id): row.pair_id for row in world.disk.of(OrderRow, user)}
    for order in world.exchange.audit(user).orders:
        intent_ms = intents.get(pair_of.get((order.symbol, str(order.order_id))) or "")
        if intent_ms is not None and order.created_ms - intent_ms > SETTLED_S * 1000:
            yield order.key


def _fills(world: World, user: str, fills: tuple[Fill, ...]) -> Iterator[str]:
    by_hand = world.by_hand(user)
    theirs = Counter(
        (f.symbol, str(f.order_id), f.side, f.price, f.quantity, f.quote, f.commission, f.commission_asset,
         str(f.trade_id), f.time_ms)
        for f in fills
        if (f.symbol, f.order_id) not in by_hand
    )  # fmt: skip
    ours = Counter(
        (f.symbol, f.order_id, f.side, f.price, f.quantity, f.quote_quantity, f.commission, f.commission_asset,
         f.trade_id, f.exchange_time)
        for f in world.disk.of(FillRow, user)
    )  # fmt: skip
    yield from (f"lost fill {fill}" for fill in (theirs - ours).elements())
    yield from (f"invented or doubled fill {fill}" for fill in (ours - theirs).elements())
    yield from _filed(world, user, fills)


def _filed(world: World, user: str, fills: tuple[Fill, ...]) -> Iterator[str]:
    """A fill is filed under its order's pair and leg, with the multiplier that its token had."""
    orders = {(row.symbol, row.order_id): row for row in world.disk.of(OrderRow, user)}
    points = {(fill.symbol, str(fill.order_id)): fill.mul_point for fill in fills}
    for row in world.disk.of(FillRow, user):
        order = orders.get((row.symbol, row.order_id))
        if order is None or (row.pair_id, row.leg, row.token) != (order.pair_id, order.leg, order.token):
            yield f"fill {row.fill_id} is filed under {row.pair_id}, {row.leg}, {row.token}, its order under {order}"
        if row.mul_point != points.get((row.symbol, row.order_id)):
            yield f"fill {row.fill_id} counts {row.mul_point} times"


def _orders(world: World, user: str, orders: tuple[Order, ...]) -> Iterator[str]:
    rows = {(row.symbol, row.order_id): row for row in world.disk.of(OrderRow, user)}
    by_hand = world.by_hand(user)
    if not world.faults.fired.keys() & LIES:
        for key in sorted(rows.keys() - {(order.symbol, str(order.order_id)) for order in orders}):
            yield f"order {key} is invented"
    for order in orders:
        row = rows.get((order.symbol, str(order.order_id)))
        if order.key in by_hand:
            yield from _foreign(world, user, order, row)
        elif row is None:
            yield f"order {order.order_id} ({order.side} {order.quantity} at {order.price}) is not known"
        elif row.pair_id is None:
            yield f"own order {order.order_id} counted as foreign"
        else:
            yield from _own(order, row)


def _own(order: Order, row: OrderRow) -> Iterator[str]:
    unreleased = order.position == "OTO_PENDING" and not order.released
    if (row.executed_quantity, row.executed_quote) != (order.cumulative, order.cumulative_quote):
        told = f"{row.executed_quantity} for {row.executed_quote}"
        yield f"order {order.order_id} has {told}, the exchange {order.cumulative} for {order.cumulative_quote}"
    elif row.status != order.status and not unreleased:
        yield f"order {order.order_id} is {row.status}, at the exchange {order.status}"
    if (row.leg, row.side, row.price) != (LEGS[order.position], order.side, order.price):
        yield f"order {order.order_id} is filed as {row.leg} {row.side} at {row.price}, not {order.side} {order.price}"
    if row.quantity != order.quantity and not unreleased:
        yield f"order {order.order_id} is filed with quantity {row.quantity}, not {order.quantity}"


def _foreign(world: World, user: str, order: Order, row: OrderRow | None) -> Iterator[str]:
    """What the user placed on the site is on record as far as it can be: a look reaches back ten minutes."""
    shown = world.shown(user, order.created_ms, order.updated_ms)
    if row is None:
        if shown:
            yield f"foreign order {order.order_id} is not on record"
        return
    if row.pair_id is not None:
        yield f"foreign order {order.order_id} counted as of {row.pair_id}"
    if shown and (row.status, row.executed_quantity) != (order.status, order.cumulative):
        told = f"{row.status}, {row.executed_quantity} executed"
        yield f"foreign order {order.order_id} is {told}, at the exchange {order.status}, {order.cumulative}"


def _pairs(world: World, user: str, fills: tuple[Fill, ...]) -> Iterator[str]:
    pair_of = {(row.symbol, row.order_id): row.pair_id for row in world.disk.of(OrderRow, user)}
    for pair in world.disk.of(PairRow, user):
        if pair.status != "closed":
            yield f"pair {pair.pair_id} is still {pair.status}"
            continue
        yield from _sums(pair, [f for f in fills if pair_of.get((f.symbol, str(f.order_id))) == pair.pair_id])
        if pair.outcome == "inventory_left" and not _said(world, pair):
            yield f"pair {pair.pair_id} left inventory, and no pause says so"


def _said(world: World, pair: PairRow) -> bool:
    """A pause for what is left began at the pair's end, or was in force then."""
    at = pair.closed_at or 0
    pauses = [pause for pause in world.disk.of(PauseRow, pair.user) if pause.reason == "INVENTORY_LEFT"]
    slack = abs(world.options.process.step_ms[0]) if world.options.process.steps_per_min else 1_000
    return any(p.since_at <= at + slack and (p.ended_at is None or p.ended_at >= at - slack) for p in pauses)


def _sums(pair: PairRow, own: list[Fill]) -> Iterator[str]:
    """A pair's money, from the exchange's fills; only what could still be sold is taken from the row's own dust."""
    base = pair.symbol.removesuffix("USDT")
    bought = sum((f.quantity for f in own if f.side == "BUY"), Decimal(0))
    sold = sum((f.quantity for f in own if f.side == "SELL"), Decimal(0))
    paid = sum((f.quote for f in own if f.side == "BUY"), Decimal(0))
    got = sum((f.quote for f in own if f.side == "SELL"), Decimal(0))
    fees = sum((f.commission for f in own if f.commission_asset == "USDT"), Decimal(0))
    cut = sum((f.commission for f in own if f.commission_asset == base), Decimal(0))
    if (pair.buy_quote, pair.sell_quote) != (paid, got):
        yield f"pair {pair.pair_id}: {pair.buy_quote} bought, {pair.sell_quote} sold, not {paid}, {got}"
        return
    average = paid / bought if bought else Decimal(0)
    sellable = bought - cut - sold - (pair.dust_quantity or 0)
    cost = paid - sellable * average - (got - fees)
    if pair.wear is None or abs(pair.wear - cost) > ATOM:
        yield f"pair {pair.pair_id}: wear {pair.wear}, not {cost}"
    if sellable < 0 or (sellable and pair.outcome not in UNSOLD):
        yield f"pair {pair.pair_id} is {pair.outcome}, and {sellable} of it could still be sold"
    parts = (pair.wear_fee, pair.wear_spread, pair.wear_slippage, pair.wear_unwind, pair.wear_dust)
    if pair.wear != sum((part for part in parts if part is not None), Decimal(0)):
        yield f"pair {pair.pair_id}: wear {pair.wear}, its parts {parts}"
    if pair.wear_fee is None or abs(pair.wear_fee - cut * average - fees) > ATOM:
        yield f"pair {pair.pair_id}: fees {pair.wear_fee}, not {cut * average + fees}"
    counted = sum((f.quote * f.mul_point for f in own if f.side == "BUY"), Decimal(0))
    if pair.counted_volume != counted:
        yield f"pair {pair.pair_id} counts {pair.counted_volume} for points, not {counted}"
    if pair.outcome in ("refused", "absent", "cancelled") and (bought or sold):
        yield f"pair {pair.pair_id} is {pair.outcome}, and {bought} was bought, {sold} sold"
    if pair.outcome in ("completed", "unwound") and not sold:
        yield f"pair {pair.pair_id} is {pair.outcome}, and nothing was sold"


def _progress(world: World, user: str, fills: tuple[Fill, ...]) -> Iterator[str]:
    shown = world.life.daemon.snapshot(user) if world.life is not None else None
    if shown is None or shown.progress is None:
        if world.life is not None:
            yield "nothing is shown"
        return
    progress, by_hand = shown.progress, world.by_hand(user)
    if progress.day != date_of(world.wall.now_ms()):
        yield f"progress is still of {progress.day}"
    own = [f for f in fills if (f.symbol, f.order_id) not in by_hand and date_of(f.time_ms) == progress.day]
    closed = [p for p in world.disk.of(PairRow, user) if p.status == "closed" and f"-{progress.day}-" in p.pair_id]
    fees: dict[str, Decimal] = {}
    for fill in own:
        fees[fill.commission_asset] = fees.get(fill.commission_asset, Decimal(0)) + fill.commission
    bought = [f for f in own if f.side == "BUY"]
    truth: dict[str, Any] = {
        "volume": sum((f.quote for f in bought), Decimal(0)),
        "counted_volume": sum((f.quote * world.listing.token_of(f.symbol).mul_point for f in bought), Decimal(0)),
        "fees": tuple(sorted((asset, fee) for asset, fee in fees.items() if fee)),
        "wear": sum((p.wear for p in closed if p.wear is not None), Decimal(0)),
        "pairs": len(closed),
        "closed_volume": sum((p.buy_quote for p in closed), Decimal(0)),
    }
    for name, value in truth.items():
        if getattr(progress, name) != value:
            yield f"progress of {progress.day} shows {name} {getattr(progress, name)}, not {value}"
    pauses = sorted(row.reason for row in world.disk.of(PauseRow, user) if row.ended_at is None)
    if sorted(pause.reason for pause in shown.pauses) != pauses:
        yield f"pauses {pauses} are in force, and shown are {shown.pauses}"


def _holdings(world: World, user: str) -> Iterator[str]:
    """What the user had from elsewhere is still there."""
    options = next(one for one in world.options.users if one.name == user)
    for asset, amount in world.holdings(options):
        left = balance_of(world.exchange, user, asset)
        if world.rules.commission_from_free:  # then the exchange itself takes it from what the user has (wire § 7.4)
            fills = world.exchange.audit(user).fills
            left += sum((fill.commission for fill in fills if fill.commission_asset == asset), Decimal(0))
        if left < amount:
            yield f"{amount - left} {asset} of the user's own holdings are gone"


def _conserved(world: World) -> Iterator[tuple[str, str | None]]:
    exchange = world.exchange
    sums: dict[str, Decimal] = {}
    for name in exchange.accounts():
        audit = exchange.audit(name)
        for assets in audit.wallets.wallets.values():
            for asset, (free, locked) in assets.items():
                sums[asset] = sums.get(asset, Decimal(0)) + free + locked
        for asset, amount in audit.incoming.items():
            sums[asset] = sums.get(asset, Decimal(0)) + amount
    ledger = exchange.ledger()
    for column, sign in (("fees", 1), ("external", 1), ("deposited", -1)):
        for asset, amount in ledger[column].items():
            sums[asset] = sums.get(asset, Decimal(0)) + sign * amount
    yield from ((f"money is not conserved: {amount} {asset}", None) for asset, amount in sums.items() if amount)


def _audited(world: World) -> Iterator[tuple[str, str | None]]:
    """Every pause and every end of one has an audit row of its own; who is removed takes his pauses along."""
    audit = world.disk.all(AuditRow)
    told = Counter((row.user, row.action, row.after if row.action == "pause" else row.before) for row in audit)
    removed = {(row.user, row.happened_at) for row in audit if row.action == "user.remove"}
    happened: Counter[tuple[str | None, str, str | None]] = Counter()
    for pause in world.disk.all(PauseRow):
        happened[pause.user, "pause", pause.reason] += 1
        if pause.ended_at is not None and (pause.user, pause.ended_at) not in removed:
            happened[pause.user, "resume", pause.reason] += 1
    for (user, what, reason), times in (happened - told).items():
        yield f"{times} times {what} of {reason} is not in the audit", user
    entries = {(row.user, row.happened_at) for row in audit}
    for config in world.disk.all(ConfigRow):
        if (config.user, config.changed_at) not in entries:
            yield f"revision {config.revision} is not in the audit", config.user


def _phases(world: World, user: str) -> Iterator[str]:
    """The record of a pair's changes is a chain from its beginning to its end; and no pair was ever called refused
    (or absent, but for ghosts) of which the exchange has orders, whatever was found out and put right later."""
    last: dict[str, str] = {}
    accepted = {row.pair_id for row in world.disk.of(OrderRow, user)}
    never = ("closed refused",) if world.options.ghosts else ("closed refused", "closed absent")
    for row in sorted(world.disk.of(StateChangeRow, user), key=lambda row: row.seq):
        if row.pair_id is not None:
            was = last.get(row.pair_id, "idle")
            if row.from_phase != was:
                yield f"pair {row.pair_id} went from {row.from_phase} to {row.to_phase}, and was {was}"
            last[row.pair_id] = row.to_phase
            if row.to_phase in never and row.pair_id in accepted:
                yield f"pair {row.pair_id} was {row.to_phase}, and the exchange had accepted it"
    for pair in world.disk.of(PairRow, user):
        if pair.status == "closed" and last.get(pair.pair_id) != f"closed {pair.outcome}":
            yield f"pair {pair.pair_id} is {pair.outcome}, its last change is to {last.get(pair.pair_id)}"


def _no_more_than_needed(world: World) -> Iterator[tuple[str, str | None]]:
    """One trader for each user, a feed for each token in use: what was removed or changed leaves no actor behind."""
    if world.life is None:
        return
    families = {node.path: {child.path for child in node.children} for node in world.life.daemon.tree().children}
    configs = {row.user: row for row in sorted(world.disk.all(ConfigRow), key=lambda row: row.revision)}
    tokens = {msgspec.json.decode(configs[user].document)["token"] for user in world.names}
    for family, needed in (("traders", world.names), ("feeds", tokens)):
        if surplus := sorted(families[family] - {f"{family}/{name}" for name in needed}):
            yield f"nobody needs {', '.join(surplus)}", None

"""Bugs on purpose: does the simulation find them? `python -m tests.sim.planted` prints how many seeds each one took.

A plant replaces one function of the daemon by one that is wrong, as a careless hand would write it. A plant that no
seed catches says that the world is too kind, or that a checker looks away.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from decimal import Decimal
from typing import Any

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors import book, guard, outlook, records, store, trader, trader_tasks
from actors.adapters import exchange, sim_store
from actors.domain import absorb, ending, gate, ghosts, legs, opening, oto, pair, turn, unwind
from actors.domain.orders import Accepted, NoAnswer, Refused
from actors.messages import Granted
from actors.ports import Asked
from supervisor import wiring
from tests.sim.find import attempt, progress
from tests.sim.overlooked import OVERLOOKED
from tests.sim.plant import Plant, doubtful, planted

SEEDS_MAX = 200

# -- the bugs


def _ack_before_commit(right: Any) -> Any:
    def write(self: Any, rows: Any, then: tuple[object, ...] = ()) -> None:
        right(self, rows)
        if then:
            self._post(trader_tasks.Acked(then))

    return write


def _commit_later(right: Any) -> Any:
    """The store acks what its database has not written yet."""

    async def durable(self: Any, groups: Any) -> Any:
        waiting = getattr(self, "late", [])
        self.late = groups
        return (None,) * len(groups) if not waiting else (await right(self, waiting) and (None,) * len(groups))

    return durable


def _place_again(right: Any) -> Any:
    async def place(self: Any, *args: Any, **kw: Any) -> Any:
        outcome = await right(self, *args, **kw)
        return await right(self, *args, **kw) if isinstance(outcome, NoAnswer) else outcome

    return place


def _no_answer_is_refused(right: Any) -> Any:
    async def place(self: Any, *args: Any, **kw: Any) -> Any:
        outcome = await right(self, *args, **kw)
        return Refused("NOT_SENT", "gone", trouble="not_sent") if isinstance(outcome, NoAnswer) else outcome

    return place


def _one_look(right: Any) -> Any:
    return lambda absence, *, looks, settle_ms: absence.last_ms is not None


def _drop_early(right: Any) -> Any:
    return lambda self, report: None


def _filled_is_complete(right: Any) -> Any:
    return property(lambda leg: leg.terminal)


def _by_trade_id(right: Any) -> Any:
    """Fills are one if their trade ids are."""

    def with_fill(leg: Any, execution: Any, upto: Decimal) -> Any:
        return right(leg, replace(execution, fill_id=execution.trade_id), upto)

    return with_fill


def _forget_pauses(right: Any) -> Any:
    def init(self: Any, world: Any, record: Any) -> None:
        right(self, world, replace(record, record=replace(record.record, pauses=())))

    return init


def _resume_by_itself(right: Any) -> Any:
    return lambda pause, facts: True


def _sell_all_that_was_planned(right: Any) -> Any:
    def sellable(of: Any, price: Decimal) -> Decimal:
        return of.plan.quantity if right(of, price) > 0 else Decimal(0)

    return sellable


def _sell_commission_too(right: Any) -> Any:
    return property(lambda sums: sums.bought - sums.sold + Decimal("0.5"))


def _ignore_ghosts(right: Any) -> Any:
    return lambda closed, event, at: (closed, (), None)


def _never_time_out(right: Any) -> Any:
    def settle(turn: Any, state: Any) -> None:
        right(turn, replace(state, deadline=turn.at.mono_ms + 10**9))

    return settle


def _place_anew_after_a_restart(right: Any) -> Any:
    def resume(turn: Any) -> None:
        if turn.pair.working.order_id is None:
            turn.state = oto.Placing(live=turn.live, durable=True)
            turn.wish(oto.Place())
        else:
            right(turn)

    return resume


def _cancelled_is_over(right: Any) -> Any:
    def ended(turn: Any, state: Any, event: Any) -> None:
        if isinstance(event.outcome, Accepted):
            turn.close("cancelled")
        else:
            right(turn, state, event)

    return ended


def _no_commission(right: Any) -> Any:
    return lambda *args: replace(right(*args), commission=Decimal(0))


def _own_time(right: Any) -> Any:
    """A fill counts for the day on which we heard of it, at our own time."""

    def row(owner: Any, of: Any, leg: Any, fill: Any, now_ms: int) -> Any:
        return replace(right(owner, of, leg, fill, now_ms), exchange_time=now_ms)

    return row


def _count_again(right: Any) -> Any:
    def book_fill(self: Any, at_ms: int, row: Any, sign: int) -> None:
        right(self, at_ms, row, sign)
        if row.source == "stream" and sign > 0 and self.last_fill is not None and self.last_fill.leg == row.leg:
            right(self, at_ms, row, sign)

    return book_fill


def _always_permitted(right: Any) -> Any:
    async def permit(self: Any, feed: Any, plan: Any) -> None:
        await trio.lowlevel.checkpoint()
        self._post(trader_tasks.Permitted(plan, Granted()))

    return permit


def _never_over(right: Any) -> Any:
    return lambda self, pair_id: None


def _deaf_to_stop(right: Any) -> Any:
    return lambda facts: right(replace(facts, wanted="running"))


def _deaf_to_pauses(right: Any) -> Any:
    return lambda facts: right(replace(facts, pauses=()))


def _lose_rows_at_a_crash(right: Any) -> Any:
    async def write(self: Any, rows: Any) -> None:
        with trio.move_on_after(0.05):
            await right(self, rows)

    return write


def _look_too_short(right: Any) -> Any:
    return lambda self: (since + 120_000 for since in right(self))


def _no_way_back(right: Any) -> Any:
    return 0


def _wear_without_fees(right: Any) -> Any:
    def wear(of: Any, sellable: Decimal = Decimal(0)) -> Any:
        cost = right(of, sellable)
        return replace(cost, total=cost.total - cost.fee)

    return wear


def _no_audit(right: Any) -> Any:
    def pause(self: Any, reason: Any, detail: str) -> None:
        write, self.write = self.write, lambda rows, then=(): write([r for r in rows if r.TABLE != "audit"], then)
        right(self, reason, detail)
        self.write = write

    return pause


def _first_page_only(right: Any) -> Any:
    async def history(self: Any, **kw: Any) -> Any:
        return (await right(self, **kw))[:1]

    return history


def _one_read_is_a_look(right: Any) -> Any:
    """Open orders alone: what has just been filled is in neither list."""

    async def history(self: Any, **kw: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return ()

    return history


def _ignore_skew(right: Any) -> Any:
    return lambda facts: None


def _overwrite_status(right: Any) -> Any:
    return lambda new, old: True


def _overshoot(right: Any) -> Any:
    """A pair is begun on a permit that was given before the operator's word."""

    def begin(self: Any, plan: Any) -> None:
        if self.busy():
            self.guard.over(plan.pair_id)
            return
        self.book.number_taken(plan.day, plan.number)
        state, effects = turn.begin(plan, self.book.rules(self.settings), self.now())
        self._moved(None, state, "Begin", effects)

    return begin


def _forget_recent(right: Any) -> Any:
    def answer(disk: Any, question: Any, now_ms: int) -> Any:
        found = right(disk, question, now_ms)
        if isinstance(found, dict):
            return {user: replace(record, open_pairs=()) for user, record in found.items()}
        return found

    return answer


def _number_by_memory(right: Any) -> Any:
    """Pair numbers begin at 1 in each life."""

    def init(self: Any, world: Any, record: Any) -> None:
        right(self, world, replace(record, day=replace(record.day, last_number=0)))

    return init


def _sale_again(right: Any) -> Any:
    """A sale without an answer counts as refused, and the next one is sent."""

    def doubt(turn: Any, sale: Any) -> None:
        unwind._put(turn, replace(sale, state="refused"))

    return doubt


def _users_share_a_crash(right: Any) -> Any:
    def happened(self: Any, it: Any) -> None:
        right(self, it)
        if it.what == "crashed" and it.path.startswith("traders/"):
            for user in self.users():
                if not it.path.endswith(user) and f"traders/{user}" in self._tree.running():
                    self._tree.crash(f"traders/{user}", "shared")

    return happened


def _task_stays(right: Any) -> Any:
    def closed(self: Any, of: Any) -> None:
        right(self, of)
        self._trader.nursery.start_soon(trio.sleep_forever, name="left over")

    return closed


def _never_finishes(right: Any) -> Any:
    async def pump(self: Any, inbox: Any) -> None:
        while True:
            message = await inbox.take()
            self.post(trader.desk.Command(message) if isinstance(message, Asked) else trader.desk.News(message))

    return pump


PLANTS: tuple[Plant, ...] = (
    Plant("the request leaves before its intent is durable", ((trader_tasks.Tasks, "write", _ack_before_commit),)),
    Plant("the store acks before it commits", ((store.Store, "_durable", _commit_later),)),
    Plant("a placement without an answer is sent again", ((exchange.PrivateGateway, "place_oto", _place_again),)),
    Plant("no answer counts as refused", ((exchange.PrivateGateway, "place_oto", _no_answer_is_refused),), "doubtful"),
    Plant("one look proves absence", ((opening, "proven", _one_look), (unwind, "proven", _one_look)), "doubtful"),
    Plant("a frame that outran the reply is dropped", ((absorb.Turn, "_unknown", _drop_early),), "none"),
    Plant("a terminal leg counts as complete", ((legs.Leg, "complete", _filled_is_complete),)),
    Plant("fills are told apart by trade id", ((legs, "_with_fill", _by_trade_id),)),
    Plant("pauses are forgotten by a restart", ((book.Book, "__init__", _forget_pauses),)),
    Plant("every pause ends by itself", ((gate, "resumable", _resume_by_itself),)),
    Plant("unwinding sells what was planned", ((unwind, "leftover_sellable", _sell_all_that_was_planned),)),
    Plant("unwinding sells more than was bought", ((pair.Accounts, "leftover", _sell_commission_too),)),
    Plant("a ghost is ignored", ((ghosts, "heard", _ignore_ghosts),)),
    Plant("a pair never times out", ((opening, "settle", _never_time_out),)),
    Plant("a restart places an open intent anew", ((opening, "resume", _place_anew_after_a_restart),)),
    Plant("an accepted cancel counts as the end", ((ending, "cancel_ended", _cancelled_is_over),)),
    Plant("commissions are not recorded", ((records, "fill_row", _no_commission),), "none"),
    Plant("fills are dated by our own clock", ((records, "fill_row", _own_time),), "none"),
    Plant("volume counts second fills twice", ((book.Book, "_book_fill", _count_again),)),
    Plant("the self-trade guard permits everything", ((trader_tasks.Tasks, "permit", _always_permitted),)),
    Plant("the guard is not told that a pair is over", ((guard.Guard, "over", _never_over),), "none"),
    Plant("stop is not heeded", ((gate, "decide", _deaf_to_stop),)),
    Plant("pauses are not heeded", ((gate, "decide", _deaf_to_pauses),)),
    Plant("rows are given up when the store is slow", ((store.StoreRows, "write", _lose_rows_at_a_crash),)),
    Plant(
        "looks begin after the intent",
        ((book.Book, "look_since", _look_too_short), (outlook, "SURVEY_BACK_MS", _no_way_back)),
        "doubtful",
    ),
    Plant("wear leaves out the fees", ((records, "wear", _wear_without_fees),), "none"),
    Plant("a pause is not audited", ((book.Book, "pause", _no_audit),)),
    Plant("history is read one row deep", ((exchange.PrivateGateway, "history", _first_page_only),)),
    Plant("looks leave out the history", ((exchange.PrivateGateway, "history", _one_read_is_a_look),)),
    Plant("the clocks' difference is ignored", ((gate, "clock_skew", _ignore_skew),)),
    Plant("late frames take a leg back", ((legs, "supersedes", _overwrite_status),)),
    Plant("a permit is used whatever came since", ((trader.Trader, "_begin", _overshoot),)),
    Plant("open pairs are forgotten by a restart", ((sim_store, "answer", _forget_recent),)),
    Plant("pair numbers begin anew in each life", ((book.Book, "__init__", _number_by_memory),)),
    Plant("a sale without an answer is sent again", ((unwind, "_doubt", _sale_again),)),
    Plant("each closed pair leaves a task", ((outlook.Outlook, "closed", _task_stays),)),
    Plant("a trader never finishes its letters", ((trader.Trader, "_pump", _never_finishes),)),
    Plant("one trader's crash takes others along", ((wiring.Daemon, "_happened", _users_share_a_crash),)),
    *OVERLOOKED,
)


def seeds_to_catch(number: int, *, seeds: Iterable[int], users: int = 3, minutes: float = 3) -> Caught:
    """Of the plant with this number: how many seeds it took, and what the first violation was."""
    plant = PLANTS[number]
    began_s = time.perf_counter()  # sim-ok: a figure about the real machine
    took, what = 0, ""
    with planted(plant):
        for count, seed in enumerate(seeds, start=1):
            options = doubtful(seed, users=users, minutes=minutes) if plant.profile == "doubtful" else None
            found = attempt(seed, users, minutes, plant.profile, options)
            if found.wrong:
                took, what = count, f"seed {seed}: {found.wrong[0]}"
                break
    return Caught(number=number, seeds=took, what=what, took_s=time.perf_counter() - began_s)  # sim-ok: see above


class Caught(Struct, frozen=True, kw_only=True):
    """seeds: how many it took, 0: none caught it."""

    number: int
    seeds: int
    what: str
    took_s: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.planted", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, metavar="N", help=f"at most; {SEEDS_MAX}")
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="S", help="first seed (1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="plants whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="processes")
    args = parser.parse_args()
    os.nice(10)
    chosen = [number for number, plant in enumerate(PLANTS) if args.only in plant.name]
    if not chosen or args.seeds < 1 or args.jobs < 1:
        parser.error("--only names no planted bug, or --seeds or --jobs is less than 1")
    seeds = range(args.first, args.first + args.seeds)
    missed, began_s = 0, time.perf_counter()  # sim-ok: see above
    with ProcessPoolExecutor(args.jobs) as pool:
        running = [pool.submit(seeds_to_catch, number, seeds=seeds) for number in chosen]
        for done, future in enumerate(as_completed(running), start=1):
            found = future.result()
            missed += not found.seeds
            name = PLANTS[found.number].name
            print(f"{found.seeds or 'NOT CAUGHT':>10}  {name:50} {found.took_s:6.1f} s  {found.what[:150]}", flush=True)
            took_s = time.perf_counter() - began_s  # sim-ok: see above
            progress(done, len(chosen), took_s, f"{missed} not caught")
    print(f"{len(chosen)} bugs, {len(chosen) - missed} caught within {args.seeds} seeds of 3 users x 3 minutes")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

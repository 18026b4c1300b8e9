"""More bugs on purpose: nearly all of them passed unseen until a checker learned to look at what they break."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from actors import book, commands, outlook, purse, records, snapshots
from actors.adapters import http
from actors.domain import day, gate, opening, oto, unwind
from actors.messages import Progress
from supervisor import users
from tests.sim.plant import Plant


def _deaf(right: Any) -> Any:
    return lambda self, *args, **kw: None


def _start_lifts(right: Any) -> Any:
    def start(self: Any, asked: Any) -> None:
        self._trader.book.lift(self._trader.book.pauses, asked.question.who)
        right(self, asked)

    return start


def _resume_unheard(right: Any) -> Any:
    def resume(self: Any, asked: Any) -> None:
        if self._refused(asked, heard=False):
            return
        self._lift(self._trader.book.pauses, asked.question.who, (commands.Answer(asked),))

    return resume


def _count_what_is_ordered(right: Any) -> Any:
    """Progress shows what the live pair will buy."""

    def progress(of: Any) -> Progress:
        shown = right(of)
        ordered = [oto.pair_of(state).plan for state in of.book.live.values()]
        return replace(shown, volume=shown.volume + sum((p.buy_price * p.quantity for p in ordered), Decimal(0)))

    return progress


def _progress_late(right: Any) -> Any:
    """Progress shows what had been bought when the last pair was closed."""

    def progress(of: Any) -> Progress:
        shown, last = right(of), of.world.snapshot.value
        live = of.book.live and last is not None and last.progress is not None and last.progress.day == shown.day
        return replace(shown, volume=last.progress.volume) if live else shown

    return progress


def _half_is_enough(right: Any) -> Any:
    def remaining(of: Any, config: Any, market: Any) -> Decimal:
        left = right(of, config, market)
        return left if left * 2 > config.target_volume else Decimal(0)

    return remaining


def _never_enough(right: Any) -> Any:
    return lambda of, config, market: max(right(of, config, market), Decimal(60))


def _closed_again(right: Any) -> Any:
    def closed(self: Any, before: Any, after: Any) -> None:
        right(self, None, after)

    return closed


def _no_fees(right: Any) -> Any:
    return lambda of, *args, **kw: replace(right(of, *args, **kw), fees=())


def _wrong_leg(right: Any) -> Any:
    return lambda *args: replace(right(*args), leg="working")


def _price_of_other_leg(right: Any) -> Any:
    return lambda owner, pair, leg, now_ms: replace(right(owner, pair, leg, now_ms), price=pair.plan.buy_price)


def _cancel_foreign(right: Any) -> Any:
    def foreign(self: Any, report: Any) -> None:
        right(self, report)
        pair = next((state.pair for state in self._trader.book._past.values()), None)
        if pair is not None and pair.plan.symbol == report.symbol:
            self._trader.spawn(self._trader.tasks.cancel, pair, report.order_id)

    return foreign


def _foreign_unseen(right: Any) -> Any:
    """An order by hand pauses nobody."""

    def pause(self: Any, reason: Any, detail: str) -> None:
        if reason != "EXTERNAL_ORDER":
            right(self, reason, detail)

    return pause


def _want_without_audit(right: Any) -> Any:
    def want(self: Any, wanted: Any, who: str, then: Any) -> None:
        write, self.write = self.write, lambda rows, then=(): write([r for r in rows if r.TABLE != "audit"], then)
        right(self, wanted, who, then)
        self.write = write

    return want


def _plan_without_audit(right: Any) -> Any:
    def plan(*args: Any, **kw: Any) -> Any:
        planned = right(*args, **kw)
        return replace(planned, rows=tuple(row for row in planned.rows if row.TABLE != "audit"))

    return plan


def _fee_is_spread(right: Any) -> Any:
    def wear(of: Any, sellable: Decimal = Decimal(0)) -> Any:
        cost = right(of, sellable)
        return replace(cost, fee=Decimal(0))

    return wear


def _no_interval(right: Any) -> Any:
    return lambda facts: right(replace(facts, closed_mono=None))


def _rich(right: Any) -> Any:
    """The balance is believed to be what it was."""

    def forget(self: Any) -> None:
        if self.free is None or self.short_since is not None:
            right(self)

    return forget


def _below_the_floor(right: Any) -> Any:
    def price(market: Any, step: Any, config: Any, average: Any, filters: Any) -> Any:
        found, floor = right(market, step, config, average, filters)
        return (found * Decimal("0.95")) // filters.tick_size * filters.tick_size, floor

    return price


def _dear(right: Any) -> Any:
    def prices(reference: Any, config: Any, filters: Any) -> Any:
        buy, sell = right(reference, config, filters)
        return buy * Decimal("1.01") // filters.tick_size * filters.tick_size, sell

    return prices


def _same_day(right: Any) -> Any:
    return lambda self, now_ms: None


def _changes_unsaid(right: Any) -> Any:
    return lambda *args, **kw: tuple(
        row for row in right(*args, **kw) if row.TABLE != "state_changes" or row.to_phase != "cancelling"
    )


def _ten_times_the_time(right: Any) -> Any:
    def settle(turn: Any, state: Any) -> None:
        late = turn.at.mono_ms < state.deadline + 9 * turn.pair.rules.timeout_ms
        right(turn, replace(state, deadline=turn.at.mono_ms + 1000) if late else state)

    return settle


def _old_headers(right: Any) -> Any:
    def renew(self: Any, cookies: Any, headers: Any) -> None:
        if not cookies:
            right(self, cookies, headers)

    return renew


def _lift_at_once(right: Any) -> Any:
    def auto_resume(self: Any, facts: Any) -> None:
        right(self, facts)
        for reason in self._gone:
            self._gone[reason] = min(self._gone[reason], facts.now_mono - gate.AUTO_RESUME_MS)

    return auto_resume


OVERLOOKED: tuple[Plant, ...] = (
    Plant("a new configuration is not heeded", ((book.Book, "configure", _deaf),)),
    Plant("start ends pauses too", ((commands.Commands, "_start", _start_lifts),)),
    Plant("a resume does not hear the exchange first", ((commands.Commands, "_resume", _resume_unheard),)),
    Plant("progress shows what is ordered as bought", ((snapshots, "_progress", _count_what_is_ordered),), "none"),
    Plant("progress shows a live pair's fills at its end", ((snapshots, "_progress", _progress_late),), "none"),
    Plant("half the target is enough", ((gate, "remaining", _half_is_enough),), "none"),
    Plant("no target is enough", ((gate, "remaining", _never_enough),), "none"),
    Plant("a pair that is closed anew counts anew", ((book.Book, "_closed", _closed_again),)),
    Plant("the day has no fees", ((day, "with_fill", _no_fees),), "none"),
    Plant("fills are filed under the wrong leg", ((records, "fill_row", _wrong_leg),), "none"),
    Plant("orders are filed with the buy's price", ((records, "_order_row", _price_of_other_leg),), "none"),
    Plant("orders placed by hand are cancelled", ((outlook.Outlook, "foreign", _cancel_foreign),)),
    Plant("orders placed by hand pause nobody", ((book.Book, "pause", _foreign_unseen),)),
    Plant("start and stop are not audited", ((book.Book, "want", _want_without_audit),)),
    Plant("changes of users are not audited", ((users, "plan", _plan_without_audit),)),
    Plant("wear's parts are not its sum", ((records, "wear", _fee_is_spread),), "none"),
    Plant("the interval between pairs is not kept", ((gate, "_wait", _no_interval),), "none"),
    Plant("a balance is read once", ((purse.Purse, "forget", _rich),), "none"),
    Plant("unwinding sells below its floor", ((unwind, "sale_price", _below_the_floor),)),
    Plant("pairs are bought a percent too dear", ((gate, "leg_prices", _dear),), "none"),
    Plant("the day never ends", ((book.Book, "roll_over", _same_day),)),
    Plant("cancelling is not on record", ((book, "changes", _changes_unsaid),)),
    Plant("a pair has ten times its time", ((opening, "settle", _ten_times_the_time),)),
    Plant("new credentials are not used", ((http.HttpSession, "renew", _old_headers),)),
    Plant("pauses end by themselves at once", ((commands.Commands, "auto_resume", _lift_at_once),)),
)

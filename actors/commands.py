"""What operators may ask of a trader, and how its pauses end.

An answer comes when what it acknowledges is durable. Resuming has a gate: the exchange is heard first, then the pauses
whose causes are gone are lifted, by the operator who asked, or by the trader itself where the user has opted in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from actors.domain import gate, oto
from actors.domain.trading import Pause, PauseReason
from actors.errors import Refusal
from actors.messages import (
    CancelPair,
    Configure,
    Describe,
    JudgeTwins,
    KeepKey,
    PauseTrading,
    RefreshTokens,
    ResumeTrading,
    StartTrading,
    StopTrading,
)
from actors.ports import Asked

if TYPE_CHECKING:
    from actors.trader import Trader

PROBE_MS = 15_000
"""While the exchange is unreachable it is looked at this often, so that the end of the trouble is noticed."""

TOLD_BY_A_LOOK: frozenset[PauseReason] = frozenset({"CLOCK_SKEW", "EXCHANGE_UNREACHABLE"})
"""A paused user without a pair asks the exchange for nothing, so what is known of these is as old as the pause."""


Known = dict[PauseReason, tuple[Pause, int]]
"""Pauses, and how often each had been asked for."""


class Answer(Struct, frozen=True):
    """Comes back from the outbox once the rows of a command are durable."""

    asked: Asked


class Commands:
    """The operator's side of one trader."""

    def __init__(self, trader: Trader) -> None:
        self._trader = trader
        self._resuming: list[tuple[Asked, Known]] = []  # with the pauses that were to end
        self._gone: dict[PauseReason, int] = {}  # since when (mono_ms) the cause of an auto-resumable pause is gone
        self._lifting: frozenset[PauseReason] = frozenset()
        self._probed = 0
        self.cancels_found = False  # stop --now came before the open pairs were known: they are cancelled when found

    def take(self, asked: Asked) -> None:
        """Does one command. Raises AssertionError for a question that nobody may ask a trader."""
        question = asked.question
        doing: dict[type, Callable[[Asked], None]] = {
            StartTrading: self._start,
            PauseTrading: self._pause,
            ResumeTrading: self._resume,
            StopTrading: self._stop,
            CancelPair: self._cancel_pair,
            JudgeTwins: self._judge,
            Configure: self._configure,
            Describe: self._describe,
        }
        assert type(question) in doing, question
        doing[type(question)](asked)

    def acked(self, what: object) -> None:
        assert isinstance(what, Answer), what
        self._answer(what.asked)

    def refused(self, what: object, text: str) -> None:
        """The rows of a command cannot be made durable."""
        assert isinstance(what, Answer), what
        do = "see rejected_rows of the database"
        what.asked.reply.refuse(Refusal(text, code="STORE_UNAVAILABLE", where=self._trader.world.user, do=do))

    def _answer(self, asked: Asked) -> None:
        """With the snapshot as it is after this very message."""
        trader = self._trader
        trader.book.publish(trader, gate.decide(trader.facts()) if not trader.busy() else None)
        asked.reply.answer(trader.world.snapshot.value)

    def _start(self, asked: Asked) -> None:
        book = self._trader.book
        if book.pauses:
            reasons = ", ".join(book.pauses)
            hint = f"otoctl trading resume {self._trader.world.user}"
            asked.reply.refuse(Refusal(f"paused: {reasons}", code="PAUSED", where=self._trader.world.user, do=hint))
        elif book.wanted == "running":
            self._answer(asked)
        else:
            self._trader.outlook.close_gate()
            self._trader.purse.forget()
            self.cancels_found = False
            book.want("running", asked.question.who, (Answer(asked),))

    def _pause(self, asked: Asked) -> None:
        book, question = self._trader.book, asked.question
        book.pause("OPERATOR", question.detail or f"paused by {question.who}")
        book.write([book.audit(question.who, "pause", None, "OPERATOR")], (Answer(asked),))

    def _stop(self, asked: Asked) -> None:
        book, question = self._trader.book, asked.question
        if question.now:
            self.cancels_found = not book.recovered
            for pair_id in tuple(book.live):
                self._trader.turn(pair_id, oto.Cancel("stop"))
        if book.wanted == "stopped":
            self._answer(asked)
        else:
            book.want("stopped", question.who, (Answer(asked),))

    def _cancel_pair(self, asked: Asked) -> None:
        book, question = self._trader.book, asked.question
        if question.pair_id not in book.live:
            live = ", ".join(book.live) or "none"
            asked.reply.refuse(
                Refusal(f"pair '{question.pair_id}' is not live", code="PAIR_UNKNOWN", do=f"live pairs: {live}")
            )
            return
        self._trader.turn(question.pair_id, oto.Cancel("operator"))
        book.write([book.audit(question.who, "cancel_pair", None, question.pair_id)], (Answer(asked),))

    def _judge(self, asked: Asked) -> None:
        """A human has compared twins with the orders on the site."""
        trader, question = self._trader, asked.question
        twins = trader.book.twins(question.pair_id)
        if not twins or question.order_id not in (None, *twins):
            what = f"order {question.order_id} is none of" if twins else f"pair '{question.pair_id}' has no"
            known = f"they are {', '.join(twins)}" if twins else "see otoctl why"
            asked.reply.refuse(Refusal(f"{what} orders that could all be its own", code="PAIR_UNKNOWN", do=known))
            return
        trader.turn(question.pair_id, oto.Judged(question.order_id))
        action = "adopt" if question.order_id is not None else "disown"
        told = f"{question.pair_id}: {question.order_id or ', '.join(twins)}"
        trader.book.write([trader.book.audit(question.who, f"pair.{action}", None, told)], (Answer(asked),))

    def _configure(self, asked: Asked) -> None:
        trader, question = self._trader, asked.question
        trader.book.configure(question.config, question.revision)
        trader.purse.forget()
        self._answer(asked)

    def _describe(self, asked: Asked) -> None:
        book, question = self._trader.book, asked.question
        book.user_row = replace(book.user_row, display_name=question.display_name, email=question.email)
        self._answer(asked)

    # -- resuming

    def _resume(self, asked: Asked) -> None:
        trader = self._trader
        if not trader.book.pauses:
            self._answer(asked)
            return
        if trader.outlook.stream_mono is None:  # a key that was refused for its owner's sake waits to be asked for
            trader.world.keeper.post(KeepKey(trader.world.user))
        if "TOKEN_UNAVAILABLE" in trader.book.pauses:  # by lists that may be an hour old
            trader.world.tokens.post(RefreshTokens())
        if self._refused(asked, heard=False):
            return
        book = trader.book
        trader.outlook.unlock()
        self._resuming.append((asked, {r: (pause, book.asks[r]) for r, pause in book.pauses.items()}))
        trader.outlook.close_gate()

    def _refused(self, asked: Asked, known: Known | None = None, *, heard: bool = True) -> bool:
        """known: the pauses that the asker knew of; what has come since, or was asked for again, is not his to end.

        heard: the exchange has just been; else causes that only its answer can tell are left for later.
        """
        present = self._present()
        if not heard:
            present = {reason: why for reason, why in present.items() if reason not in TOLD_BY_A_LOOK}
        if known is not None:
            book = self._trader.book
            present |= {r: p.detail for r, p in book.pauses.items() if known.get(r) != (p, book.asks[r])}
        if present:
            text = "; ".join(f"{reason}: {why}" for reason, why in present.items())
            user = self._trader.world.user
            asked.reply.refuse(Refusal(f"still there: {text}", code="PAUSED", where=user, do="see otoctl why"))
        return bool(present)

    def _present(self) -> dict[PauseReason, str]:
        """The pauses whose cause is there, with what shows it."""
        trader = self._trader
        facts = trader.facts()
        found: dict[PauseReason, str] = {}
        doubted = [pair_id for pair_id, state in trader.book.live.items() if oto.in_doubt(state)]
        if doubted:  # whatever the pauses are for: nothing is resumed before it is known (F72)
            found["ORDER_UNRESOLVED"] = f"pair {', '.join(doubted)} is unresolved"
        for reason, pause in trader.book.pauses.items():
            why = gate.cause_present(pause, facts) or self._own_cause(reason)
            if why is not None:
                found[reason] = why
        return found

    def _own_cause(self, reason: PauseReason) -> str | None:
        """Causes that only the trader itself sees."""
        trader = self._trader
        if reason == "STORE_UNAVAILABLE":
            return trader.durable.lacking()
        if reason == "EXCHANGE_UNREACHABLE" and trader.outlook.failures > 0:
            return f"the last {trader.outlook.failures} requests failed"
        return None

    def reconciled(self) -> None:
        """The exchange was heard: what was waiting for that may go on."""
        resuming, self._resuming = self._resuming, []
        for asked, known in resuming:
            if not self._refused(asked, known):
                self._lift(self._trader.book.pauses, asked.question.who, (Answer(asked),))
        present = self._present()
        doubt = "ORDER_UNRESOLVED" in present
        lift = [r for r in self._lifting if r in self._trader.book.pauses and r not in present and not doubt]
        self._lifting = frozenset()
        if lift:
            self._lift(lift, f"traders/{self._trader.world.user}")

    def _lift(self, reasons: Iterable[PauseReason], who: str, then: tuple[object, ...] = ()) -> None:
        self._trader.book.lift(reasons, who, then)
        self._trader.purse.forget()  # a balance that was too little then need not be now

    def look_failed(self, text: str) -> None:
        resuming, self._resuming = self._resuming, []
        for asked, _ in resuming:
            what = f"the exchange could not be heard: {text}"
            asked.reply.refuse(Refusal(what, code="PAUSED", where=self._trader.world.user, do="try again"))

    def auto_resume(self, facts: gate.Facts) -> None:
        """Starts the end of pauses that may end by themselves: gone for long enough, then the exchange is heard."""
        trader = self._trader
        now = facts.now_mono
        if not facts.pauses:  # as nearly always; what follows is looked at with every message
            self._gone.clear()
            return
        self._probe(now)
        present = self._present()
        for pause in facts.pauses:
            if not gate.resumable(pause, facts) or pause.reason in present or "ORDER_UNRESOLVED" in present:
                self._gone.pop(pause.reason, None)
            else:
                self._gone.setdefault(pause.reason, now)
        for reason in [reason for reason in self._gone if reason not in trader.book.pauses]:
            del self._gone[reason]
        ready = frozenset(r for r, since in self._gone.items() if now - since >= gate.AUTO_RESUME_MS)
        if ready - self._lifting:
            self._lifting = ready
            trader.outlook.close_gate()

    def _probe(self, now: int) -> None:
        trader = self._trader
        if (
            "EXCHANGE_UNREACHABLE" in trader.book.pauses
            and trader.outlook.failures > 0
            and now - self._probed >= PROBE_MS
        ):
            self._probed = now
            trader.outlook.want_look()

    def dues(self) -> list[int]:
        """mono_ms of what is to come."""
        dues = [since + gate.AUTO_RESUME_MS for since in self._gone.values()]
        if "EXCHANGE_UNREACHABLE" in self._trader.book.pauses:
            dues.append(self._probed + PROBE_MS)
        return dues

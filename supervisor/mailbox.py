"""Mailboxes and cells: how children hear of each other. They belong to a child's name and outlive its incarnations.

    post ───────────────▶ ┌───────┐  take   ┌─────────┐ finish + answered
    ask ──▶ door (full) ─▶│ queue │────────▶│ in hand │────────▶ done
                          └───────┘         └─────────┘
                              ▲ release(again=True) │ release(again=False): askers get ActorCrashed, news is lost
                              └─────────────────────┘

A crash closes nothing: what waits in the queue waits for the next incarnation. In hand is what was taken and is not yet
finished, and every question taken and not yet answered. Who pays when the queue is full: the reader for news (its next
take() raises, its incarnation ends), the asker for questions (it waits at the door, first come, first served).
An asker never hangs on a dead child: close() answers everybody once no further incarnation is to come.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any, Generic, TypeVar

import trio
from msgspec import Struct

from actors.errors import ActorCrashed, AskTimeout, MailboxFull
from actors.ports import Asked, Stop

T = TypeVar("T")

IN_HAND_MAX = 100_000
"""Far above the largest group that any actor gathers: a reader that holds more never calls finish(), which is a bug."""


REDELIVERIES_MAX = 3
"""A message that comes again and again, each time with the reader dying, is poison: then it is given up like any other
message in hand at a crash. Less than the default restart intensity of 5: the message goes before the child does."""


class MailboxStatistics(Struct, frozen=True):
    """depth: waiting, door included. high: the greatest depth so far. posted: news and questions that came in.

    in_hand: taken, not finished or not answered. overflows: news refused because the queue was full.
    lost: news that nobody handled (overflow, crash in hand, closed).
    """

    depth: int
    high: int
    capacity: int
    in_hand: int
    posted: int
    overflows: int
    lost: int


class Again(Struct, frozen=True):
    """A redelivered message, and how many incarnations died with it in hand."""

    message: Any
    deaths: int


class Pending:
    """The reader's side of one question (ports.Reply): the first answer counts, later ones are dropped."""

    __slots__ = ("_error", "_owner", "_settled", "_value")

    def __init__(self, owner: Mailbox) -> None:
        self._owner = owner
        self._settled = trio.Event()
        self._value: Any = None
        self._error: Exception | None = None

    @property
    def settled(self) -> bool:
        return self._settled.is_set()

    def answer(self, value: Any) -> None:
        self._settle(value, None)

    def refuse(self, error: Exception) -> None:
        self._settle(None, error)

    def _settle(self, value: Any, error: Exception | None) -> None:
        if not self._settled.is_set():
            self._value, self._error = value, error
            self._settled.set()
            self._owner.settled(self)

    async def wait(self) -> None:
        await self._settled.wait()

    def result(self) -> Any:
        """Only when settled. Raises what the question was refused with."""
        if self._error is not None:
            raise self._error
        return self._value


class Mailbox:
    """The mailbox of one child: ports.Inbox for its reader, ports.Address for everybody else.

    owner: the path of the child, for errors. capacity: places in the queue, at least 1.
    """

    def __init__(self, owner: str, *, capacity: int) -> None:
        assert capacity >= 1, capacity
        self.owner = owner
        self.capacity = capacity
        self.beats = 0  # one more with every sign of life of the reader: liveness compares, so no clock is read here
        self._queue: deque[Any] = deque()
        self._returned: deque[Again] = deque()  # before the queue, and without counting against its places
        self._door: deque[Asked] = deque()  # as many as there are tasks asking
        self._readers = trio.lowlevel.ParkingLot()
        self._in_hand: list[Any] = []  # messages; Again where they came again
        self._owed: dict[Any, Any] = {}  # finished, but not answered: reply -> what was in hand
        self._closed: str | None = None
        self._overflowed = False
        self._high = self._posted = self._overflows = self._lost = 0

    # -- senders

    def post(self, message: Any) -> None:
        """News: never waits. Full: it is lost, and the reader's next take() raises. Closed: lost, and counted."""
        self._posted += 1
        if self._closed is not None:
            self._lost += 1
        elif len(self._queue) >= self.capacity:
            self._overflowed = True
            self._overflows += 1
            self._lost += 1
        else:
            self._enqueue(message)

    async def ask(self, question: Any, *, within_s: float | None = None) -> Any:
        """Returns the answer, waiting for a place in the queue first.

        A question that got its place is delivered even if its asker gives up meanwhile.
        Raises: what the reader refused with; ActorCrashed, it died with the question in hand or does not run;
        AskTimeout, no answer within within_s (None: no deadline).
        """
        if self._closed is not None:
            await trio.lowlevel.checkpoint()
            raise self._gone()
        reply = Pending(self)
        asked = Asked(question, reply)
        self._posted += 1
        if len(self._queue) >= self.capacity:
            self._door.append(asked)
            self._note_depth()
        else:
            self._enqueue(asked)
        try:
            with trio.move_on_after(inf if within_s is None else within_s):
                await reply.wait()
        finally:
            if not reply.settled and self._door and any(waiting is asked for waiting in self._door):
                self._door = deque(waiting for waiting in self._door if waiting is not asked)
        if not reply.settled:
            what = f"no answer to {type(question).__name__} within {within_s} s"
            raise AskTimeout(what, where=self.owner, do="see what it is doing: otoctl tree")
        return reply.result()

    # -- the reader

    async def take(self) -> Any:
        """The next message, oldest first; redelivered ones before all others. A cancelled take() loses nothing.

        Raises: MailboxFull when the queue overflowed: let it end the incarnation.
        """
        self.beats += 1
        if self._queue or self._returned or self._overflowed:
            await trio.lowlevel.checkpoint()
        while not (self._queue or self._returned or self._overflowed):
            await self._readers.park()
        if self._overflowed:
            raise MailboxFull(f"more than {self.capacity} waiting", where=self.owner, do="see why it is slow")
        held = self._returned.popleft() if self._returned else self._queue.popleft()
        if self._door:
            self._admit()
        self._in_hand.append(held)
        assert len(self._in_hand) < IN_HAND_MAX, (self.owner, "never calls finish()")
        return held.message if isinstance(held, Again) else held

    def finish(self) -> None:
        """Everything taken so far is done with. Questions not answered yet stay owed to their askers."""
        self.beats += 1
        for held in self._in_hand:
            message = held.message if isinstance(held, Again) else held
            if isinstance(message, Asked) and unanswered(message):
                self._owed[message.reply] = held
        self._in_hand.clear()

    def beat(self) -> None:
        """A sign of life from a reader that is busy for long without taking or finishing anything."""
        self.beats += 1

    @property
    def idle(self) -> bool:
        """Is the reader waiting for messages?"""
        return bool(self._readers)

    # -- the supervisor

    def release(self, *, again: bool) -> int:
        """The incarnation ended. Returns how many messages it had in hand.

        again: they come first for the next incarnation, up to REDELIVERIES_MAX times; else, and then, their askers get
        ActorCrashed and news is lost. After an overflow the queue is emptied too, its askers answered.
        """
        held = [item if isinstance(item, Again) else Again(item, 0) for item in (*self._owed.values(), *self._in_hand)]
        held = [Again(item.message, item.deaths + 1) for item in held if is_open(item.message)]
        self._owed.clear()
        self._in_hand.clear()
        self._withdraw_stop()
        if self._overflowed:
            self.empty_news()
        self._returned.extendleft(item for item in reversed(held) if again and item.deaths <= REDELIVERIES_MAX)
        self._note_depth()
        self._admit()
        given_up = [item for item in held if not again or item.deaths > REDELIVERIES_MAX]
        self._bury(given_up, "it died with the question in hand")
        return len(held)

    def empty_news(self) -> int:
        """Empties the queue, answers its askers, forgets an overflow. Returns how many messages it held."""
        waiting = list(self._queue)
        self._queue.clear()
        self._overflowed = False
        self._bury(waiting, "its mailbox overflowed")
        self._admit()
        return len(waiting)

    def request_stop(self) -> None:
        """Puts a Stop behind everything posted so far; it needs no place."""
        self._enqueue(Stop())

    def close(self, why: str) -> None:
        """No further incarnation is to come: everybody who waits is answered, whoever asks later is refused."""
        self._closed = why
        waiting = [*self._owed.values(), *self._in_hand, *self._returned, *self._queue, *self._door]
        for place in (self._owed, self._in_hand, self._returned, self._queue, self._door):
            place.clear()
        self._overflowed = False
        self._bury(waiting, why)

    def open(self) -> None:
        """An incarnation is there or to come: messages are accepted."""
        self._closed = None
        self._admit()

    def statistics(self) -> MailboxStatistics:
        return MailboxStatistics(
            depth=self._depth(),
            high=self._high,
            capacity=self.capacity,
            in_hand=len(self._in_hand) + len(self._owed),
            posted=self._posted,
            overflows=self._overflows,
            lost=self._lost,
        )

    def handling(self) -> str | None:
        """The type of the message taken last and not finished: what the reader is busy with."""
        if not self._in_hand:
            return None
        last = self._in_hand[-1]
        last = last.message if isinstance(last, Again) else last
        return type(last.question if isinstance(last, Asked) else last).__name__

    def settled(self, reply: Pending) -> None:
        """A question of this mailbox was answered: it is no longer owed."""
        self._owed.pop(reply, None)

    # -- inside

    def _enqueue(self, message: Any) -> None:
        self._queue.append(message)
        if len(self._queue) > self._high:
            self._note_depth()
        if self._readers:
            self._readers.unpark()

    def _admit(self) -> None:
        while self._door and len(self._queue) < self.capacity:
            self._enqueue(self._door.popleft())

    def _depth(self) -> int:
        return len(self._queue) + len(self._returned) + len(self._door)

    def _note_depth(self) -> None:
        self._high = max(self._high, self._depth())

    def _bury(self, messages: list[Any], why: str) -> None:
        for item in messages:
            message = item.message if isinstance(item, Again) else item
            if isinstance(message, Asked):
                if unanswered(message):
                    message.reply.refuse(ActorCrashed(f"no answer: {why}", where=self.owner, do="see otoctl tree"))
            elif not isinstance(message, Stop):
                self._lost += 1

    def _withdraw_stop(self) -> None:
        if any(isinstance(message, Stop) for message in self._queue):
            self._queue = deque(message for message in self._queue if not isinstance(message, Stop))

    def _gone(self) -> ActorCrashed:
        return ActorCrashed(f"it does not run: {self._closed}", where=self.owner, do="see otoctl tree")


def unanswered(asked: Asked) -> bool:
    """A reply of another make (a test's) counts as unanswered: refusing it twice is its own affair."""
    return not (isinstance(asked.reply, Pending) and asked.reply.settled)


def is_open(message: Any) -> bool:
    """Is it news, or a question without an answer?"""
    return unanswered(message) if isinstance(message, Asked) else not isinstance(message, Stop)


class Cell(Generic[T]):
    """One place, newest wins (ports.Latest). It belongs to the supervisor and outlives writer and readers."""

    def __init__(self, value: T | None = None) -> None:
        self._value = value
        self._version = 0 if value is None else 1
        self._readers = trio.lowlevel.ParkingLot()

    @property
    def value(self) -> T | None:
        return self._value

    @property
    def version(self) -> int:
        """0 before the first publish, then one more with each."""
        return self._version

    def publish(self, value: T) -> None:
        self._value = value
        self._version += 1
        self._readers.unpark_all()

    async def changed(self, seen: int) -> int:
        """Waits until version > seen, returns the version."""
        if self._version > seen:
            await trio.lowlevel.checkpoint()
        while self._version <= seen:
            await self._readers.park()
        return self._version

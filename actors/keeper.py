"""The keeper: listen keys of all users, got, renewed and replaced (design § 1; the schedule is domain/keyschedule.py).

One task per user asks the exchange; the mailbox is served beside them all, so no user's trouble delays another's. What
is known of a key goes into the user's cell, which outlives this actor: a restarted keeper finds the keys and their ages
there and asks for nothing that is still young. A new key is just published: the trader subscribes it before it drops
the old one. Keys are secrets: they are in cells and requests, never in a log line or an event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import trio

from actors.domain import keyschedule
from actors.domain.keyschedule import Asked as Needed
from actors.domain.keyschedule import (
    Begun,
    Due,
    Event,
    Failed,
    Fetch,
    Got,
    Key,
    New,
    Refused,
    State,
    Tell,
    Timing,
    Wait,
)
from actors.errors import ExchangeError, ProtocolChanged, Refusal
from actors.messages import DropKey, KeepKey, KeyRefused, ListenKey
from actors.ports import Asked, Events, Inbox, Latest, Log, PrivateExchange, Started, Stop, Wall


async def run(
    inbox: Inbox,
    *,
    users: Callable[[], Sequence[str]],
    exchanges: Callable[[str], PrivateExchange],
    cells: Callable[[str], Latest[ListenKey]],
    wall: Wall,
    rng: Random,
    log: Log,
    events: Events,
    timing: Timing | None = None,
    task_status: Started,
) -> None:
    """One incarnation. Ready once the mailbox is served; keys may take longer.

    Takes KeepKey (of a kept user: its key is needed now, say because credentials were renewed), DropKey, KeyRefused.

    Args:
        users: who needs a key at the start of this incarnation.
        exchanges: the present one of a user; asked before each fetch, may raise ExchangeError if there is none.
        cells: a user's cell, of which this actor is the only writer.
    Raises: MailboxFull.
    """
    keeper = Keeper(exchanges, cells, wall, rng, log, events, timing or Timing())
    async with trio.open_nursery() as nursery:
        keeper.nursery = nursery
        for user in users():
            keeper.keep(user)
        task_status.started()
        await keeper.serve(inbox)
        nursery.cancel_scope.cancel()


class Keeper:
    """All users of one incarnation."""

    nursery: trio.Nursery

    def __init__(
        self,
        exchanges: Callable[[str], PrivateExchange],
        cells: Callable[[str], Latest[ListenKey]],
        wall: Wall,
        rng: Random,
        log: Log,
        events: Events,
        timing: Timing,
    ) -> None:
        self.exchanges, self.cells = exchanges, cells
        self.wall, self.rng, self.log, self.events, self.timing = wall, rng, log, events, timing
        self._kept: dict[str, UserKey] = {}

    async def serve(self, inbox: Inbox) -> None:
        """Returns on Stop. Raises: MailboxFull."""
        while True:
            message = await inbox.take()
            match message:
                case KeepKey(user):
                    self.keep(user)
                case DropKey(user):
                    self.drop(user)
                case KeyRefused(user, key):
                    if user in self._kept:
                        self._kept[user].hear(Refused(key, self.wall.now_ms(), self.rng.random()))
                case Asked(question, reply):
                    reply.refuse(Refusal(f"the keeper does not answer {type(question).__name__}", where="keeper"))
                case Stop():
                    return
                case _:
                    self.log.warning("message_ignored", kind=type(message).__name__)
            inbox.finish()

    def keep(self, user: str) -> None:
        if user in self._kept:
            self._kept[user].hear(Needed())
            return
        self._kept[user] = kept = UserKey(self, user)
        self.nursery.start_soon(kept.run, name=f"listen key {user}")

    def drop(self, user: str) -> None:
        """What is in the cell stays: if the user comes back soon the key is still good."""
        kept = self._kept.pop(user, None)
        if kept is not None:
            kept.scope.cancel()


class UserKey:
    """One user's machine and the task that waits and asks for it."""

    def __init__(self, keeper: Keeper, user: str) -> None:
        self.scope = trio.CancelScope()
        self._keeper = keeper
        self._user = user
        self._cell = keeper.cells(user)
        known = self._cell.value
        left = None
        if known is not None and known.key is not None:
            left = Key(key=known.key, since_ms=known.since_ms, renewed_ms=known.renewed_ms)
        self._trouble = None if known is None else known.trouble
        self._state: State = New(left)
        self._fetch = False
        self._due_s = trio.current_time()
        self._moved = trio.Event()
        self.hear(Begun(keeper.wall.now_ms(), keeper.rng.random()))

    def hear(self, event: Event) -> None:
        """One step of the machine; the task below wakes to what it led to."""
        if self.scope.cancel_called:
            return  # dropped: the last reply comes too late, and the cell may have another writer by now
        self._state, effects = keyschedule.step(self._state, event, self._keeper.timing)
        for effect in effects:
            match effect:
                case Fetch():
                    self._fetch = True
                case Wait(seconds):
                    self._due_s = trio.current_time() + seconds
                case Tell(key, trouble):
                    self._tell(key, trouble)
        self._moved.set()

    async def run(self) -> None:
        with self.scope:
            while True:
                if self._fetch:
                    self._fetch = False
                    self.hear(await self._ask())
                else:
                    await self._wait()

    async def _wait(self) -> None:
        """Until the machine moved by itself, or what it waits for is due."""
        self._moved = trio.Event()
        with trio.move_on_at(self._due_s) as waited:
            await self._moved.wait()
        if waited.cancelled_caught and not self._moved.is_set():
            self.hear(Due())

    async def _ask(self) -> Event:
        keeper = self._keeper
        try:
            key = await keeper.exchanges(self._user).listen_key()
        except ExchangeError as error:
            keeper.log.warning("listen_key_failed", user=self._user, trouble=error.trouble, error=str(error))
            return Failed(error.trouble, error.retry_after_s, keeper.wall.now_ms(), keeper.rng.random())
        except ProtocolChanged as error:
            keeper.log.warning("listen_key_failed", user=self._user, trouble="unreadable", error=str(error))
            return Failed("unreadable", None, keeper.wall.now_ms(), keeper.rng.random())
        return Got(key, keeper.wall.now_ms(), keeper.rng.random())

    def _tell(self, key: Key | None, trouble: str | None) -> None:
        """Publishes what is known, and says aloud what changed: a new key, a trouble, its end."""
        keeper, known = self._keeper, self._cell.value
        without_ms = known.since_ms if known is not None and known.key is None else keeper.wall.now_ms()
        told = ListenKey(
            key=None if key is None else key.key,
            since_ms=without_ms if key is None else key.since_ms,
            renewed_ms=without_ms if key is None else key.renewed_ms,
            trouble=trouble,
        )
        replaced = told.key is not None and (known is None or known.key != told.key)
        if known is None or (known.key, known.renewed_ms, known.trouble) != (told.key, told.renewed_ms, told.trouble):
            self._cell.publish(told)  # readers wake up: not for nothing
        if replaced:
            keeper.log.info("listen_key_replaced", user=self._user)
            keeper.events.emit("stream", "listen_key_replaced", user=self._user)
        if trouble != self._trouble:
            self._trouble = trouble
            keeper.events.emit("stream", "listen_key_trouble", user=self._user, trouble=trouble)

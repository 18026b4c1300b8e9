"""What the exchange was asked for lately, so that whoever looks cannot use up what trading needs.

A user's requests are few (one a second on a real host), and a look waits in the same line as a placement. So there is
one look at a time for each user, however many ask, and the same question within a few seconds hears the same answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

import trio

from actors.errors import OtodError

FRESH_S = 3.0
KEPT_MAX = 10_000

T = TypeVar("T")


class Lately:
    """rate: trio seconds per real second (--speed)."""

    def __init__(self, rate: float = 1.0) -> None:
        self._fresh_s = FRESH_S * rate
        self._locks: dict[str, trio.Lock] = {}
        self._kept: dict[Hashable, tuple[float, Any, OtodError | None]] = {}

    async def ask(self, user: str, what: Hashable, asking: Callable[[], Awaitable[T]]) -> T:
        """The answer to `what` about this user. Raises: what asking raises; an error is as fresh as an answer."""
        key = (user, what)
        async with self._locks.setdefault(user, trio.Lock()):
            if key not in self._kept or trio.current_time() - self._kept[key][0] > self._fresh_s:
                answer: Any = None
                error: OtodError | None = None
                try:
                    answer = await asking()
                except OtodError as trouble:
                    error = trouble
                self._keep(key, answer, error)
            _, answer, error = self._kept[key]
        if error is not None:
            raise error.with_traceback(None)
        found: T = answer
        return found

    def _keep(self, key: Hashable, answer: Any, error: OtodError | None) -> None:
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[key] = (trio.current_time(), answer, error)

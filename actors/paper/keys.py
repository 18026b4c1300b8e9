"""Listen keys (wire § 10.3): given out, renewed, expired, replaced, killed."""

from __future__ import annotations

import random

from actors.paper.faults import Faults
from actors.paper.journal import Key
from actors.paper.outbox import Outbox
from actors.paper.rules import Rules
from actors.paper.state import State
from actors.paper.timetable import Timetable


class Keys:
    def __init__(
        self,
        state: State,
        rules: Rules,
        faults: Faults,
        rng: random.Random,
        outbox: Outbox,
        timetable: Timetable,
    ) -> None:
        self._state = state
        self._rules = rules
        self._faults = faults
        self._rng = rng
        self._outbox = outbox
        self._timetable = timetable
        self._of: dict[str, list[Key]] = {}
        for key in state.keys.values():
            if not key.ended:
                self._of.setdefault(key.account, []).append(key)
                self._watch(key)

    def issue(self, account: str, now_ms: int) -> str:
        """POST get-listen-key: the same key with a longer life, or a new one, as the rules say."""
        fault = self._faults.strike("key_death", account=account)
        life_ms = fault.ms if fault else self._rules.key_life_ms
        alive = self._of.get(account, [])
        if alive and self._rules.key_renewal == "same":
            return self._extend(alive[-1], now_ms + life_ms).key
        if self._rules.old_key == "dies":
            self.kill(account, now_ms)
        name = self._fresh()
        key = Key(key=name, account=account, issued_ms=now_ms, expires_ms=now_ms + life_ms)
        self._state.add_key(key)
        self._of.setdefault(account, []).append(key)
        self._watch(key)
        return name

    def renew(self, account: str, name: str, now_ms: int) -> bool:
        """PUT: a longer life for this key; False if it is not a live key of the account."""
        for key in self._of.get(account, ()):
            if key.key == name:
                self._extend(key, now_ms + self._rules.key_life_ms)
                return True
        return False

    def kill(self, account: str, now_ms: int, *, notice: bool | None = None) -> None:
        """All keys of an account die now, with or without notice (None: as the rules say)."""
        for key in self._of.pop(account, []):
            self._end(key, now_ms, self._rules.expiry_notice if notice is None else notice)

    def valid(self, name: str) -> bool:
        key = self._state.keys.get(name)
        return key is not None and not key.ended

    def streams(self, account: str) -> list[str]:
        """Names of the account's user streams that somebody listens to."""
        names = (f"alpha@{key.key}" for key in self._of.get(account, ()))
        return [name for name in names if self._outbox.heard(name, public=False)]

    # -- inside

    def _fresh(self) -> str:
        while True:
            name = f"{self._rng.getrandbits(128):032x}"
            if name not in self._state.keys:  # a restarted exchange may draw the same numbers again
                return name

    def _extend(self, key: Key, expires_ms: int) -> Key:
        key.expires_ms = expires_ms
        self._state.changing_key(key)
        self._watch(key)
        return key

    def _watch(self, key: Key) -> None:
        self._timetable.at(key.expires_ms, lambda now_ms: self._expire(key, now_ms))

    def _expire(self, key: Key, now_ms: int) -> None:
        if not key.ended and key.expires_ms <= now_ms:
            self._of[key.account].remove(key)
            self._end(key, now_ms, self._rules.expiry_notice)

    def _end(self, key: Key, now_ms: int, notice: bool) -> None:
        """The form of the notice was never captured on Alpha; other products of the exchange use it (wire § 10.3)."""
        key.ended = True
        self._state.changing_key(key)
        if notice:
            stream = f"alpha@{key.key}"
            data = {"e": "listenKeyExpired", "E": now_ms, "listenKey": key.key}
            self._outbox.send(stream, data, now_ms, public=False, account=key.account)

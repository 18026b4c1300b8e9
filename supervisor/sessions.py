"""The sessions with the exchange: one per user (cookies, own permits), one for public calls; and what is told by whom.

They belong to the supervisor (design § 7): a trader that is started anew uses the session that is there, and new
credentials are put into it while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.adapters.dialer import endpoint, is_loopback
from actors.adapters.exchange import PrivateGateway, PublicGateway
from actors.adapters.http import HttpSession, HttpStatistics
from actors.adapters.limits import AddressLimits, Rates
from actors.errors import NotSent
from actors.messages import UserRecord
from actors.ports import Dialer, Vault, Wall
from actors.tally import Tally


class Sessions:
    """All HTTP sessions of the daemon. rest_base: scheme, host and port of the exchange."""

    def __init__(
        self,
        rest_base: str,
        dialer: Dialer,
        rates: Rates,
        vault: Vault,
        wall: Wall,
        *,
        call_s_max: float,
        tally: Tally | None = None,
    ) -> None:
        self._rest_base, self._dialer, self.vault, self._wall = rest_base, dialer, vault, wall
        self._call_s_max = call_s_max
        self._limits = AddressLimits(rates)
        self.tally = tally or Tally()
        self._private: dict[str, HttpSession] = {}
        self._gateways: dict[str, PrivateGateway] = {}
        self._public = HttpSession(rest_base, dialer, self._limits.public(), wall=wall, call_s_max=call_s_max)
        self.public = PublicGateway(self._public, tally=self.tally)

    @property
    def host(self) -> str | None:
        """The host that credentials belong to; None: the loopback, where any cookie is an account."""
        found = endpoint(self._rest_base, plain="http", secure="https", where="exchange.rest_base").host
        return None if is_loopback(found) else found

    def open(self, record: UserRecord) -> PrivateGateway:
        """The user's exchange; credentials as stored. Raises IntegrityError: they cannot be decrypted."""
        user = record.user.user
        cookies, headers = self._secrets(record)
        if user in self._private:
            self._private[user].renew(cookies, headers)
        else:
            session = HttpSession(
                self._rest_base,
                self._dialer,
                self._limits.user(),
                cookies=cookies,
                headers=headers,
                wall=self._wall,
                call_s_max=self._call_s_max,
            )
            self._private[user] = session
            self._gateways[user] = PrivateGateway(session, self._wall, tally=self.tally)
        return self._gateways[user]

    def exchange(self, user: str) -> PrivateGateway:
        """Raises: NotSent: a user that is not, or no longer, there has no session."""
        if user not in self._gateways:
            raise NotSent("no session", where=f"user {user}", do="create the user first")
        return self._gateways[user]

    def skew_ms(self, user: str) -> int | None:
        """The exchange's clock minus ours, as this user's replies tell it; None: not measured yet."""
        return self._private[user].server_skew_ms if user in self._private else None

    async def close_one(self, user: str) -> None:
        """Of a removed user: its cookies are forgotten."""
        self._gateways.pop(user, None)
        session = self._private.pop(user, None)
        if session is not None:
            session.renew({}, {})
            await session.aclose()

    def statistics(self) -> dict[str, HttpStatistics]:
        """By user; "" is the session of public calls."""
        return {user: session.statistics() for user, session in (("", self._public), *self._private.items())}

    async def close(self) -> None:
        for session in (*self._private.values(), self._public):
            await session.aclose()

    def _secrets(self, record: UserRecord) -> tuple[Mapping[str, str], Mapping[str, str]]:
        if not record.ciphertext:
            return {}, {}
        secret: Mapping[str, Any] = self.vault.open(record.user.user, record.ciphertext)
        return secret.get("cookies", {}), secret.get("headers", {})

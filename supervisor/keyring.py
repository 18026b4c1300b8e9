"""Credentials while the daemon runs: handed over, probed, marked invalid, and the key that seals them changed.

A plaintext is here only on its way from a request into the vault and the user's HTTP session.
"""

from __future__ import annotations

from functools import partial

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.errors import ExchangeError, IntegrityError, OtodError, ProtocolChanged, Refusal
from actors.messages import UserRecord
from actors.rows import CredentialRow, Row
from supervisor import users
from supervisor.bus import EventBus
from supervisor.document import Problems
from supervisor.people import People
from supervisor.userfile import check_secrets
from supervisor.users import Secrets

PROBE_S_MAX = 8.0  # a request is answered within 10 s
BATCH = 100  # rows that are sealed anew in one write: their users are held meanwhile
INVALIDATING = frozenset({"session", "human"})
"""Troubles (errors.Trouble) that only new credentials end (wire § 2)."""


class Checked(Struct, frozen=True, kw_only=True):
    """valid None: nobody knows, detail says why. checked_ms: when the exchange was asked."""

    valid: bool | None
    row: CredentialRow
    checked_ms: int
    detail: str


class Rotated(Struct, frozen=True, kw_only=True):
    """resealed: rows that have the new key now; unreadable: users whose credentials no key opens (none is dropped)."""

    key_id: str
    resealed: int
    resumed: bool
    unreadable: tuple[str, ...]
    old_keys_dropped: bool


class Keyring:
    def __init__(self, people: People, bus: EventBus) -> None:
        self._people, self._bus = people, bus
        self._rotating = trio.Lock()

    # -- handing over

    async def hand_over(self, user: str, secrets: Secrets, who: str) -> CredentialRow:
        """Stores credentials and uses them from the next request on. Raises: Refusal; ConfigError."""
        return await self._people.whole(partial(self._hand_over, user, secrets, who))

    async def _hand_over(self, user: str, secrets: Secrets, who: str) -> CredentialRow:
        people = self._people
        async with people.holding([user]):
            record = people.record(user)
            now_ms = people.house.wall.now_ms()
            row = users.sealed_row(user, secrets, people.vault, now_ms)
            await self._keep(record, row, who, "user.set-credentials")
            people.house.renew(users.with_credentials(people.record(user), row))
            return row

    async def _keep(self, record: UserRecord, row: CredentialRow, who: str, action: str) -> None:
        """Durable with its audit, and remembered."""
        people, after = self._people, users.with_credentials(record, row)
        differs = {
            "credentials": (record.credentials, after.credentials),
            "key_id": (record.sealed and record.sealed.key_id, row.key_id),
        }
        entry = users.audit_row(people.next_id(), people.house.wall.now_ms(), who, row.user, action, differs)
        await people.write([row, entry])
        people.house.remember(after)
        people.log.info("credentials", user=row.user, state=after.credentials, action=action, who=who)
        self._bus.emit("system", "credentials", user=row.user, state=after.credentials, action=action)

    # -- probing

    async def check(self, user: str, who: str) -> Checked:
        """Asks the exchange something cheap that only a session gets. Raises: Refusal, there are none."""
        return await self._people.whole(partial(self._check, user, who))

    async def _check(self, user: str, who: str) -> Checked:
        people = self._people
        tried = people.record(user).sealed
        if tried is None or tried.state == "removed":
            raise Refusal("no credentials", where=user, do=f"user.set-credentials: otoctl user set-credentials {user}")
        checked_ms = people.house.wall.now_ms()
        valid, detail = await self._probe(user)
        async with people.holding([user]):
            record = people.record(user)
            if record.sealed != tried or valid is None:
                return Checked(valid=valid, row=tried, checked_ms=checked_ms, detail=detail)
            row = replace(tried, state="valid" if valid else "invalid", checked_at=checked_ms)
            await self._keep(record, row, who, "user.check-credentials")
            return Checked(valid=valid, row=row, checked_ms=checked_ms, detail=detail)

    async def _probe(self, user: str) -> tuple[bool | None, str]:
        house = self._people.house
        try:
            with trio.fail_after(PROBE_S_MAX * house.rate):
                await house.exchange(user).user_volume()
        except ExchangeError as error:
            if error.trouble in INVALIDATING:
                return False, str(error)
            return None, f"the exchange gave no clear answer: {error}"
        except ProtocolChanged as error:
            return True, f"the session was accepted, but the answer had an unknown shape: {error}"
        except trio.TooSlowError:
            return None, f"no answer within {PROBE_S_MAX:g} s"
        return True, "the exchange accepted them"

    # -- refused while trading

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Never returns: a trader that pauses AUTH_FAILED has its credentials marked invalid."""
        with self._bus.listen("keyring") as listener:
            task_status.started()
            while True:
                event = await listener.take()
                area, _, user = event.topic.partition(".")
                if area == "pause" and event.kind == "paused" and event.payload.get("reason") == "AUTH_FAILED":
                    await self._mark(user, event.at_ms)

    async def recall(self) -> None:
        """At the start: what watch() did not hear, because the daemon ended just then."""
        for record in tuple(self._people.house.records().values()):
            for pause in record.pauses:
                if pause.reason == "AUTH_FAILED":
                    await self._mark(record.user.user, pause.since_at)

    async def _mark(self, user: str, failed_ms: int) -> None:
        people = self._people
        try:
            async with people.holding([user]):
                record = people.record(user)
                row = record.sealed
                if row is not None and row.state == "valid" and row.stored_at <= failed_ms:
                    invalid = replace(row, state="invalid", checked_at=failed_ms)
                    await self._keep(record, invalid, f"traders/{user}", "credentials.refused")
        except OtodError as error:  # the pause stands, and stands in the records: nothing trades with them
            people.log.error("credentials_not_marked", user=user, why=str(error))

    # -- changing the key

    async def rotate(self, who: str) -> Rotated:
        """A new key, every row sealed anew, the old keys dropped. One that was cut short is gone on with.

        Raises: Refusal, another change of it is under way, or the key file is not the daemon's own; StoreError.
        """
        return await self._people.whole(partial(self._rotate, who))

    async def _rotate(self, who: str) -> Rotated:
        if self._rotating.locked():
            raise Refusal("the key is being changed already", do="ask again in a moment: it tells when it is done")
        async with self._rotating:
            people, vault = self._people, self._people.vault
            resumed = vault.keys > 1
            if not resumed:
                if not vault.writable:
                    raise Refusal(
                        "the key file is not the daemon's own, it cannot put a new key there",
                        where=vault.where,
                        do="put the output of `otod new-key` above the old key, restart otod, and ask again",
                    )
                vault.add_key()
            count = 0
            old = [user for user, record in people.house.records().items() if _is_old(record, vault.key_id)]
            for start in range(0, len(old), BATCH):
                async with people.holding(old[start : start + BATCH]):
                    count += await self._reseal(old[start : start + BATCH])
            async with people.holding(people.everybody()):  # also of whom credentials were just being stored
                last = [user for user, record in people.house.records().items() if _is_old(record, vault.key_id)]
                count += await self._reseal(last)
                unreadable = [user for user in last if _is_old(people.record(user), vault.key_id)]
                drop = vault.writable and not unreadable
                if drop:
                    vault.drop_old_keys()
            differs = {"key_id": (None, vault.key_id), "resealed": (None, count)}
            now_ms = people.house.wall.now_ms()
            await people.write([users.audit_row(people.next_id(), now_ms, who, None, "vault.rotate", differs)])
            people.log.info("vault_rotated", who=who, resealed=count, resumed=resumed, unreadable=unreadable)
            return Rotated(
                key_id=vault.key_id,
                resealed=count,
                resumed=resumed,
                unreadable=tuple(unreadable),
                old_keys_dropped=drop,
            )

    async def _reseal(self, names: list[str]) -> int:
        """Seals credentials with the newest key, in one write; those that no key opens stay. Returns how many.

        The caller holds the users.
        """
        people, vault = self._people, self._people.vault
        records: list[UserRecord] = []
        rows: list[Row] = []
        for name in names:
            record = people.house.records().get(name)
            if record is None or record.sealed is None or not _is_old(record, vault.key_id):
                continue  # removed, or handed over anew, meanwhile
            try:
                plain = vault.open(name, record.sealed.ciphertext)
            except IntegrityError as error:
                people.log.error("credentials_unreadable", user=name, why=str(error))
                continue
            row = replace(record.sealed, ciphertext=vault.seal(name, plain), key_id=vault.key_id)
            rows.append(row)
            records.append(replace(record, ciphertext=row.ciphertext, sealed=row))
        await people.write(rows)
        for record in records:
            people.house.remember(record)
        return len(records)


def _is_old(record: UserRecord, key_id: str) -> bool:
    return record.sealed is not None and record.sealed.state != "removed" and record.sealed.key_id != key_id


def checked_secrets(cookies: object, headers: object) -> Secrets:
    """Credentials of a request's objects. Raises: Problems, never with a value."""
    document = {"cookies": {} if cookies is None else cookies, "headers": {} if headers is None else headers}
    secrets, problems = check_secrets(document, "credentials")
    if secrets is None:
        raise Problems(problems, where="the request")
    return secrets

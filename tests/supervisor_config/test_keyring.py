"""Credentials handed over, probed, refused; the key changed under them."""

from __future__ import annotations

import pytest
import trio
from msgspec.structs import replace

from actors.adapters.vault import FileVault, new_key
from actors.errors import ExchangeTrouble, IntegrityError, ProtocolChanged, Refusal, StoreError
from actors.rows import AuditRow, CredentialRow
from supervisor.document import Problems
from supervisor.keyring import checked_secrets
from supervisor.users import Secrets
from tests.adapters.duck_rows import pause
from tests.control.daemon import TEN_MS
from tests.supervisor_config.household import household, until

WHO = "1000:7"
CANARY = "c4n4ryC0ok1e"
SECRETS = Secrets(cookies={"p20t": CANARY}, headers={"csrftoken": f"{CANARY}-h"})


@pytest.fixture
async def house(tmp_path):
    async with household(tmp_path) as house:
        for name in ("alice", "bob"):
            await house.people.create(name, None, None, WHO)
        yield house


def rows(house):
    return {row.user: row for row in house.rows(CredentialRow)}


async def test_what_is_handed_over_is_sealed_durable_and_in_use(house):
    row = await house.keyring.hand_over("alice", SECRETS, WHO)
    assert rows(house)["alice"] == row == house.known["alice"].sealed
    assert house.vault.open("alice", row.ciphertext)["cookies"] == {"p20t": CANARY}
    assert house.renewed == ["alice"]
    assert house.known["alice"].credentials == "valid"


async def test_no_word_of_it_is_said_anywhere(house):
    with house.bus.listen("test") as listener:
        await house.keyring.hand_over("alice", SECRETS, WHO)
        await house.keyring.check("alice", WHO)
        await house.keyring.rotate(WHO)
        events = [await listener.take() for _ in range(2)]
    assert CANARY not in repr(events) + repr(house.log.lines) + repr(house.rows(AuditRow)) + repr(house.known)


@pytest.mark.parametrize(
    ("answer", "valid", "state"),
    [
        (None, True, "valid"),
        (ProtocolChanged("another shape"), True, "valid"),
        (ExchangeTrouble("expired", trouble="session"), False, "invalid"),
        (ExchangeTrouble("verify", trouble="human"), False, "invalid"),
        (ExchangeTrouble("busy", trouble="system"), None, "valid"),
    ],
)
async def test_a_probe_tells_valid_from_refused_from_unknown(house, answer, valid, state):
    await house.keyring.hand_over("alice", SECRETS, WHO)
    if answer is not None:
        house.wallets.volume = answer
    house.wall.at_ms += 5000
    checked = await house.keyring.check("alice", WHO)
    assert (checked.valid, checked.row.state, checked.checked_ms) == (valid, state, TEN_MS + 5000)
    assert house.known["alice"].credentials == state
    assert rows(house)["alice"].checked_at == (None if valid is None else TEN_MS + 5000)


async def test_a_probe_that_takes_too_long_is_unknown(house, monkeypatch):
    await house.keyring.hand_over("alice", SECRETS, WHO)
    monkeypatch.setattr(house.wallets, "user_volume", trio.sleep_forever)
    assert (await house.keyring.check("alice", WHO)).valid is None


async def test_nobody_without_credentials_is_probed(house):
    with pytest.raises(Refusal, match="no credentials"):
        await house.keyring.check("bob", WHO)


async def test_a_refused_login_marks_them_invalid_until_new_ones_come(house, nursery):
    await nursery.start(house.keyring.watch)
    await house.keyring.hand_over("alice", SECRETS, WHO)
    house.bus.emit("pause.alice", "paused", reason="PRICE_VOLATILITY", detail="")
    house.bus.emit("pause.nobody", "paused", reason="AUTH_FAILED", detail="")
    house.bus.emit("pause.alice", "paused", reason="AUTH_FAILED", detail="")
    await until(lambda: house.known["alice"].credentials == "invalid")  # durable first, then known
    assert rows(house)["alice"].state == "invalid"
    await house.keyring.hand_over("alice", SECRETS, WHO)
    assert house.known["alice"].credentials == "valid"
    nursery.cancel_scope.cancel()


async def test_a_refusal_from_before_the_start_is_made_up(house):
    await house.keyring.hand_over("alice", SECRETS, WHO)
    record = house.known["alice"]
    older = replace(record, pauses=(pause("AUTH_FAILED", since_at=TEN_MS - 1),))
    house.known["alice"] = older
    await house.keyring.recall()
    assert house.known["alice"].credentials == "valid"  # the pause is older than they are
    house.known["alice"] = replace(record, pauses=(pause("AUTH_FAILED", since_at=TEN_MS + 1),))
    await house.keyring.recall()
    assert house.known["alice"].credentials == "invalid"


# -- the key


async def both(house):
    for name in ("alice", "bob"):
        await house.keyring.hand_over(name, SECRETS, WHO)


async def test_a_changed_key_opens_everything_and_the_old_one_nothing(house, tmp_path):
    await both(house)
    before = rows(house)
    old = FileVault.at(tmp_path / "state", {})
    rotated = await house.keyring.rotate(WHO)
    assert (rotated.resealed, rotated.resumed, rotated.old_keys_dropped) == (2, False, True)
    after = rows(house)
    assert {row.key_id for row in after.values()} == {rotated.key_id} != {before["alice"].key_id}
    again = FileVault.at(tmp_path / "state", {})
    for name in ("alice", "bob"):
        assert again.open(name, after[name].ciphertext)["cookies"] == {"p20t": CANARY}
        assert house.known[name].ciphertext == after[name].ciphertext
        with pytest.raises(IntegrityError):
            old.open(name, after[name].ciphertext)


async def test_a_change_of_key_that_was_cut_short_goes_on(house, tmp_path):
    await both(house)
    house.vault.add_key()  # and there the process died
    house.vault = FileVault.at(tmp_path / "state", {})
    house.people.vault = house.vault
    assert house.vault.open("alice", rows(house)["alice"].ciphertext)
    await house.keyring.hand_over("bob", SECRETS, WHO)  # sealed with the new one meanwhile
    rotated = await house.keyring.rotate(WHO)
    assert (rotated.resumed, rotated.resealed, rotated.key_id) == (True, 1, house.vault.key_id)
    assert FileVault.at(tmp_path / "state", {}).keys == 1


async def test_credentials_that_come_while_the_key_changes_are_not_lost(house, tmp_path):
    await both(house)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(house.keyring.hand_over, "alice", SECRETS, WHO)
        nursery.start_soon(house.keyring.rotate, WHO)
        for _ in range(5):
            nursery.start_soon(house.keyring.hand_over, "bob", SECRETS, WHO)
    again = FileVault.at(tmp_path / "state", {})
    assert again.keys == 1
    for name, row in rows(house).items():
        assert again.open(name, row.ciphertext)["cookies"] == {"p20t": CANARY}


async def test_two_changes_of_the_key_do_not_run_at_once(house):
    await both(house)
    outcomes = []

    async def rotate():
        try:
            outcomes.append(await house.keyring.rotate(WHO))
        except Refusal as refusal:
            outcomes.append(refusal)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rotate)
        nursery.start_soon(rotate)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Refusal", "Rotated"]


async def test_what_no_key_opens_keeps_the_old_keys(house):
    await both(house)
    record = house.known["alice"]
    broken = replace(record.sealed, ciphertext=b"gAAAAAbroken")
    house.known["alice"] = replace(record, sealed=broken, ciphertext=broken.ciphertext)
    rotated = await house.keyring.rotate(WHO)
    assert (rotated.unreadable, rotated.old_keys_dropped, rotated.resealed) == (("alice",), False, 1)
    assert house.vault.keys == 2


async def test_a_key_file_of_somebody_else_is_left_alone(house, tmp_path):
    await both(house)
    house.people.vault = FileVault.read(tmp_path / "state" / "master.key", forbidden=0o077)
    with pytest.raises(Refusal, match="not the daemon's own"):
        await house.keyring.rotate(WHO)


async def test_a_key_of_systemd_is_used_once_its_owner_has_put_it_there(house, tmp_path):
    await both(house)
    file = tmp_path / "state" / "master.key"
    file.write_text(f"{new_key()}\n{file.read_text()}")
    house.people.vault = FileVault.read(file, forbidden=0o077)
    rotated = await house.keyring.rotate(WHO)
    assert (rotated.resealed, rotated.resumed, rotated.old_keys_dropped) == (2, True, False)
    assert house.people.vault.keys == 2


async def test_a_key_file_that_cannot_be_written_changes_nothing(house, tmp_path):
    await both(house)
    (tmp_path / "state" / "master.key.new").mkdir()
    before = rows(house)
    with pytest.raises(StoreError):
        await house.keyring.rotate(WHO)
    assert rows(house) == before


def test_secrets_of_a_request_are_checked_without_a_word_of_them():
    assert checked_secrets({"a": "b"}, None) == Secrets(cookies={"a": "b"}, headers={})
    with pytest.raises(Problems) as caught:
        checked_secrets({"a": f"{CANARY}\n"}, {CANARY: 7})
    assert f"{CANARY}\n" not in str(caught.value)

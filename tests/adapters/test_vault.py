"""Sealed credentials: who can open them, where the key comes from, and that nothing shows it."""

from __future__ import annotations

import os
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.adapters.vault import FileVault, new_key
from actors.errors import IntegrityError, StoreError

SECRET = {"cookies": {"p20t": "s3cr3t-cookie"}, "headers": {"csrftoken": "s3cr3t-header"}}


@pytest.fixture
def vault(tmp_path):
    return FileVault.at(tmp_path, {})


def test_what_is_sealed_opens_for_its_user(vault):
    assert vault.open("alice", vault.seal("alice", SECRET)) == SECRET


@given(st.dictionaries(st.sampled_from(["cookies", "headers"]), st.dictionaries(st.text(), st.text())), st.text())
def test_any_text_survives(secret, user):
    assert VAULT.open(user, VAULT.seal(user, secret)) == secret


VAULT = FileVault([new_key()])


def test_it_does_not_open_for_another_user(vault):
    with pytest.raises(IntegrityError, match="sealed for another user"):
        vault.open("bob", vault.seal("alice", SECRET))


def test_a_damaged_or_cut_token_does_not_open(vault):
    token = vault.seal("alice", SECRET)
    for damaged in (token[:-1], token[1:], b"", b"\xff" * 40, bytes([token[0] ^ 1]) + token[1:]):
        with pytest.raises(IntegrityError, match="do not open with key"):
            vault.open("alice", damaged)


def test_no_secret_stands_in_a_token_a_repr_or_an_error(vault, tmp_path):
    token = vault.seal("alice", SECRET)
    key = (tmp_path / "master.key").read_text().splitlines()[1]
    texts = [token.decode(), repr(vault), str(vault)]
    for user, sealed in (("bob", token), ("alice", token[:-4])):
        with pytest.raises(IntegrityError) as caught:
            vault.open(user, sealed)
        texts.append("".join(traceback.format_exception(caught.value)))
    with pytest.raises(IntegrityError) as caught:
        FileVault([key[:-2]])
    texts.append("".join(traceback.format_exception(caught.value)))
    for text in texts:
        assert "s3cr3t" not in text
        assert key[:-2] not in text


def test_equal_secrets_do_not_look_equal(vault):
    assert vault.seal("alice", SECRET) != vault.seal("alice", SECRET)


def test_the_key_file_is_made_once_and_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:
        first = FileVault.at(tmp_path / "new", {})
    finally:
        os.umask(before)
    assert (tmp_path / "new/master.key").stat().st_mode & 0o777 == 0o600
    again = FileVault.at(tmp_path / "new", {})
    assert again.key_id == first.key_id
    assert again.open("alice", first.seal("alice", SECRET)) == SECRET


def test_a_key_file_that_others_can_read_is_refused_naming_its_mode(vault, tmp_path):
    (tmp_path / "master.key").chmod(0o640)
    with pytest.raises(IntegrityError, match=r"has mode 0640.* -> chmod 600"):
        FileVault.at(tmp_path, {})


def test_the_service_managers_key_goes_first_and_may_be_readable_by_its_access_list(vault, tmp_path):
    given_dir = tmp_path / "credentials"
    given_dir.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(given_dir)}
    assert FileVault.at(tmp_path, environment).key_id == vault.key_id  # none there: it holds other credentials
    (given_dir / "master.key").write_text(new_key())
    (given_dir / "master.key").chmod(0o440)
    assert FileVault.at(tmp_path, environment).key_id != vault.key_id
    (given_dir / "master.key").chmod(0o444)
    with pytest.raises(IntegrityError, match="mode 0444"):
        FileVault.at(tmp_path, environment)


def test_two_keys_are_valid_while_the_key_is_changed(vault, tmp_path):
    sealed = vault.seal("alice", SECRET)
    file = tmp_path / "master.key"
    old = file.read_text()
    file.write_text(f"{new_key()}\n\n{old}")
    both = FileVault.at(tmp_path, {})
    assert both.open("alice", sealed) == SECRET
    assert both.key_id != vault.key_id
    file.write_text(file.read_text().splitlines()[0])
    only_new = FileVault.at(tmp_path, {})
    assert only_new.open("alice", both.seal("alice", SECRET)) == SECRET
    with pytest.raises(IntegrityError, match="another key sealed them"):
        only_new.open("alice", sealed)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"not a key\n", b"\xff\xfe"])
def test_a_key_file_without_a_key_is_refused(tmp_path, content):
    (tmp_path / "master.key").write_bytes(content)
    (tmp_path / "master.key").chmod(0o600)
    with pytest.raises(IntegrityError, match=r"no key"):
        FileVault.at(tmp_path, {})


def test_a_place_where_no_key_can_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="no key file can be made"):
        FileVault.at(tmp_path / "file" / "state", {})
    (tmp_path / "master.key").mkdir(mode=0o700)
    with pytest.raises(StoreError, match="the key cannot be read"):
        FileVault.at(tmp_path, {})


def test_the_environment_of_the_process_is_used_unless_another_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "master.key").write_text(new_key())
    (tmp_path / "master.key").chmod(0o400)
    FileVault.at(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_key_is_changed_with_both_valid_meanwhile(tmp_path, vault):
    before = vault.seal("alice", SECRET)
    first = vault.key_id
    vault.add_key()
    assert vault.keys == 2
    assert vault.key_id != first
    after = vault.seal("alice", SECRET)
    assert vault.open("alice", before) == vault.open("alice", after) == SECRET
    again = FileVault.at(tmp_path, {})
    assert again.key_id == vault.key_id
    assert again.open("alice", before) == SECRET
    vault.drop_old_keys()
    for one in (vault, FileVault.at(tmp_path, {})):
        assert one.keys == 1
        assert one.open("alice", after) == SECRET
        with pytest.raises(IntegrityError):
            one.open("alice", before)


def test_a_changed_key_file_is_as_private_as_the_first(tmp_path, vault):
    (tmp_path / "master.key.new").write_text("of a change that was cut short")
    vault.add_key()
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "master.key.new").exists()


def test_a_key_file_that_cannot_be_changed_leaves_the_key_as_it_is(tmp_path, vault):
    before = vault.key_id
    (tmp_path / "master.key.new").mkdir()
    with pytest.raises(StoreError, match="cannot be changed"):
        vault.add_key()
    assert (vault.key_id, vault.keys) == (before, 1)


def test_only_the_own_file_may_be_changed(tmp_path, vault):
    assert vault.writable
    assert vault.where == str(tmp_path / "master.key")
    assert not FileVault.at(tmp_path / "other", {"CREDENTIALS_DIRECTORY": str(tmp_path)}).writable
    assert not VAULT.writable

"""Credentials at rest: Fernet tokens, keys from the service manager or from a file that only the daemon can read.

A key file holds one key per line, the first one seals, all of them open: so a key is changed by putting a new line
first, and both are valid meanwhile. Empty lines and lines that begin with # are left out. `add_key` does that, and
`drop_old_keys` ends it; between the two every row is sealed anew (supervisor/people.py, vault.rotate).

The user's name is inside the sealed text, so a row that is moved to another user does not open for it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from actors.adapters.duck_dir import STATE_MODE, make_directory, sync_directory, sync_file
from actors.errors import IntegrityError, StoreError

KEY_FILE = "master.key"
HEAD = "# The key of this daemon's stored credentials; keep a copy elsewhere.\n"


class FileVault:
    """See ports.Vault. keys: as Fernet makes them (new_key), the first one seals.

    Raises: IntegrityError, no key or one that is none; the text never shows it. where: what errors name.
    """

    def __init__(self, keys: Sequence[str], *, where: str = KEY_FILE, own_file: Path | None = None) -> None:
        """own_file: where the keys are kept; None: a file that is not ours to change, or none."""
        self._own_file = own_file
        self._take(keys, where)

    def _take(self, keys: Sequence[str], where: str) -> None:
        self._where = where
        self._keys = tuple(keys)
        if not keys:
            raise IntegrityError("there is no key in it", where=where, do="put the output of `otod new-key` there")
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            do = "each line is one key as `otod new-key` prints it"
            raise IntegrityError("a line of it is no key", where=where, do=do) from None
        self._key_id = hashlib.sha256(keys[0].encode()).hexdigest()[:8]

    @classmethod
    def at(cls, state_dir: Path, environment: Mapping[str, str] | None = None) -> FileVault:
        """The vault of a state directory; its key file is made at the first start.

        A master.key in $CREDENTIALS_DIRECTORY (systemd's LoadCredential) goes before it.
        environment: os.environ unless given. Raises: IntegrityError, a key file is readable by others, or holds no key;
        StoreError, it can be neither read nor made.
        """
        given = (os.environ if environment is None else environment).get("CREDENTIALS_DIRECTORY")
        if given and (Path(given) / KEY_FILE).exists():
            return cls.read(Path(given) / KEY_FILE, forbidden=0o007)  # systemd shows its access list as group bits
        file = state_dir / KEY_FILE
        try:
            _make(file)
        except FileExistsError:
            pass  # the usual case: every start but the first
        except OSError as error:
            raise StoreError(
                f"no key file can be made: {error.strerror}", where=str(file), do="see the mode"
            ) from error
        return cls.read(file, forbidden=0o077, own=True)

    @classmethod
    def read(cls, file: Path, *, forbidden: int, own: bool = False) -> FileVault:
        """forbidden: mode bits that must not be set. own: the file may be written anew, to change the key."""
        try:
            mode = file.stat().st_mode & 0o777
            text = file.read_text()
        except OSError as error:
            raise StoreError(f"the key cannot be read: {error.strerror}", where=str(file), do="see its mode") from error
        except UnicodeDecodeError:
            raise IntegrityError("a line of it is no key", where=str(file), do="restore it from a backup") from None
        if mode & forbidden:
            raise IntegrityError(
                f"the key file has mode {mode:04o}, so others may have read it",
                where=str(file),
                do=f"chmod 600 {file}, and change the key if they may have",
            )
        lines = (line.strip() for line in text.splitlines())
        keys = [line for line in lines if line and not line.startswith("#")]
        return cls(keys, where=str(file), own_file=file if own else None)

    def __repr__(self) -> str:
        return f"FileVault(key_id={self._key_id!r})"

    @property
    def key_id(self) -> str:
        """Eight hex digits of the sealing key's hash: tells keys apart, tells nothing of the key."""
        return self._key_id

    @property
    def keys(self) -> int:
        """How many keys open; more than one while the key is being changed."""
        return len(self._keys)

    @property
    def where(self) -> str:
        return self._where

    @property
    def writable(self) -> bool:
        """Whether this process may change its key by itself."""
        return self._own_file is not None

    def add_key(self) -> None:
        """From now on a new key seals; the earlier ones still open. Durable on return. Raises: StoreError."""
        self._rewrite((new_key(), *self._keys))

    def drop_old_keys(self) -> None:
        """Only the first key is left. Durable on return. Raises: StoreError."""
        self._rewrite(self._keys[:1])

    def _rewrite(self, keys: Sequence[str]) -> None:
        assert self._own_file is not None, "look at `writable` first"
        try:
            _replace(self._own_file, keys)
        except OSError as error:
            raise StoreError(
                f"the key file cannot be changed: {error.strerror}", where=str(self._own_file), do="see its directory"
            ) from error
        self._take(keys, self._where)

    def seal(self, user: str, secret: Mapping[str, Any]) -> bytes:
        """secret: JSON-able, {"cookies": {...}, "headers": {...}}."""
        assert "user" not in secret, "the name is added here"
        # Fernet would put the time into the token; the row has its own, and no clock is read here.
        return self._fernet.encrypt_at_time(msgspec.json.encode({"user": user, **secret}), 0)

    def open(self, user: str, ciphertext: bytes) -> Mapping[str, Any]:
        try:
            secret = msgspec.json.decode(self._fernet.decrypt(ciphertext), type=dict[str, Any])
        except InvalidToken:
            raise IntegrityError(
                f"the credentials do not open with key {self._key_id}: another key sealed them, or they are damaged",
                where=f"user {user}, {self._where}",
                do="put the earlier key back as a further line, or hand the credentials over again",
            ) from None
        if secret.pop("user", None) != user:
            raise IntegrityError(
                "these credentials were sealed for another user", where=f"user {user}", do="hand them over again"
            )
        return secret


def new_key() -> str:
    """A new key, for a line of a key file."""
    return Fernet.generate_key().decode()


def _make(file: Path) -> None:
    """Durable before anything is sealed with it. Raises: FileExistsError; OSError."""
    make_directory(file.parent, STATE_MODE)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as new:
        new.write(f"{HEAD}{new_key()}\n")
    sync_file(file)
    sync_directory(file.parent)


def _replace(file: Path, keys: Sequence[str]) -> None:
    """All or nothing: a crash leaves the earlier file or the new one. Raises: OSError."""
    draft = file.with_name(f"{file.name}.new")
    draft.unlink(missing_ok=True)  # of a change that was cut short
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as new:
        new.write("".join((HEAD, *(f"{key}\n" for key in keys))))
    sync_file(draft)
    draft.rename(file)
    sync_directory(file.parent)

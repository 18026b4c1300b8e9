"""`otod install` and `otod uninstall`: units and example configuration in place, and what is left to do.

Nothing is run and no user is made here: the commands that do so are printed, because they are the operator's decision.
Units are ours and are replaced; what belongs to an operator (configuration, drop-ins, records) is never touched.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from actors.errors import Refusal, Unusable

EXECUTABLE = "/opt/otod/bin/otod"
"""What the unit files call; replaced by the otod that is installed."""

HIDDEN = ("/home", "/root", "/run/user")
"""What ProtectHome= hides from the service."""

RELOAD_SINCE = 253
"""The systemd that knows Type=notify-reload."""

UNITS = ("otod.service", "otod@.service", "otod-alert@.service", "otod.slice")


class Options(Struct, frozen=True, kw_only=True):
    """prefix: everything goes below it, for an image or a package. otod: as the unit shall call it; None: this one."""

    prefix: Path | None = None
    user: bool = False
    otod: Path | None = None
    config_home: Path = Path("~/.config")


class Piece(Struct, frozen=True, kw_only=True):
    """One file. at: absolute. theirs: belongs to the operator once it is there."""

    at: Path
    text: str
    mode: int = 0o644
    theirs: bool = False


def shares() -> Path:
    """Where the files lie that come with otod: beside the code of a checkout, else where a wheel puts them."""
    beside = Path(__file__).resolve().parents[1]
    installed = Path(sys.prefix) / "share" / "otod"
    found = next((place for place in (beside, installed) if (place / "systemd" / "otod.service").is_file()), None)
    if found is None:
        raise Unusable("the unit files did not come with this otod", where=str(installed), do="install the whole of it")
    return found


def pieces(options: Options, *, systemd: int | None) -> list[Piece]:
    """Everything to be put in place. systemd: its version, None if nobody knows: then as for the oldest."""
    share = shares()
    called = str(options.otod or this_otod())

    def unit(name: str) -> str:
        return (share / "systemd" / name).read_text().replace(EXECUTABLE, called)

    examples = [("otod.toml", "otod.toml", 0o640), ("users.toml", "users.example.toml", 0o640)]
    if options.user:
        home = options.config_home.expanduser()
        found = [Piece(at=home / "systemd" / "user" / "otod.service", text=unit("otod-user.service"))]
        config = home / "otod"
    else:
        etc, config = Path("/etc"), Path("/etc/otod")
        found = [Piece(at=etc / "systemd" / "system" / name, text=unit(name)) for name in UNITS]
        found.append(Piece(at=etc / "sysusers.d" / "otod.conf", text=unit("sysusers.conf")))
        found.append(Piece(at=etc / "tmpfiles.d" / "otod.conf", text=unit("tmpfiles.conf")))
        if systemd is not None and systemd >= RELOAD_SINCE:
            drop_in = unit("notify-reload.conf")
            for name, file in (("otod", "otod"), ("otod@", "%i")):
                text = drop_in.replace("/etc/otod/otod.toml", f"/etc/otod/{file}.toml")
                found.append(
                    Piece(at=etc / "systemd" / "system" / f"{name}.service.d" / "notify-reload.conf", text=text)
                )
    for source, name, mode in examples:
        text = (share / "etc" / source).read_text()
        found.append(Piece(at=config / name, text=text, mode=mode, theirs=True))
    return found if options.prefix is None else [_below(options.prefix, piece) for piece in found]


def install(options: Options, say: Callable[[str], None], *, systemd: int | None) -> int:
    """Raises: Refusal, it could not run from where it is; Unusable, a place is not writable."""
    if not options.user and options.otod is None:
        _refuse_hidden()
    for piece in pieces(options, systemd=systemd):
        say(f"{_put(piece):<9} {piece.at}")
    say("")
    for line in left_to_do(options):
        say(line)
    return 0


def uninstall(options: Options, say: Callable[[str], None], *, active: Callable[[], bool]) -> int:
    """Takes the units away. Raises: Refusal, the service runs; Unusable."""
    if options.prefix is None and active():
        command = f"systemctl {'--user ' if options.user else ''}disable --now otod.service"
        raise Refusal("the service runs", where="otod.service", do=f"{command}, then again")
    for piece in pieces(options, systemd=RELOAD_SINCE):
        if piece.theirs:
            if piece.at.exists():
                say(f"left      {piece.at}")
            continue
        try:
            piece.at.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unusable(piece.at, error) from None
        say(f"removed   {piece.at}")
    where = "~/.local/state/otod" if options.user else "/var/lib/otod (with the vault's key), the user otod"
    say(f"\nLeft where they are: the configuration, {where}.")
    say(f"systemctl {'--user ' if options.user else ''}daemon-reload makes systemd forget the units.")
    return 0


def left_to_do(options: Options) -> Iterator[str]:
    called = str(options.otod or this_otod())
    ctl = called.removesuffix("otod") + "otoctl"
    yield "Left to do:"
    if options.user:
        config = options.config_home / "otod" / "otod.toml"
        yield f"  {called} check-config {config}    # as it stands it trades on paper"
        yield "  systemctl --user daemon-reload && systemctl --user enable --now otod"
        yield f"  {ctl} status"
        return
    if options.prefix is None:
        yield "  systemd-sysusers /etc/sysusers.d/otod.conf && systemd-tmpfiles --create /etc/tmpfiles.d/otod.conf"
    yield "  edit /etc/otod/otod.toml: as it stands it trades on paper; [control] says who may use otoctl"
    yield f"  {called} check-config /etc/otod/otod.toml"
    yield "  systemctl daemon-reload && systemctl enable --now otod"
    yield "  usermod --append --groups otod YOU    # reaches the control socket, reads the records"
    yield f"  {ctl} user create …    # the first user: README.md"


def this_otod() -> Path:
    return Path(sys.executable).parent / "otod"


def systemd_version() -> int | None:
    """Of this machine; None: there is none, or it does not say."""
    try:
        told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    found = re.match(r"systemd (\d+)", told)
    return int(found[1]) if found else None


def is_active(user: bool) -> bool:
    command = ["systemctl", *(["--user"] if user else []), "is-active", "--quiet", "otod.service"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _refuse_hidden() -> None:
    for needed in (Path(sys.prefix), Path(sys.base_prefix).resolve(), shares()):
        if str(needed).startswith(HIDDEN):
            raise Refusal(
                "the service could not see it (ProtectHome=)",
                where=str(needed),
                do="install otod under /opt/otod: python3 -m venv /opt/otod && /opt/otod/bin/pip install SOURCE; "
                "or for yourself alone, with --user",
            )


def _put(piece: Piece) -> str:
    try:
        if piece.at.exists():
            if piece.at.read_text() == piece.text:
                return "unchanged"
            if piece.theirs:
                return "kept"
            done = "replaced"
        else:
            done = "made"
        piece.at.parent.mkdir(parents=True, exist_ok=True)
        piece.at.write_text(piece.text)
        piece.at.chmod(piece.mode)
    except OSError as error:
        raise _unusable(piece.at, error) from None
    return done


def _below(prefix: Path, piece: Piece) -> Piece:
    return Piece(at=prefix / piece.at.relative_to("/"), text=piece.text, mode=piece.mode, theirs=piece.theirs)


def _unusable(path: Path, error: OSError) -> Unusable:
    return Unusable(f"cannot write here: {error.strerror}", where=str(path), do="do it as root, or with --user")

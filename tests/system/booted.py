"""A machine with a really booted systemd: Debian in a container that is thrown away (../shared/probes.md § 6).

Needs root, systemd-nspawn, nsenter and a Debian 12 made once, which is only read:

    debootstrap --variant=minbase \\
        --include=systemd,systemd-sysv,dbus,procps,iproute2,python3-minimal,libpython3-stdlib bookworm ROOT

Any root with /usr/bin/python3.11 and a systemd will do: a trixie into which one was put has systemd 257, where the
reload is systemd's own (notify-reload.conf).

Python and otod's code are put into /opt/otod as a wheel would lay them out; the libraries are those of this process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.processes import ROOT, wait_for

ENVIRONMENT = "OTOD_BOOT_ROOT"
SCRIPT = "#!/opt/otod/bin/python3\nimport sys\nfrom {module} import main\nsys.exit(main())\n"


def why_not() -> str:
    """Why it cannot be done here; empty if it can."""
    given = os.environ.get(ENVIRONMENT)
    if not given:
        return f"slow and needs a Debian root directory: set {ENVIRONMENT} (tests/system/booted.py says how)"
    missing = [name for name in ("systemd-nspawn", "nsenter", "mount") if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    return "" if (Path(given) / "lib/systemd/systemd").exists() else f"no systemd in {given}"


needs_boot = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")


class Machine:
    """root: of its file system, as seen from outside."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root, self._leader = root, leader

    def run(self, *words: str, code: int | None = 0, within_s: float = 120.0) -> str:
        """A command inside; its output. code None: whatever it ends with."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=within_s, check=False)
        assert code is None or done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def sh(self, line: str, code: int | None = 0) -> str:
        return self.run("/bin/sh", "-c", line, code=code)

    def show(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def until(self, unit: str, state: str, within_s: float = 60.0) -> None:
        wait_for(
            lambda: self.show(unit, "ActiveState") == state,
            within_s=within_s,
            what=lambda: self.run("journalctl", "--no-pager", "-n", "30", "-u", unit, code=None),
        )


def put_otod(root: Path) -> None:
    """The code as it is now, into /opt/otod; over a running one, like a package manager: new files, then renamed."""
    opt = root / "opt/otod"
    packages = opt / "lib/python3.11/site-packages"
    if not (opt / "bin/python3").exists():
        python = ["chroot", str(root), "/usr/bin/python3.11"]
        subprocess.run([*python, "-m", "venv", "--without-pip", "/opt/otod"], check=True)
        ours = shutil.ignore_patterns("*otod*", "pytest*", "mypy*", "hypothesis*", "ruff*", "__pycache__")
        shutil.copytree(sysconfig.get_path("purelib"), packages, dirs_exist_ok=True, ignore=ours)
    for source, target in (
        *((ROOT / name, packages / name) for name in ("actors", "supervisor")),
        *((ROOT / name, opt / "share/otod" / name) for name in ("systemd", "etc")),
    ):
        new = target.with_name(f"{target.name}.new")
        shutil.copytree(source, new, ignore=shutil.ignore_patterns("__pycache__"))
        if target.exists():
            target.rename(target.with_name(f"{target.name}.old"))
            shutil.rmtree(target.with_name(f"{target.name}.old"))
        new.rename(target)
    for name, module in (("otod", "supervisor.__main__"), ("otoctl", "supervisor.ctl.__main__")):
        (opt / "bin" / name).write_text(SCRIPT.format(module=module))
        (opt / "bin" / name).chmod(0o755)


@contextmanager
def booted(place: Path) -> Iterator[Machine]:
    """A machine of its own, with otod in /opt/otod and a loopback; gone at the end."""
    layers = {name: place / name for name in ("upper", "work", "root")}
    for path in layers.values():
        path.mkdir()
    options = f"lowerdir={os.environ[ENVIRONMENT]},upperdir={layers['upper']},workdir={layers['work']}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(layers["root"])], check=True)
    try:
        put_otod(layers["root"])
        words = ["--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--console=pipe", "-b"]
        with (place / "console").open("wb") as console:
            nspawn = subprocess.Popen(
                ["systemd-nspawn", "-q", "-D", str(layers["root"]), *words],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        try:
            machine = Machine(layers["root"], _leader(nspawn))
            wait_for(
                lambda: machine.run("systemctl", "is-system-running", code=None).strip() in ("running", "degraded"),
                within_s=30,
                what=lambda: (place / "console").read_text(errors="replace"),
            )
            machine.run("ip", "link", "set", "lo", "up")
            yield machine
        finally:
            _off(nspawn)
    finally:
        subprocess.run(["umount", str(layers["root"])], check=True)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """The container's first process: killing nspawn alone would leave it running."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        found = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
        if found and (Path("/proc") / found[0] / "comm").read_text().strip() == "systemd":
            return int(found[0])
        time.sleep(0.05)
    raise AssertionError("nothing booted")


def _off(nspawn: subprocess.Popen[bytes]) -> None:
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
    if children:
        enter = ["nsenter", "-t", children[0], "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        subprocess.run([*enter, "systemctl", "poweroff"], capture_output=True, check=False)
    try:
        nspawn.wait(60)
    except subprocess.TimeoutExpired:
        os.kill(int(children[0]), 9)
        nspawn.wait(10)

"""Callers from other machines: TLS with certificates on both sides, roles by the certificate's common name."""

from __future__ import annotations

import datetime
import json
import socket as sockets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynng
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from actors.errors import Unusable
from supervisor.access import Access
from supervisor.bus import EventBus
from supervisor.control import server
from supervisor.control.memory import ReplyMemory
from supervisor.control.server import Remote
from supervisor.ctl.client import Client, Trouble
from tests.control.daemon import FakeDaemon, FixedWall, QuietLog
from tests.control.thread import Nobody

pytestmark = pytest.mark.system

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def issue(name: str, authority: Pair | None) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority[0].subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(authority[1] if authority else key, hashes.SHA256())
    )
    return made, key


def write(directory: Path, name: str, pair: Pair) -> None:
    (directory / f"{name}.pem").write_bytes(pair[0].public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        pair[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    authority = issue("our authority", None)
    foreign = issue("another authority", None)
    write(tmp_path, "ca", authority)
    for name in ("localhost", "ann", "vic", "eve"):
        write(tmp_path, name, issue(name, authority))
    write(tmp_path, "mallory", issue("ann", foreign))
    return tmp_path


def free_port() -> int:
    with sockets.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def remote(place: Path, port: int, **changes: str) -> Remote:
    files = {"certificate": "localhost.pem", "key": "localhost.key", "clients_ca": "ca.pem"} | changes
    return Remote(listen=f"tls+tcp://127.0.0.1:{port}", **{name: str(place / file) for name, file in files.items()})


async def serve(place: Path, to: Remote, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    office = FakeDaemon()
    office.access = Access(own_uid=1000, remote_operators=["ann"], remote_viewers=["vic"])
    await server.run(
        Nobody(), office=office, bus=EventBus(FixedWall(), boot="b"), memory=ReplyMemory(), remote=to,
        control_url=f"ipc://{place}/run/control.sock", events_url=f"ipc://{place}/run/events.sock", log=QuietLog(),
        task_status=task_status,
    )  # fmt: skip


@contextmanager
def running(place: Path) -> Iterator[str]:
    port, up, token, scopes = free_port(), threading.Event(), [], []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            scopes.append(nursery.cancel_scope)
            token.append(trio.lowlevel.current_trio_token())
            await nursery.start(serve, place, remote(place, port))
            up.set()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert up.wait(10)
        yield f"tls+tcp://localhost:{port}"
    finally:
        token[0].run_sync_soon(scopes[0].cancel)
        thread.join(10)


def client(url: str, place: Path, name: str) -> Client:
    files = {"CA": place / "ca.pem", "CERT": place / f"{name}.pem", "KEY": place / f"{name}.key"}
    return Client({f"OTOD_TLS_{word}": str(file) for word, file in files.items()}, socket=url, timeout_s=5)


def test_roles_are_those_of_the_certificates_name(place: Path) -> None:
    with running(place) as url:
        codes = {}
        for name in ("ann", "vic", "eve"):
            with client(url, place, name) as one:
                looks, acts = (one.call(f"trading.{verb}", {"user": "alice"}) for verb in ("status", "stop"))
                codes[name] = [reply["ok"] or reply["error"]["code"] for reply in (looks, acts)]
    assert codes == {
        "ann": [True, True], "vic": [True, "NOT_PERMITTED"], "eve": ["NOT_PERMITTED", "NOT_PERMITTED"],
    }  # fmt: skip


def test_nobody_comes_in_without_a_certificate_of_our_authority(place: Path) -> None:
    with running(place) as url:
        with pytest.raises(Trouble):
            client(url, place, "mallory")
        with pytest.raises(Trouble, match="OTOD_TLS_CA"):
            Client({}, socket=url, timeout_s=5)
        with pynng.Req0(recv_timeout=500) as bare:
            bare.tls_config = pynng.TLSConfig(
                pynng.TLSConfig.MODE_CLIENT, ca_string=(place / "ca.pem").read_text(), server_name="localhost"
            )
            assert heard(bare, url) == b""


def heard(socket: Any, url: str) -> bytes:
    try:
        socket.dial(url, block=True)
        socket.send(json.dumps({"cmd": "system.version"}).encode())
        found: bytes = socket.recv()
    except pynng.NNGException:
        return b""
    return found


@pytest.mark.parametrize("changes", [{"key": "gone.key"}, {"certificate": "ca.key"}, {"clients_ca": "localhost.key"}])
async def test_files_that_do_not_fit_are_said_at_the_start(place: Path, changes: dict[str, str]) -> None:
    with pytest.raises(Unusable, match="cannot"):
        await serve(place, remote(place, free_port(), **changes))

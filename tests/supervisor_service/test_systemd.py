"""The notify protocol: what goes over the wire, and that nobody ever waits for it."""

from __future__ import annotations

import os
import socket

import pytest

from supervisor.systemd import STATUS_MAX, Notifier, extend, status


@pytest.fixture
def systemd(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def test_lines_go_out_as_one_datagram(systemd, tmp_path):
    notifier = Notifier(str(tmp_path / "notify"))
    assert notifier.tell("READY=1", "STATUS=all is well")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=all is well"
    notifier.close()


def test_an_abstract_name_is_told_too():
    name = f"otod-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        notifier = Notifier(f"@{name}")
        assert notifier.tell("WATCHDOG=1")
        assert listening.recv(1000) == b"WATCHDOG=1"
        notifier.close()


def test_a_reload_says_when_it_began(systemd, tmp_path):
    notifier = Notifier(str(tmp_path / "notify"), now_us=lambda: 1_234_567)
    assert notifier.reloading()
    assert systemd.recv(1000) == b"RELOADING=1\nMONOTONIC_USEC=1234567"
    notifier.close()


def test_what_nobody_takes_is_counted_and_waited_for_by_nobody(systemd, tmp_path):
    notifier = Notifier(str(tmp_path / "notify"))
    taken = 0
    while notifier.tell("WATCHDOG=1"):  # nobody reads: its queue fills up
        taken += 1
    assert notifier.lost == 1
    systemd.recv(1000)
    assert notifier.tell("WATCHDOG=1")
    notifier.close()
    nobody = Notifier(str(tmp_path / "nobody"))
    assert nobody.tell("READY=1") is False
    nobody.close()


def test_without_systemd_everything_counts_as_told():
    notifier = Notifier.of({}, 1)
    assert (notifier.listens, notifier.watchdog_s, notifier.tell("READY=1")) == (False, None, True)
    notifier.close()


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),  # a process above us is meant
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_where_it_is_ours(environ, watchdog_s):
    assert Notifier.of({"NOTIFY_SOCKET": "/run/x", **environ}, 7).watchdog_s == watchdog_s


def test_a_watchdog_without_a_socket_cannot_be_fed():
    assert Notifier.of({"WATCHDOG_USEC": "30000000"}, 7).watchdog_s is None
    assert Notifier.of({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "30000000"}, 7).listens is False


def test_a_status_is_one_short_line():
    assert status("two\n  mistakes") == "STATUS=two mistakes"
    assert len(status("word " * 200)) == len("STATUS=") + STATUS_MAX
    assert "c4n4ry" not in status("failed: cookie: p20t=c4n4ryS3ssion")
    assert extend(7.5) == "EXTEND_TIMEOUT_USEC=7500000"
    with pytest.raises(AssertionError):
        Notifier(None).tell("READY=1\nSTOPPING=1")

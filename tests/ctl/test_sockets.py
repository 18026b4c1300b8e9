"""Where otoctl looks for a daemon (contract § 2), and what it subscribes to."""

from __future__ import annotations

from pathlib import Path

from supervisor.ctl.events import as_line, wanted_prefixes
from supervisor.ctl.sockets import as_url, candidates, events_url, state_directory


def test_a_named_socket_is_the_only_one():
    environ = {"OTOD_SOCKET": "ipc:///env.sock", "HOME": "/home/me", "RUNTIME_DIRECTORY": "/run/otod"}
    assert candidates(environ, "ipc:///option.sock") == ["ipc:///option.sock"]
    assert candidates(environ) == ["ipc:///env.sock"]


def test_the_search_order_is_the_contracts():
    environ = {"RUNTIME_DIRECTORY": "/r", "STATE_DIRECTORY": "/s", "XDG_STATE_HOME": "/x", "HOME": "/home/me"}
    assert candidates(environ) == [
        "ipc:///r/control.sock",
        "ipc:///s/run/control.sock",
        "ipc:///x/otod/run/control.sock",
        "ipc:///x/otod-paper/run/control.sock",
        "ipc:///run/otod/control.sock",
    ]


def test_without_xdg_the_home_directory_is_used():
    assert candidates({"HOME": "/home/me"})[0] == "ipc:///home/me/.local/state/otod/run/control.sock"


def test_systemd_may_name_several_directories():
    assert candidates({"STATE_DIRECTORY": "/a:/b"})[:2] == ["ipc:///a/run/control.sock", "ipc:///b/run/control.sock"]


def test_a_path_or_a_directory_becomes_a_url(tmp_path):
    assert as_url("tls+tcp://host:1") == "tls+tcp://host:1"
    assert as_url("/run/otod/control.sock") == "ipc:///run/otod/control.sock"
    assert as_url(str(tmp_path)) == f"ipc://{tmp_path}/control.sock"


def test_what_lies_beside_a_control_socket():
    assert events_url("ipc:///s/run/control.sock") == "ipc:///s/run/events.sock"
    assert state_directory("ipc:///s/run/control.sock") == Path("/s")
    assert state_directory("ipc:///run/otod/control.sock") is None


def test_a_topic_is_subscribed_to_with_its_end():
    assert wanted_prefixes(()) == [""]
    assert wanted_prefixes(("fill.alice",)) == ["fill.alice ", "fill.alice."]
    assert wanted_prefixes(("fill", "actor")) == ["fill ", "fill.", "actor ", "actor."]


def test_an_event_is_one_line():
    event = {"v": 1, "boot": "b", "seq": 3, "at": "2026-11-20T10:00:00.000Z", "kind": "crashed", "path": "store",
             "errors": ["A: b", "C"], "why": "", "delay_s": None, "deep": {"a": 1}}  # fmt: skip
    assert as_line(("actor", event), as_json=False) == "10:00:00 actor crashed path=store errors=A: b,C deep={a=1}"
    assert as_line(("actor", event), as_json=True).startswith('{"topic":"actor","v":1,')

"""The protocol reference says what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from supervisor.control import protocol, server
from supervisor.control.desk import REQUEST_S_MAX
from supervisor.control.memory import KEPT_S
from supervisor.control.table import BY_NAME, COMMANDS, check
from supervisor.ctl.common import TIMEOUT_S

README = (Path(server.__file__).parent / "README.md").read_text()
FRAMES = re.findall(r"--data '([^']+)'", README)


@pytest.mark.parametrize("frame", FRAMES)
def test_every_example_is_a_request_that_is_understood(frame):
    _, request = protocol.decode(frame.encode())
    check(BY_NAME[request.cmd], request.args)


def test_every_area_has_an_example():
    shown = {json.loads(frame)["cmd"].partition(".")[0] for frame in FRAMES}
    assert shown == {command.area for command in COMMANDS}


def test_every_command_has_its_row_with_its_arguments():
    rows = {cells[1].strip(): cells for cells in (line.split("|") for line in README.splitlines()) if len(cells) == 5}
    for command in COMMANDS:
        told = rows[command.name][2]
        assert ("*acts*" in told) == command.acts, command.name
        for argument in command.args:
            assert argument.name in told, (command.name, argument.name)


def test_every_error_code_is_explained():
    for code in protocol.CODES:
        assert code in README, code


def test_the_limits_are_those_of_the_code():
    assert protocol.FRAME_BYTES_MAX == 1 << 20
    assert server.RECEIVE_BYTES_MAX == 4 << 20
    assert server.SEND_MS_MAX == 2000
    assert KEPT_S == 600
    assert REQUEST_S_MAX == 10 < TIMEOUT_S

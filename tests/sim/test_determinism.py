"""One seed is one history: in one process, in fresh ones, under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.run import simulate

SEED, USERS, MINUTES = 7, 3, 1.5
PROFILES = ("none", "harsh")
CODE = f"""
from tests.sim.run import simulate
for profile in {PROFILES}:
    result = simulate({SEED}, users={USERS}, minutes={MINUTES}, profile=profile)
    print(result.digest, result.log_digest, result.steps)
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_seed_gives_the_same_steps_and_the_same_log_again(profile):
    first, second = (simulate(SEED, users=USERS, minutes=MINUTES, profile=profile) for _ in range(2))
    assert (first.digest, first.log_digest) == (second.digest, second.log_digest)
    assert first.world.exchange.statistics().orders > 5
    assert (profile == "harsh") == (first.world.lives > 2), "killed and started again, or left alone"


def test_another_seed_gives_another_history():
    assert simulate(1, users=2, minutes=0.5).digest != simulate(2, users=2, minutes=0.5).digest


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_a_fresh_process_with_another_hash_seed_gives_the_same(hash_seed):
    here = [simulate(SEED, users=USERS, minutes=MINUTES, profile=profile) for profile in PROFILES]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    there = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert there.stdout.split() == [
        word for result in here for word in (result.digest, result.log_digest, str(result.steps))
    ]

"""otoctl: the entry point. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 no daemon, 4 not permitted."""

from __future__ import annotations

import os
import signal
import sys

from supervisor.ctl.cli import otoctl


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a wait inside nng hears no KeyboardInterrupt
    try:
        otoctl(prog_name="otoctl")
    except BrokenPipeError:  # `otoctl … | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()

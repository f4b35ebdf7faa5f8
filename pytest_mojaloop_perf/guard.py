"""Run a foreign program so that it cannot outlive us: `python -m pytest_mojaloop_perf.guard PROGRAM ARG...`.

The guard's stdin is a pipe from the one who started it. When that closes, the program is ended (SIGINT, then
SIGKILL after a second). SIGTERM and SIGINT are passed on; the guard ends with the program's status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

__all__ = ["main"]

_GRACE_S = 1.0


def main(argv: list[str]) -> int:
    """Run `argv` under guard and return its exit status; 128 + n when a signal n ended it."""
    if not argv:
        sys.stderr.write("usage: python -m pytest_mojaloop_perf.guard PROGRAM [ARG ...]\n")
        return 2
    # The program stays in the guard's group, so that whoever kills the group kills both.
    program = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if program.poll() is None:
            program.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    threading.Thread(target=_end_with_stdin, args=(program,), daemon=True).start()
    status = program.wait()
    return status if status >= 0 else 128 - status


def _end_with_stdin(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    program.send_signal(signal.SIGINT)
    try:
        program.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

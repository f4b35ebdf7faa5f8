"""The line between an environment's host and those who use it: JSON messages over a private socket."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.infra.host_state import HostState

__all__ = ["ControlLine", "HostEndingError", "connect"]

_ANSWER_S = 10.0


class HostEndingError(InfrastructureError):
    """The host is on its way out: nobody can attach to it any more."""


class ControlLine:
    """A connection to a host: JSON messages, one per line.

    Raises:
        HostEndingError: nobody answers at the control socket.
    """

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._buffer = b""
        self._over = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_ANSWER_S)
        try:
            self._socket.connect(str(state.control))
        except OSError as error:
            self._socket.close()
            raise HostEndingError(
                f"the host of run {state.run_id} (pid {state.pid}) does not answer: {error}",
                remedy="start the environment anew (leave --perf-reuse away)",
                evidence=str(state.log),
            ) from error

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; silent when the host is gone (`receive` tells)."""
        try:
            self._socket.settimeout(_ANSWER_S)
            self._socket.sendall(json.dumps({**message, "token": self._state.token}).encode() + b"\n")
        except OSError:
            self._over = True

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next message; empty when the connection is over, None when none came in time."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if self._over:
                return {}
            self._socket.settimeout(max(left, 0.0))
            try:
                piece = self._socket.recv(65536)
            except (BlockingIOError, TimeoutError):
                return None
            except OSError:
                piece = b""
            self._buffer += piece
            self._over = not piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    def close(self) -> None:
        """Close the connection; a host sees that as letting go."""
        self._socket.close()

    def await_answer(self, wanted: tuple[str, ...], timeout_s: float) -> str | None:
        """Return the first of the wanted kinds of message, or None: the connection or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            message = self.receive(max(0.0, deadline - time.monotonic()))
            if not message:
                return None
            if message.get("say") in wanted:
                return str(message["say"])


def connect(state: HostState) -> ControlLine:
    """Open a connection and ask to be attached; the host stays from now on.

    Raises:
        HostEndingError: nobody answers.
    """
    line = ControlLine(state)
    line.send({"do": "attach"})
    return line

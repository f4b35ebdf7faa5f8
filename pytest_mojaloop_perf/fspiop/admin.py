"""Calls to a hub's admin APIs as data (`Step`), and the client that makes them and judges the answers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.http import Client, HttpError, Response
from pytest_mojaloop_perf.model import Value

__all__ = ["JSON_HEADERS", "Accepted", "Admin", "Answer", "NoAnswerError", "Step", "error_code"]

JSON_HEADERS = (("content-type", "application/json"), ("accept", "application/json"))
_EXCERPT = 300
# Amounts are JSON numbers in these APIs: a float would not hold all of their digits.
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


class NoAnswerError(InfrastructureError):
    """Nothing answers at an address: wrong, down, or not to be reached from here."""


class Accepted(Value, frozen=True, kw_only=True):
    """An answer that is right: a status and, for an error that says "it exists", its FSPIOP error code."""

    status: int
    code: str | None = None

    @property
    def already(self) -> bool:
        """Whether this answer means that the thing was there before."""
        return self.code is not None


class Step(Value, frozen=True, kw_only=True):
    """One call: what it is called in messages, what is sent, and which answers are right."""

    name: str
    method: str
    url: str
    accepted: tuple[Accepted, ...]
    body: Any = None
    headers: tuple[tuple[str, str], ...] = JSON_HEADERS

    def __str__(self) -> str:
        text = f"{self.method} {self.url}"
        return text if self.body is None else f"{text} {msgspec.json.encode(self.body).decode()}"


class Answer(Value, frozen=True, kw_only=True):
    """The judged answer to a step: its parsed body (None when empty), and whether it was there already."""

    status: int
    body: Any
    already: bool


def error_code(body: bytes) -> str | None:
    """Return `errorInformation.errorCode` of an answer's body, or None when there is none."""
    try:
        return str(msgspec.json.decode(body)["errorInformation"]["errorCode"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return None


class Admin:
    """Makes steps through one HTTP client and counts them.

    `calls` is how many requests were sent; `already` how many things were found to be there before.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.calls = 0
        self.already = 0

    async def send(self, step: Step, *, headers: Mapping[str, str] | None = None) -> Response:
        """Send a step's request and return the answer unjudged.

        Raises:
            NoAnswerError: there is none.
        """
        self.calls += 1
        body = None if step.body is None else encode_sorted(step.body)
        try:
            return await self._client.request(
                step.method, step.url, {**dict(step.headers), **(headers or {})}, body
            )
        except HttpError as error:
            raise NoAnswerError(
                f"{step.name} got no answer from {step.method} {step.url}: {error}",
                remedy="see that the hub's address is right and that it runs and can be reached from here",
            ) from error

    async def call(self, step: Step) -> Answer:
        """Send a step's request and judge the answer by the step's table.

        Raises:
            InfrastructureError: no answer, or one that the table does not have.
        """
        return self.judge(step, await self.send(step))

    def judge(self, step: Step, response: Response) -> Answer:
        """Return the answer of a step, counted.

        Raises:
            InfrastructureError: the step's table does not have it.
        """
        code = error_code(response.body) if response.status >= 400 else None
        for accepted in step.accepted:
            if response.status == accepted.status and code == accepted.code:
                self.already += accepted.already
                return Answer(status=response.status, body=_parsed(response.body), already=accepted.already)
        wanted = ", ".join(f"{one.status}{f' code {one.code}' if one.code else ''}" for one in step.accepted)
        raise InfrastructureError(
            f"{step.name} was answered {response.status}{f' code {code}' if code else ''} "
            f"by {step.method} {step.url}, expected {wanted}",
            remedy="see the hub's log; use a hub that was not onboarded by other rules, or a fresh one",
            evidence=response.body[:_EXCERPT].decode(errors="replace") or "(empty body)",
        )

    async def get(self, name: str, url: str) -> Any:
        """Read a JSON document.

        Raises:
            InfrastructureError: no answer, or another one than 200.
        """
        step = Step(name=name, method="GET", url=url, accepted=(Accepted(status=200),))
        return (await self.call(step)).body


def _parsed(body: bytes) -> Any:
    try:
        return _DECODER.decode(body) if body else None
    except msgspec.DecodeError:
        return None

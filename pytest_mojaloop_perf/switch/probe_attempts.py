"""The probes themselves: what each sends, and what must come back for it to count as refused."""

from __future__ import annotations

import asyncio
import socket
import ssl
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import urlsplit

from pytest_mojaloop_perf.fspiop.admin import error_code
from pytest_mojaloop_perf.fspiop.canonical import encode_sorted
from pytest_mojaloop_perf.fspiop.codes import BAD_SIGNATURE, VALIDATION
from pytest_mojaloop_perf.fspiop.http import Client, HttpError, RequestTimeoutError, Response
from pytest_mojaloop_perf.fspiop.pki import HUB_NAME, create_security_folder
from pytest_mojaloop_perf.fspiop.sender import Sender
from pytest_mojaloop_perf.fspiop.tls import ClientTls, client_context, client_tls
from pytest_mojaloop_perf.model import COMMITTED, Dfsp, Value
from pytest_mojaloop_perf.switch.probe_parties import PAYEE, PAYER, Callback, Message, Parties, quote_request

__all__ = ["CONTROLS", "PROBES", "Probe", "Seen"]

_WRONG_FULFILMENT = "A" * 43
# How long a server may take to refuse a certificate once it has it.
_ALERT_TIMEOUT_S = 2.0
_CONNECT_TIMEOUT_S = 10.0
_JWS_EXPECTED = f"status 400 with error code {BAD_SIGNATURE}"
_TLS_EXPECTED = "the TLS handshake fails"


class Seen(Value, frozen=True, kw_only=True):
    """What an attempt saw; `refused` is None when the attempt did not get as far as the question."""

    refused: bool | None
    observed: str


Attempt = Callable[[Parties], Awaitable[Seen]]


class Probe(Value, frozen=True, kw_only=True):
    """One probe: its attempt, whose refusal is right, and which positive control makes it conclusive."""

    name: str
    control: Literal["mtls", "jws", "ilp"]
    expected: str
    attempt: Attempt
    needs: Literal["transfer", "quoted transfer", "message to a DFSP"] = "transfer"


# --- positive controls: the same messages unaltered; `refused=False` is what is wanted of them ---


async def _honest_transfer(both: Parties) -> Seen:
    message = both.transfer()
    response = await both.post(message)
    return await _accepted(both, message, response)


async def _honest_quoted_transfer(both: Parties) -> Seen:
    message = await _quoted(both)
    if isinstance(message, Seen):
        return message
    return await _accepted(both, message, await _post_to_payee(both, message))


async def _honest_message_to_dfsp(both: Parties) -> Seen:
    response = await _to_dfsp(both, tamper=dict)
    return Seen(refused=response.status != 202, observed=_text(response))


async def _accepted(both: Parties, message: Message, response: Response) -> Seen:
    """Return whether a transfer was accepted and committed."""
    if response.status != 202:
        return Seen(refused=True, observed=_text(response))
    callback = await both.callback(PAYER, message.transfer_id)
    if callback is None or callback.state != COMMITTED:
        return Seen(refused=None, observed=f"accepted, then {callback or 'no callback'}")
    return Seen(refused=False, observed=str(callback))


CONTROLS: Mapping[str, Attempt] = {
    "transfer": _honest_transfer,
    "quoted transfer": _honest_quoted_transfer,
    "message to a DFSP": _honest_message_to_dfsp,
}


# --- mTLS ---


async def _no_certificate(both: Parties) -> Seen:
    return await _handshake(both, ClientTls(ca=both.folder / "ca.crt.pem"))


async def _foreign_ca(both: Parties) -> Seen:
    with TemporaryDirectory(prefix="mojaloop-perf-probe-") as temporary:
        other = Path(temporary) / "other"
        create_security_folder(other, [PAYER], "off")
        own = client_tls(other, PAYER)
        tls = ClientTls(ca=both.folder / "ca.crt.pem", certificate=own.certificate, key=own.key)
        return await _handshake(both, tls)


async def _handshake(both: Parties, tls: ClientTls) -> Seen:
    """Try to connect; if that is not refused, send an otherwise honest transfer and see what it leads to."""
    refusal = await asyncio.to_thread(_refusal, both.transfers_url, tls)
    if refusal is not None:
        return Seen(refused=True, observed=refusal)
    message = both.transfer()
    client = Client(tls, timeout_s=10.0)
    try:
        response = await both.post(message, client=client)
    except RequestTimeoutError as error:
        return Seen(refused=None, observed=str(error))
    except HttpError as error:
        return Seen(refused=True, observed=f"no connection: {error}")
    finally:
        await client.close()
    return await _not_refused(both, message, response)


def _refusal(url: str, tls: ClientTls) -> str | None:
    """Return how a server ends the handshake, or None when it keeps the connection; blocking.

    In TLS 1.3 a client has done its part before the server looks at its certificate, so that the refusal
    comes with the first read.

    Raises:
        HttpError: no connection, for reasons that have nothing to do with certificates.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        plain = socket.create_connection((host, parts.port or 443), timeout=_CONNECT_TIMEOUT_S)
    except OSError as error:
        raise HttpError(f"{url}: {error}") from error
    with plain:
        try:
            with client_context(tls).wrap_socket(plain, server_hostname=host) as secure:
                secure.settimeout(_ALERT_TIMEOUT_S)
                return None if secure.recv(1) else "connection closed by the server in the handshake"
        except TimeoutError:
            return None
        except ssl.SSLError as error:
            return f"TLS alert: {(error.reason or str(error)).lower().replace('_', ' ')}"
        except ConnectionError as error:
            return f"connection ended in the handshake: {error.strerror}"


async def _other_certificate(both: Parties) -> Seen:
    message = both.transfer()
    response = await both.post(message, client=both.payee.client)
    if 400 <= response.status < 500 and error_code(response.body):
        return Seen(refused=True, observed=_text(response))
    return await _not_refused(both, message, response)


# --- JWS ---

Tamper = Callable[[dict[str, str]], dict[str, str]]


def _altered(tamper: Tamper, *, body_too: bool = False) -> Attempt:
    """Return an attempt that changes the headers, or the amount, after signing."""

    async def attempt(both: Parties) -> Seen:
        message = both.transfer()
        text = encode_sorted(message.body)
        headers = tamper(both.payer.headers("POST", both.transfers_url, text, destination=PAYEE))
        if body_too:
            text = encode_sorted({**message.body, "amount": {**both.amount(), "amount": "2"}})
        return await _signature(both, message, await both.post(message, headers=headers, body=text))

    return attempt


async def _forged(both: Parties) -> Seen:
    forger = Sender(PAYER, both.payer.client, both.payee.signer)
    message = both.transfer()
    headers = forger.headers("POST", both.transfers_url, encode_sorted(message.body), destination=PAYEE)
    return await _signature(both, message, await both.post(message, headers=headers))


async def _stale(both: Parties) -> Seen:
    earlier = encode_sorted(both.transfer().body)
    headers = both.payer.headers("POST", both.transfers_url, earlier, destination=PAYEE)
    message = both.transfer()
    return await _signature(both, message, await both.post(message, headers=headers))


async def _signature(both: Parties, message: Message, response: Response) -> Seen:
    if response.status == 400 and error_code(response.body) == BAD_SIGNATURE:
        return Seen(refused=True, observed=_text(response))
    return await _not_refused(both, message, response)


async def _unsigned_to_dfsp(both: Parties) -> Seen:
    response = await _to_dfsp(both, tamper=_unsigned)
    refused = response.status == 400 and error_code(response.body) == BAD_SIGNATURE
    return Seen(refused=refused, observed=_text(response))


def _unsigned(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "fspiop-signature"}


def _other_destination(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "fspiop-destination": PAYER}


def _other_date(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "date": "Mon, 01 Jan 2024 00:00:00 GMT"}


async def _to_dfsp(both: Parties, *, tamper: Tamper) -> Response:
    """Send a quote request to a DFSP as the hub forwards one: the hub's certificate, our signature."""
    payee = _a_payee(both)
    url = f"{both.environment.dfsp(payee.fsp_id).callback_url}/quotes"
    quote = quote_request(str(uuid.uuid4()), payee.fsp_id, payee.msisdn_first, both.amount())
    text = encode_sorted(quote)
    both.expect(PAYER, quote["quoteId"])
    headers = tamper(both.payer.headers("POST", url, text, destination=payee.fsp_id))
    hub = Client(client_tls(both.folder, HUB_NAME) if both.plan.profile.security.mtls else None)
    try:
        return await hub.request("POST", url, headers, text)
    finally:
        await hub.close()


# --- ILP ---


async def _wrong_condition(both: Parties) -> Seen:
    message = await _quoted(both)
    if isinstance(message, Seen):
        return message
    other = both.transfer().body["condition"]
    altered = Message(
        transfer_id=message.transfer_id, body={**message.body, "condition": other}, fulfilment=""
    )
    response = await _post_to_payee(both, altered)
    if response.status != 202:
        return Seen(refused=None, observed=_text(response))
    callback = await both.callback(PAYER, message.transfer_id)
    if callback is None or (callback.code and callback.source == HUB_NAME and callback.code != VALIDATION):
        return Seen(refused=None, observed=str(callback or "no callback"))
    refused = callback.code is not None and callback.source == message.body["payeeFsp"]
    return Seen(refused=refused, observed=str(callback))


async def _wrong_fulfilment(both: Parties) -> Seen:
    message = both.transfer(fulfilment=_WRONG_FULFILMENT)
    both.expect(PAYEE, message.transfer_id)
    response = await both.post(message)
    if response.status != 202:
        return Seen(refused=None, observed=_text(response))
    payer = await both.callback(PAYER, message.transfer_id)
    if payer is None or (payer.code is not None and payer.code != VALIDATION):
        return Seen(refused=None, observed=f"payer: {payer or 'no callback'}")
    payee = await both.callback(PAYEE, message.transfer_id)
    refused = payee is not None and payer.code == payee.code == VALIDATION
    return Seen(refused=refused, observed=f"payer: {payer}, payee: {payee or 'no callback'}")


async def _quoted(both: Parties) -> Message | Seen:
    """Return a transfer that a DFSP of the roster has quoted, or what came instead."""
    payee = _a_payee(both)
    quote = quote_request(str(uuid.uuid4()), payee.fsp_id, payee.msisdn_first, both.amount())
    both.expect(PAYER, quote["quoteId"])
    url = f"{both.hub.quotes_url}/quotes"
    response = await both.payer.send("POST", url, quote, destination=payee.fsp_id)
    callback = await both.callback(PAYER, quote["quoteId"]) if response.status == 202 else None
    if not isinstance(callback, Callback) or callback.code is not None:
        return Seen(refused=None, observed=f"quote: {_text(response)}, {callback or 'no callback'}")
    body = {
        "transferId": quote["transactionId"],
        "payerFsp": PAYER,
        "payeeFsp": payee.fsp_id,
        "amount": callback.body["transferAmount"],
        "ilpPacket": callback.body["ilpPacket"],
        "condition": callback.body["condition"],
        "expiration": callback.body["expiration"],
    }
    return Message(transfer_id=quote["transactionId"], body=body, fulfilment="")


async def _post_to_payee(both: Parties, message: Message) -> Response:
    text = encode_sorted(message.body)
    headers = both.payer.headers("POST", both.transfers_url, text, destination=message.body["payeeFsp"])
    return await both.post(message, headers=headers)


def _a_payee(both: Parties) -> Dfsp:
    """Return the DFSP of the roster that the probes talk to."""
    return both.plan.payees()[0]


async def _not_refused(both: Parties, message: Message, response: Response) -> Seen:
    """Wait for what an accepted message leads to, so that the positions show it."""
    observed = _text(response)
    if response.status < 300:
        observed += f", {await both.callback(PAYER, message.transfer_id) or 'no callback'}"
    return Seen(refused=False, observed=observed)


def _text(response: Response) -> str:
    code = error_code(response.body)
    return f"status {response.status}" + (f" with error code {code}" if code else "")


PROBES = (
    Probe(name="no client certificate", control="mtls", expected=_TLS_EXPECTED, attempt=_no_certificate),
    Probe(name="certificate of another CA", control="mtls", expected=_TLS_EXPECTED, attempt=_foreign_ca),
    Probe(
        name="certificate of another DFSP",
        control="mtls",
        expected="status 4xx with an FSPIOP error code: the certificate is not FSPIOP-Source's",
        attempt=_other_certificate,
    ),
    Probe(name="missing signature", control="jws", expected=_JWS_EXPECTED, attempt=_altered(_unsigned)),
    Probe(name="forged signature", control="jws", expected=_JWS_EXPECTED, attempt=_forged),
    Probe(name="signature of an earlier message", control="jws", expected=_JWS_EXPECTED, attempt=_stale),
    Probe(
        name="signature with another date",
        control="jws",
        expected=_JWS_EXPECTED,
        attempt=_altered(_other_date),
    ),
    Probe(name="altered body", control="jws", expected=_JWS_EXPECTED, attempt=_altered(dict, body_too=True)),
    Probe(
        name="altered headers", control="jws", expected=_JWS_EXPECTED, attempt=_altered(_other_destination)
    ),
    Probe(
        name="missing signature at a DFSP",
        control="jws",
        expected=_JWS_EXPECTED,
        attempt=_unsigned_to_dfsp,
        needs="message to a DFSP",
    ),
    Probe(
        name="wrong condition",
        control="ilp",
        expected="the payee aborts the transfer with an error callback",
        attempt=_wrong_condition,
        needs="quoted transfer",
    ),
    Probe(
        name="wrong fulfilment",
        control="ilp",
        expected=f"error callbacks {VALIDATION} to payer and payee",
        attempt=_wrong_fulfilment,
    ),
)

"""Observe a running environment for the deployment checks: processes, ports, files, answers."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from pytest_mojaloop_perf.errors import InfrastructureError
from pytest_mojaloop_perf.fspiop.http import Client, HttpError, Response
from pytest_mojaloop_perf.fspiop.tls import ClientTls, client_context
from pytest_mojaloop_perf.infra.deployment import Answered, FileMode, Listening, LookUp
from pytest_mojaloop_perf.model import Environment, Plan, ProcessInfo

__all__ = [
    "ask",
    "file_modes",
    "listening_ports",
    "look_ups",
    "named_ports",
    "running",
    "served_certificates",
]

_TIMEOUT_S = 10.0


def running(processes: Sequence[ProcessInfo]) -> dict[str, bool]:
    """Return, by name, whether each process runs."""
    return {each.name: psutil.pid_exists(each.pid) and not _is_zombie(each.pid) for each in processes}


def listening_ports(processes: Sequence[ProcessInfo]) -> tuple[Listening, ...]:
    """Return every TCP port that a process of the environment, or a child of it, listens on."""
    found = set()
    pids = {each.pid for each in processes}
    for info in processes:
        try:
            process = psutil.Process(info.pid)
            # The other processes of the environment are children of its host, and counted by their own names.
            family = [
                process,
                *(child for child in process.children(recursive=True) if child.pid not in pids),
            ]
            for member in family:
                found |= {
                    (info.name, connection.laddr.ip, connection.laddr.port)
                    for connection in member.net_connections(kind="tcp")
                    if connection.status == psutil.CONN_LISTEN
                }
        except psutil.NoSuchProcess as error:
            raise InfrastructureError(
                f"the process {info.name} (pid {info.pid}) ended, expected it to listen",
                remedy="read its log in the run folder",
            ) from error
    return tuple(Listening(process=name, address=address, port=port) for name, address, port in sorted(found))


def named_ports(environment: Environment) -> frozenset[int]:
    """Return every port that the environment names in an address."""
    hub = environment.hub
    urls = [hub.admin_url, hub.als_admin_url, hub.oracle_url, hub.als_url, hub.quotes_url, hub.transfers_url]
    urls += [hub.metrics_url or ""]
    for dfsp in environment.dfsps:
        urls += [dfsp.outbound_url, dfsp.callback_url, dfsp.ledger_url or "", dfsp.metrics_url or ""]
    return frozenset(port for url in urls if url and (port := urlsplit(url).port) is not None)


def file_modes(folder: Path) -> tuple[FileMode, ...]:
    """Return mode and owner of a folder and of everything in it."""
    paths = (folder, *sorted(folder.rglob("*")))
    return tuple(
        FileMode(
            path=str(path),
            mode=stat.S_IMODE(facts.st_mode),
            owner=facts.st_uid,
            # What lies in a closed folder cannot be reached, so only the outermost one must be closed.
            is_folder=path == folder,
        )
        for path in paths
        for facts in (os.lstat(path),)
    )


def ask(url: str, tls: ClientTls | None = None) -> Answered:
    """Send a GET and return how it was answered; a failed connection is an answer too."""
    return asyncio.run(_ask_once(url, tls))


def served_certificates(addresses: Mapping[str, str], tls: ClientTls) -> dict[str, bytes]:
    """Return the certificate (DER) that is shown at each address, by name.

    Raises:
        InfrastructureError: nobody answers there, or not with TLS.
    """
    context = client_context(tls)
    context.check_hostname = False
    return {name: _certificate(name, url, context) for name, url in addresses.items()}


def look_ups(plan: Plan, environment: Environment) -> tuple[LookUp, ...]:
    """Look up one MSISDN of the payee through the payer's outbound API, for every pair of the matrix."""
    return tuple(asyncio.run(_look_up_all(plan, environment)))


async def _look_up_all(plan: Plan, environment: Environment) -> list[LookUp]:
    msisdns = {dfsp.fsp_id: dfsp.msisdn_first for dfsp in plan.dfsps}
    client = Client(timeout_s=_TIMEOUT_S)
    answers = []
    try:
        for pair in plan.matrix.pairs:
            url = f"{environment.dfsp(pair.payer).outbound_url}/parties/MSISDN/{msisdns[pair.payee]}"
            answers.append((pair, await _ask(client, url)))
    finally:
        await client.close()
    return [
        LookUp(
            payer=pair.payer,
            msisdn=msisdns[pair.payee],
            expected=pair.payee,
            status=answer.status,
            found=_found(answer.text),
            text=answer.text,
            date=_callback_date(answer.text),
        )
        for pair, answer in answers
    ]


async def _ask_once(url: str, tls: ClientTls | None) -> Answered:
    client = Client(tls, timeout_s=_TIMEOUT_S, connections=1)
    try:
        return await _ask(client, url)
    finally:
        await client.close()


async def _ask(client: Client, url: str) -> Answered:
    try:
        response: Response = await client.request("GET", url, {"accept": "application/json"})
    except HttpError as error:
        return Answered(status=0, text=str(error))
    return Answered(status=response.status, text=response.body.decode(errors="replace"))


def _certificate(name: str, url: str, context: ssl.SSLContext) -> bytes:
    parts = urlsplit(url)
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=_TIMEOUT_S) as plain,
            context.wrap_socket(plain) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
    except OSError as error:
        raise InfrastructureError(
            f"{name} does not answer TLS at {url}: {error}", remedy="read its log in the run folder"
        ) from error
    assert der is not None, "a TLS server always shows a certificate"
    return der


def _found(text: str) -> str | None:
    try:
        return str(json.loads(text)["party"]["body"]["partyIdInfo"]["fspId"])
    except (ValueError, KeyError, TypeError):
        return None


def _callback_date(text: str) -> str | None:
    """Return the Date header of the callback, which the payee's DFSP wrote by its own clock."""
    try:
        headers = json.loads(text)["party"]["headers"]
        return next((str(value) for name, value in headers.items() if name.lower() == "date"), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

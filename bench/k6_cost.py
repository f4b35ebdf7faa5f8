"""What k6 costs per transaction: our script beside a plain one of the usual kind, against the same server.

Run `python bench/k6_cost.py [--tps 150] [--seconds 8] [--rounds 2] [--k6 PATH]`. Every variant runs once per
round, in alternating order, against one trivial server in a process of its own. CPU is user and system time
of the k6 process; the cost of a run with next to no arrivals (start-up, VUs) is taken off. All is from one
invocation: compare figures within it, not across machines.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httptools

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.assets import asset
from pytest_mojaloop_perf.load import K6, locate_k6
from pytest_mojaloop_perf.load.invocation import SCRIPT, Files, make_invocation
from pytest_mojaloop_perf.load.scenario import Settings, make_settings
from pytest_mojaloop_perf.model import (
    DfspEndpoints,
    Environment,
    HubUrls,
    LoadShape,
    Plan,
    Profile,
)
from pytest_mojaloop_perf.profiles import load_dfsps, load_matrix
from pytest_mojaloop_perf.progress import Silent
from pytest_mojaloop_perf.wait import Pending, wait_for

RECORD = "    console.log("
VUS = 60


# --- the server ---


def _answer(body: object) -> bytes:
    text = json.dumps(body).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(text)
    return head + text


def _answers() -> Callable[[str], bytes]:
    """Return a function from a path to an answer of the size and form that a scheme adapter gives."""
    preimage = b"x" * 32
    fulfilment = base64.urlsafe_b64encode(preimage).rstrip(b"=").decode()
    condition = base64.urlsafe_b64encode(hashlib.sha256(preimage).digest()).rstrip(b"=").decode()
    headers = {"content-type": "application/json", "fspiop-source": "x", "fspiop-signature": "s" * 700}
    money = {"currency": "XXX", "amount": "1"}
    offer = {
        "transferAmount": money,
        "payeeFspFee": money,
        "expiration": "2026-01-01T00:00:00.000Z",
        "ilpPacket": "A" * 900,
        "condition": condition,
    }
    done = {"fulfilment": fulfilment, "transferState": "COMMITTED"}
    info = {"partyIdType": "MSISDN", "partyIdentifier": "1"}
    party = {"partyIdInfo": info, "name": "x", "personalInfo": {"dateOfBirth": "1990-01-01"}}
    found = _answer({"party": {"body": party, "headers": headers}, "currentState": "COMPLETED"})
    quoted = _answer({"quotes": {"body": offer, "headers": headers}, "currentState": "COMPLETED"})
    paid = _answer({"transfer": {"body": done, "headers": headers}, "currentState": "COMPLETED"})

    def answer(path: str) -> bytes:
        return quoted if path.endswith("/quotes") else paid if path.endswith("Transfers") else found

    return answer


class _Connection(asyncio.Protocol):
    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._path = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url.decode()

    def on_message_complete(self) -> None:
        assert self._transport is not None
        self._transport.write(self._answer(self._path))


async def _serve(port_file: Path) -> None:
    answer = _answers()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(answer), "127.0.0.1", 0)
    partial = port_file.with_suffix(".partial")
    partial.write_text(str(server.sockets[0].getsockname()[1]))
    partial.replace(port_file)
    # Our stdin closes when the benchmark ends, in whatever way.
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


# --- the runs ---


def make_bench_settings(url: str, folder: Path, *, tps: float, seconds: float) -> Settings:
    """Return settings for the asymmetric mix with every payer at one URL."""
    dfsps, matrix = load_dfsps("dfsps"), load_matrix("asymmetric")
    load = LoadShape(
        tps=tps, duration_s=seconds, warmup_s=0.1, cooldown_s=0.1, drain_s=2, offered_percent=100, vus=VUS
    )
    plan = Plan(
        run_id="bench",
        created="",
        target="embedded",
        target_reason="bench",
        switch="reference",
        kind="perf",
        profile=Profile(name="bench", summary="", load=load, objectives=()),
        matrix=matrix,
        dfsps=dfsps,
        seed=1,
        run_folder=folder,
    )
    hub = HubUrls(
        admin_url=url, als_admin_url=url, oracle_url=url, als_url=url, quotes_url=url, transfers_url=url
    )
    endpoints = tuple(
        DfspEndpoints(fsp_id=dfsp.fsp_id, outbound_url=f"{url}/{dfsp.fsp_id}", callback_url=url)
        for dfsp in dfsps
    )
    environment = Environment(
        run_id="bench", target="embedded", switch="none", switch_version="0", hub=hub, dfsps=endpoints
    )
    return make_settings(plan, environment, summary_file=str(folder / "summary.json"))


def run_once(k6: K6, settings: Settings, folder: Path, script: Path, processors: int | None) -> float:
    """Run k6 and return its CPU seconds."""
    files = Files.under(folder)
    files.clear()
    call = make_invocation(k6, settings, files, script)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command.run(
        call.argv,
        timeout_s=120,
        remedy="run it by hand",
        env={**call.env, "GOMAXPROCS": str(processors or os.cpu_count())},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(k6: K6, url: str, folder: Path, *, tps: float, seconds: float, rounds: int) -> dict[str, float]:
    """Return milliseconds of CPU per transaction by variant: the median over the rounds."""
    ours, plain = asset(SCRIPT), asset("k6/plain.js")
    silent = folder / "without-record.js"
    silent.write_text("const drop = (line) => line;\n" + ours.read_text().replace(RECORD, "    drop("))
    variants: dict[str, tuple[Path, int | None]] = {
        "transactions.js": (ours, 1),
        "plain.js": (plain, 1),
        "transactions.js, without its record": (silent, 1),
        "transactions.js, all processors": (ours, None),
        "plain.js, all processors": (plain, None),
    }
    full = make_bench_settings(url, folder, tps=tps, seconds=seconds)
    idle = make_bench_settings(url, folder, tps=2, seconds=1.5)
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        names = list(variants)
        for name in names if number % 2 == 0 else reversed(names):
            script, processors = variants[name]
            base = run_once(k6, idle, folder, script, processors)
            spent = run_once(k6, full, folder, script, processors)
            extra = full.arrivals - idle.arrivals
            costs[name].append(1000.0 * (spent - base) / extra)
    return {name: statistics.median(values) for name, values in costs.items()}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tps", type=float, default=150.0)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--k6", default=None)
    parser.add_argument("--serve", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.serve is not None:
        asyncio.run(_serve(given.serve))
        return 0
    k6 = locate_k6(given.k6, install=True, progress=Silent())
    with tempfile.TemporaryDirectory(prefix="k6-cost-") as name:
        folder = Path(name)
        port_file = folder / "port"
        with command.start(
            [sys.executable, __file__, "--serve", port_file],
            name="server",
            log=folder / "server.log",
            remedy="look into its log",
        ):
            port = wait_for(
                "the benchmark's server",
                lambda: port_file.read_text() if port_file.exists() else Pending("no port yet"),
                timeout_s=10,
                remedy="run it by hand",
            )
            costs = measure(
                k6,
                f"http://127.0.0.1:{port}",
                folder,
                tps=given.tps,
                seconds=given.seconds,
                rounds=given.rounds,
            )
    sys.stdout.write(f"k6 {k6.version}, {given.tps:g} transactions/s, CPU per transaction of 3 requests\n")
    for variant, milliseconds in costs.items():
        sys.stdout.write(f"  {variant:38s} {milliseconds:6.2f} ms\n")
    ratio = costs["transactions.js"] / costs["plain.js"]
    sys.stdout.write(f"  transactions.js to plain.js, one processor each: {ratio:.2f}\n")
    as_run = costs["transactions.js"] / costs["plain.js, all processors"]
    sys.stdout.write(f"  as we run it to plain.js as k6 runs it by default: {as_run:.2f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

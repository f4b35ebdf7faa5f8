"""A real k6 against an in-test DFSP: outcomes, choices, arrivals, segments."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from pytest_mojaloop_perf import command
from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.assets import asset
from pytest_mojaloop_perf.load import K6, SCHEMA, run_load
from pytest_mojaloop_perf.load.invocation import SCRIPT, Files, make_invocation
from pytest_mojaloop_perf.load.records import convert_records
from pytest_mojaloop_perf.load.scenario import make_settings
from pytest_mojaloop_perf.model import COMMITTED, Dfsp, DfspEndpoints, Fault, Matrix, Pair
from pytest_mojaloop_perf.progress import Silent
from tests.unit.load_world import (
    OUTCOMES,
    World,
    error,
    load,
    make_environment,
    make_plan,
    msisdn,
    usable_k6,
)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.fixture(scope="module")
def k6() -> K6:
    return usable_k6()


def test_every_outcome_is_told_from_every_other(world: World, k6: K6, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, tps=23.0, duration_s=2.0, request_timeout_s=3.0, drain_s=15.0)
    settings = make_settings(plan, make_environment(world.url), summary_file="x")
    wanted = [OUTCOMES[iteration % len(OUTCOMES)] for iteration in range(settings.arrivals)]
    for iteration, (_, leg, answer) in enumerate(wanted):
        world.wrong[msisdn(settings, iteration)] = (leg, answer)

    run = load(plan, world, k6)

    rows = pl.read_parquet(run.transactions)
    assert rows["outcome"].to_list() == [outcome for outcome, _, _ in wanted]
    assert (run.ended, run.iterations, run.dropped, run.interrupted, run.records_lost) == ("ok", 46, 0, 0, 0)
    assert dict(rows.schema) == SCHEMA
    committed = rows.filter(pl.col("outcome") == COMMITTED)
    legs = committed.select("discovery_ms", "quote_ms", "transfer_ms")
    assert legs.null_count().sum_horizontal().item() == 0
    late = rows.filter(pl.col("outcome") == "discovery:timeout", pl.col("discovery_ms").is_null())
    assert late.height == 2, "only an unanswered call has no time; a 500 that says Timeout has one"


def test_bodies_are_those_of_the_synchronous_api(world: World, k6: K6, tmp_path: Path) -> None:
    run = load(make_plan(tmp_path, tps=8.0, duration_s=1.25), world, k6)

    assert run.iterations == 10
    assert {fsp for fsp, _, _ in world.asked} == {"fsp201"}, "the payer's outbound API is asked"
    by_path = {path.split("/")[0]: body for _, path, body in world.asked}
    assert set(by_path) == {"parties", "quotes", "simpleTransfers"}
    assert set(by_path["quotes"]) == {"fspId", "quotesPostRequest"}
    inner = by_path["quotes"]["quotesPostRequest"]
    assert set(inner) == {
        "quoteId",
        "transactionId",
        "payee",
        "payer",
        "amountType",
        "amount",
        "transactionType",
    }
    assert inner["payee"]["partyIdInfo"]["fspId"] == "fsp202"
    assert inner["payer"]["partyIdInfo"] == {
        "partyIdType": "MSISDN",
        "partyIdentifier": "17039811918",
        "fspId": "fsp201",
    }
    sent = by_path["simpleTransfers"]["transfersPostRequest"]
    assert set(sent) == {
        "transferId",
        "payerFsp",
        "payeeFsp",
        "amount",
        "ilpPacket",
        "condition",
        "expiration",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", sent["expiration"])
    ids = [b["quotesPostRequest"]["transactionId"] for _, path, b in world.asked if path == "quotes"]
    ids += [b["quotesPostRequest"]["quoteId"] for _, path, b in world.asked if path == "quotes"]
    assert len(set(ids)) == 20
    assert all(re.fullmatch(r"[0-7][0-9A-F]{25}", one) for one in ids)
    assert sorted(pl.read_parquet(run.transactions)["transfer_id"]) == sorted(ids[:10])


def test_a_seed_repeats_its_choices_and_another_makes_others(world: World, k6: K6, tmp_path: Path) -> None:
    def choices(seed: int, run_id: str) -> tuple[list[str], list[str]]:
        world.asked.clear()
        plan = msgspec.structs.replace(
            make_plan(tmp_path / f"{seed}-{run_id}", tps=20.0, duration_s=1.1), seed=seed, run_id=run_id
        )
        rows = pl.read_parquet(load(plan, world, k6).transactions)
        asked = sorted(path for _, path, _ in world.asked if path.startswith("parties"))
        return asked, rows["transfer_id"].to_list()

    first, again, other = choices(7, "one"), choices(7, "two"), choices(8, "one")
    assert first[0] == again[0]
    assert first[0] != other[0]
    assert not set(first[1]) & set(again[1]), "ids are fresh in every run"
    assert not set(first[1]) & set(other[1])
    assert len(set(first[0])) == 22, "every look-up has an MSISDN of its own"


def test_pairs_come_as_often_as_their_weights_say(world: World, k6: K6, tmp_path: Path) -> None:
    weights = {("fsp201", "fsp202"): 70.0, ("fsp203", "fsp202"): 20.0, ("fsp203", "fsp204"): 10.0}
    plan = msgspec.structs.replace(
        make_plan(tmp_path, tps=100, duration_s=6.0),
        matrix=Matrix(
            name="three",
            pairs=tuple(Pair(payer=a, payee=b, weight_percent=w) for (a, b), w in weights.items()),
        ),
        dfsps=tuple(
            Dfsp(fsp_id=f"fsp20{n}", roles=("payer", "payee"), msisdn_first=str(1000 * n), msisdn_count=50)
            for n in (1, 2, 3, 4)
        ),
    )
    environment = msgspec.structs.replace(
        make_environment(world.url),
        dfsps=tuple(
            DfspEndpoints(fsp_id=f"fsp20{n}", outbound_url=f"{world.url}/fsp20{n}", callback_url="x")
            for n in (1, 3)
        ),
    )
    for number in range(1000, 5000):
        world.wrong[str(number)] = ("discovery", (404, error("3204")))
    run = run_load(plan, environment, RunFolder.create(tmp_path), k6, progress=Silent(), alive=lambda: None)

    rows = pl.read_parquet(run.transactions)
    assert rows.height == 600
    seen = Counter(zip(rows["payer"], rows["payee"], strict=True))
    assert set(seen) == set(weights)
    chi_square = sum((seen[pair] - 6 * w) ** 2 / (6 * w) for pair, w in weights.items())
    assert chi_square < 13.8, f"two degrees of freedom, one chance in a thousand: {seen}"
    asked = Counter(path.split("/")[-1] for fsp, path, _ in world.asked if fsp == "fsp201")
    assert set(asked) == {str(2000 + n) for n in range(50)}, "the whole range of MSISDNs is used"


def test_drops_are_counted_and_never_flatter(world: World, k6: K6, tmp_path: Path) -> None:
    world.delay_s = 0.1
    run = load(make_plan(tmp_path, tps=20, duration_s=3.0, vus=2), world, k6)

    rows = pl.read_parquet(run.transactions)
    assert run.ended == "ok"
    assert run.planned_arrivals == 60
    assert run.dropped > 30
    assert run.iterations + run.dropped == 60
    assert (rows.height, run.records_lost) == (run.iterations, 0)
    arrivals = (rows["scheduled_ms"] - run.first_arrival_ms) / 50.0
    assert arrivals.round().is_unique().all()
    assert (rows["started_ms"] + 1 >= rows["scheduled_ms"]).all()
    assert arrivals[-1] > run.iterations, "drops that k6 told of early are taken into account"
    assert (run.vus_max, run.vus_peak) == (2, 2)


def test_what_outlasts_the_drain_is_recorded_as_unanswered(world: World, k6: K6, tmp_path: Path) -> None:
    world.delay_s = 2.0
    run = load(make_plan(tmp_path, tps=15.0, drain_s=0.5, request_timeout_s=30.0), world, k6)

    rows = pl.read_parquet(run.transactions)
    assert (run.ended, run.interrupted, run.records_lost) == ("ok", 0, 0)
    assert rows["outcome"].to_list() == ["discovery:timeout"] * 18


def test_the_users_own_k6_settings_change_nothing(
    world: World, k6: K6, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "home" / "k6" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"rps": 1}')
    for name, value in {
        "XDG_CONFIG_HOME": str(config.parent.parent),
        "K6_ITERATIONS": "1",
        "K6_VUS": "1",
        "K6_RPS": "1",
        "K6_OUT": "json=out.json",
        "K6_THROW": "true",
        "K6_CONSOLE_OUTPUT": str(tmp_path / "elsewhere"),
    }.items():
        monkeypatch.setenv(name, value)
    run = load(make_plan(tmp_path), world, k6)
    assert (run.ended, run.iterations, run.records_lost) == ("ok", 60, 0)
    assert not (tmp_path / "elsewhere").exists()


def test_a_starved_generator_starts_its_arrivals_late(world: World, k6: K6, tmp_path: Path) -> None:
    plan = msgspec.structs.replace(
        make_plan(tmp_path, duration_s=3.0), faults=(Fault(name="starved-generator", parameter="25"),)
    )
    run = load(plan, world, k6)
    rows = pl.read_parquet(run.transactions)
    lateness = (rows["started_ms"] - rows["scheduled_ms"]).quantile(0.99)
    assert run.ended == "ok"
    assert lateness is not None
    assert lateness > 200


def test_segments_add_up_to_the_whole_rate(world: World, k6: K6, tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    settings = make_settings(plan, make_environment(world.url), summary_file="x")
    pairs = [("fsp201", "fsp202")]
    processes, parts = [], []
    for number, segment in enumerate(("0:1/2", "1/2:1")):
        files = Files.under(tmp_path / str(number))
        part = msgspec.structs.replace(
            settings, segment=segment, segment_sequence="0,1/2,1", summary_file=str(files.summary)
        )
        call = make_invocation(k6, part, files, asset(SCRIPT))
        log = tmp_path / f"{number}.log"
        processes.append(command.start(call.argv, name="k6", log=log, remedy="x", env=call.env, guarded=True))
        parts.append(files)
    for process in processes:
        with process:
            assert process.wait(30) == 0, process.tail()
    frames = []
    for number, files in enumerate(parts):
        target = tmp_path / f"{number}.parquet"
        counts = convert_records(
            files.records, target, period_ns=settings.period_ns, pairs=pairs, whole=False
        )
        assert (counts.rows, counts.missing) == (30, 0)
        frames.append(pl.read_parquet(target))
    together = pl.concat(frames)
    assert sorted(together["iteration"]) == list(range(60))
    assert together["transfer_id"].n_unique() == 60
    assert set(together["outcome"]) == {COMMITTED}
    for frame in frames:
        lateness = frame["started_ms"] - frame["scheduled_ms"]
        assert lateness.min() > -1.0, "each instance keeps the arrivals of its own iteration numbers"  # type: ignore[operator]


@pytest.mark.parametrize("script", ["transactions", "plain"])
def test_the_scripts_are_read_by_k6_without_the_network(
    world: World, k6: K6, tmp_path: Path, script: str
) -> None:
    settings = make_settings(
        make_plan(tmp_path), make_environment(world.url), summary_file=str(tmp_path / "summary.json")
    )
    path = tmp_path / "settings.json"
    path.write_bytes(msgspec.json.encode(settings))
    source = asset(f"k6/{script}.js")
    assert not re.search(r"""from\s+['"](?!k6)""", source.read_text()), "no remote import"
    done = command.run([k6.path, "inspect", "-e", f"SETTINGS={path}", source], timeout_s=30, remedy="x")
    scenario = json.loads(done.stdout)["scenarios"]["transactions"]
    assert scenario["executor"] == "constant-arrival-rate"
    assert scenario["preAllocatedVUs"] == scenario["maxVUs"] == settings.vus
    assert world.asked == []

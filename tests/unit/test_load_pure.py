"""Settings, records and exits of the load, without k6."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from pytest_mojaloop_perf.errors import BadInputError
from pytest_mojaloop_perf.load.exits import SummaryCounts, classify_exit, read_status_line, read_summary
from pytest_mojaloop_perf.load.invocation import processors_of
from pytest_mojaloop_perf.load.records import SCHEMA, DropCount, RecordCounts, convert_records
from pytest_mojaloop_perf.load.scenario import Settings, arrivals_of, id_prefix, make_settings, vus_of
from pytest_mojaloop_perf.load.watch import RecordTail
from pytest_mojaloop_perf.model import (
    Dfsp,
    DfspEndpoints,
    Environment,
    HubUrls,
    LoadShape,
    Matrix,
    Pair,
    Plan,
    Profile,
)

BEGAN = 1_000_000.0
PAIRS = [("fsp201", "fsp202"), ("fsp203", "fsp204")]


def shape(**load: Any) -> LoadShape:
    return LoadShape(**{"tps": 100.0, "duration_s": 60.0, "warmup_s": 5.0, "cooldown_s": 5.0, **load})


def settings_of(matrix_payee: str = "fsp202", **load: Any) -> Settings:
    plan = Plan(
        run_id="r",
        created="c",
        target="embedded",
        target_reason="t",
        switch="reference",
        kind="perf",
        profile=Profile(name="t", summary="", load=shape(**load), objectives=()),
        matrix=Matrix(
            name="two",
            pairs=(
                Pair(payer="fsp201", payee=matrix_payee, weight_percent=60),
                Pair(payer="fsp202", payee="fsp201", weight_percent=40),
            ),
        ),
        dfsps=(
            Dfsp(fsp_id="fsp201", roles=("payer", "payee"), msisdn_first="17039811918"),
            Dfsp(fsp_id="fsp202", roles=("payer", "payee"), msisdn_first="17039811929", msisdn_count=1000),
        ),
        seed=-3,
        run_folder=Path("x"),
    )
    hub = HubUrls(
        admin_url="a", als_admin_url="a", oracle_url="a", als_url="a", quotes_url="a", transfers_url="a"
    )
    environment = Environment(
        run_id="r",
        target="embedded",
        switch="reference",
        switch_version="0",
        hub=hub,
        dfsps=tuple(
            DfspEndpoints(fsp_id=fsp, outbound_url=f"http://{fsp}/", callback_url="c")
            for fsp in ("fsp201", "fsp202")
        ),
    )
    return make_settings(plan, environment, summary_file="s")


# --- settings ---


@pytest.mark.parametrize(
    ("tps", "offered_percent", "duration_s"),
    [(1.0, 100.0, 10.0), (50.0, 101.0, 90.0), (1000.0, 101.0, 1420.0), (33.3, 100.0, 7.5)],
)
def test_the_offered_rate_and_the_number_of_arrivals_are_exact(
    tps: float, offered_percent: float, duration_s: float
) -> None:
    load = shape(tps=tps, offered_percent=offered_percent, duration_s=duration_s)
    period_ns, arrivals = arrivals_of(load)
    assert 1e9 / period_ns == pytest.approx(load.offered_tps, rel=1e-6)
    assert arrivals == pytest.approx(load.offered_tps * duration_s, abs=1)
    settings = settings_of(tps=tps, offered_percent=offered_percent, duration_s=duration_s)
    assert (arrivals - 1) * period_ns < settings.duration_ns < arrivals * period_ns


def test_calls_are_given_up_before_k6_would_cut_them_off() -> None:
    for drain_s in (0.5, 35.0):
        settings = settings_of(drain_s=drain_s)
        k6_cuts_ms = settings.duration_ns / 1e6 + settings.drain_ms
        assert k6_cuts_ms - 1100 < settings.deadline_ms < k6_cuts_ms


@pytest.mark.parametrize(
    ("tps", "vus", "wanted"), [(1, None, 20), (100, None, 510), (5000, None, 4000), (100, 7, 7)]
)
def test_vus_are_bounded(tps: float, vus: int | None, wanted: int) -> None:
    assert vus_of(shape(tps=tps, vus=vus)) == wanted


def test_msisdns_of_a_range_are_all_used_before_one_comes_back() -> None:
    for pair in settings_of().pairs:
        for used in (pair.payee_msisdns, pair.payer_msisdns):
            assert math.gcd(used.stride, used.count) == 1
            walk = {(used.offset + i * used.stride) % used.count for i in range(used.count)}
            assert len(walk) == used.count


def test_settings_name_the_payers_url_and_running_weights() -> None:
    first, second = settings_of().pairs
    assert (first.outbound_url, second.outbound_url) == ("http://fsp201", "http://fsp202")
    assert (first.upto, second.upto) == (60.0, 100.0)
    assert 0 <= settings_of().seed < 2**32


def test_a_pair_of_unknown_dfsps_is_refused() -> None:
    with pytest.raises(BadInputError, match="fsp999"):
        settings_of(matrix_payee="fsp999")


def test_a_load_too_short_for_k6_is_refused() -> None:
    with pytest.raises(BadInputError, match="one second"):
        settings_of(duration_s=0.9)


def test_ids_belong_to_one_run_and_one_seed() -> None:
    prefixes = {id_prefix(run, seed) for run in ("a", "b") for seed in (1, 2)}
    assert len(prefixes) == 4
    assert all(len(prefix) == 15 and prefix[0] in "01234567" for prefix in prefixes)


def test_a_high_rate_gets_more_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert processors_of(settings_of(tps=100)) == 1
    assert processors_of(settings_of(tps=1000)) == 5
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert processors_of(settings_of(tps=1000)) == 2


# --- records ---


def line(iteration: int, started: float, *, outcome: str = "COMMITTED", pair: int = 0) -> str:
    times = f"{BEGAN:.0f},{started:.0f},{started + 30:.0f}"
    return f"{iteration},{times},1.5,2.25,3,{pair},ID{iteration:04d},{outcome}\n"


def convert(
    tmp_path: Path, text: str, *, drops: tuple[DropCount, ...] = (), whole: bool = True
) -> tuple[RecordCounts, pl.DataFrame]:
    source, target = tmp_path / "records.csv", tmp_path / "transactions.parquet"
    source.write_text(text)
    counts = convert_records(source, target, period_ns=10_000_000, pairs=PAIRS, drops=drops, whole=whole)
    return counts, pl.read_parquet(target)


def test_records_become_rows_in_order(tmp_path: Path) -> None:
    counts, rows = convert(tmp_path, line(1, BEGAN + 12, pair=1) + line(0, BEGAN))
    assert counts == RecordCounts(rows=2, duplicates=0, malformed=0, missing=0, began_ms=BEGAN)
    assert dict(rows.schema) == SCHEMA
    assert rows["iteration"].to_list() == [0, 1]
    assert rows["scheduled_ms"].to_list() == [BEGAN, BEGAN + 10]
    assert rows.row(1, named=True) == {
        "iteration": 1,
        "scheduled_ms": BEGAN + 10,
        "started_ms": BEGAN + 12,
        "ended_ms": BEGAN + 42,
        "discovery_ms": 1.5,
        "quote_ms": 2.25,
        "transfer_ms": 3.0,
        "payer": "fsp203",
        "payee": "fsp204",
        "transfer_id": "ID0001",
        "outcome": "COMMITTED",
    }


def test_a_leg_that_was_not_reached_has_no_time(tmp_path: Path) -> None:
    _, rows = convert(tmp_path, f"0,{BEGAN:.0f},{BEGAN:.0f},{BEGAN:.0f},0.5,,,0,ID,quote:timeout\n")
    assert rows.select("discovery_ms", "quote_ms", "transfer_ms").row(0) == (0.5, None, None)


@pytest.mark.parametrize(
    "damage",
    [
        line(2, BEGAN + 20)[:-5],
        line(2, BEGAN + 20)[:-1].removesuffix("COMMITTED"),
        line(2, BEGAN + 20, outcome="transfer:400")[:-1],
        "x" * 40 + "\n",
        "\x00\x00\n",
        line(2, BEGAN + 20, pair=2),
        line(2, BEGAN + 20, outcome="fine"),
        line(2, BEGAN + 20)[:-1] + ",more\n",
        line(2, BEGAN + 20).replace("ID", ",", 1),
    ],
)
def test_a_damaged_line_is_counted_and_no_row(tmp_path: Path, damage: str) -> None:
    counts, rows = convert(tmp_path, line(0, BEGAN) + line(1, BEGAN + 10) + damage)
    assert (counts.rows, counts.malformed, counts.duplicates) == (2, 1, 0)
    assert rows["iteration"].to_list() == [0, 1]


def test_duplicates_and_gaps_are_counted(tmp_path: Path) -> None:
    text = line(0, BEGAN) + line(0, BEGAN) + line(3, BEGAN + 30)
    counts, _ = convert(tmp_path, text)
    assert (counts.rows, counts.duplicates, counts.missing) == (2, 1, 2)
    assert convert(tmp_path, text, whole=False)[0].missing == 0


def test_no_records_are_an_empty_table(tmp_path: Path) -> None:
    counts, rows = convert(tmp_path, "")
    assert counts == RecordCounts(rows=0, duplicates=0, malformed=0, missing=0, began_ms=None)
    assert dict(rows.schema) == SCHEMA


def test_drops_move_later_arrivals_only_and_never_past_the_start(tmp_path: Path) -> None:
    # Arrivals 0 and 1 ran, 2 to 101 were dropped (known at 1.1 s), 102 and later ran.
    starts = {0: 0.0, 1: 10.0, 2: 1020.0, 3: 1360.0, 4: 1400.0, 5: 1430.0}
    drops = (DropCount(at_ms=BEGAN + 1100, dropped=100),)
    text = "".join(line(i, BEGAN + at) for i, at in starts.items())
    _, rows = convert(tmp_path, text, drops=drops)
    scheduled = dict(zip(rows["iteration"], rows["scheduled_ms"] - BEGAN, strict=True))
    assert scheduled[0] == 0
    assert scheduled[1] == 10
    assert scheduled[2] == 20, "not yet known to come after the drops: the earlier arrival"
    assert scheduled[3] == 1030
    assert scheduled[5] == 1050
    assert (rows["scheduled_ms"] <= rows["started_ms"]).all()


def test_drops_known_too_early_cannot_put_an_arrival_after_its_start(tmp_path: Path) -> None:
    _, rows = convert(tmp_path, line(0, BEGAN + 400), drops=(DropCount(at_ms=BEGAN, dropped=1000),))
    assert rows["scheduled_ms"].item() == BEGAN + 400


def test_an_iteration_handed_over_before_another_is_not_scheduled_after_it(tmp_path: Path) -> None:
    text = line(0, BEGAN + 900) + line(1, BEGAN + 20)
    _, rows = convert(tmp_path, text, drops=(DropCount(at_ms=BEGAN + 300, dropped=5),))
    assert rows["scheduled_ms"].to_list() == [BEGAN, BEGAN + 10]


def test_the_tail_counts_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    tail = RecordTail(path)
    assert tail.read() == 0
    path.write_text(line(0, BEGAN) + "1,10")
    assert (tail.read(), tail.began_ms) == (1, BEGAN)
    with path.open("a") as file:
        file.write("00000\n")
    assert (tail.read(), tail.read()) == (2, 2)


# --- exits ---


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (0, "ok"),
        (99, "threshold"),
        (100, "setup-failed"),
        (104, "setup-failed"),
        (106, "setup-failed"),
        (107, "script-error"),
        (105, "aborted"),
        (108, "aborted"),
        (103, "aborted"),
        (97, "failed"),
        (109, "failed"),
        (110, "failed"),
        (1, "failed"),
        (137, "killed"),
        (139, "killed"),
        (-9, "killed"),
    ],
)
def test_no_two_endings_are_mixed_up(status: int, ended: str) -> None:
    how, detail = classify_exit(status)
    assert how == ended
    assert bool(detail) == (ended != "ok")


OLD: dict[str, dict[str, Any]] = {
    "metrics": {
        "iterations": {"type": "counter", "values": {"count": 90, "rate": 9.0}},
        "dropped_iterations": {"type": "counter", "values": {"count": 10, "rate": 1.0}},
        "vus": {"type": "gauge", "values": {"value": 1, "min": 0, "max": 7}},
        "vus_max": {"type": "gauge", "values": {"value": 20, "min": 20, "max": 20}},
    },
    "state": {"testRunDurationMs": 1.0},
}
NEW = {
    "version": "1.0.0",
    "metadata": {"k6_version": "2.0.0"},
    "results": {"metrics": [{"name": name, **metric} for name, metric in OLD["metrics"].items()]},
}


@pytest.mark.parametrize("summary", [OLD, NEW])
def test_both_machine_summaries_are_read(tmp_path: Path, summary: dict[str, Any]) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary))
    assert read_summary(path) == SummaryCounts(iterations=90, dropped=10, vus_peak=7, vus_max=20)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"results": 1}'])
def test_a_summary_that_is_not_whole_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "summary.json"
    assert read_summary(path) is None
    path.write_text(text)
    assert read_summary(path) is None


def test_the_last_printed_counts_are_read(tmp_path: Path) -> None:
    log = tmp_path / "k6.log"
    assert read_status_line(log) is None
    log.write_text("running (0.8s), 000/500 VUs, 84 complete and 0 interrupted iterations\n")
    with log.open("a") as file:
        file.write("running (3.0s), 000/500 VUs, 300 complete and 2 interrupted iterations\n")
    assert read_status_line(log) == (300, 2)


def test_settings_are_plain_json_without_secrets() -> None:
    text = msgspec.json.encode(settings_of()).decode()
    assert json.loads(text)["segment"] is None
    assert "key" not in text.lower()

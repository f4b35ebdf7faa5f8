"""Every wrong option, file and combination is refused before anything starts: exit 4, a remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pytest_mojaloop_perf.assets import asset

PROFILE = """
name: mine
summary: x
load: {tps: 5, duration_s: 30, warmup_s: 5, cooldown_s: 5}
objectives: [{metric: tps, op: ">=", limit: 5}]
"""
MATRIX = """
name: mine
pairs:
  - {payer: fsp201, payee: fsp202, weight_percent: 60}
  - {payer: fsp203, payee: fsp204, weight_percent: 40}
"""
DFSPS = """
dfsps:
  - {fsp_id: fsp201, roles: [payer], msisdn_first: "17039811918"}
  - {fsp_id: fsp202, roles: [payee], msisdn_first: "17039811929", msisdn_count: 10}
"""
ONE_DFSP = DFSPS.partition("  - {fsp_id: fsp202")[0]


def _options(*words: str) -> tuple[tuple[str, ...], str, str]:
    return words, "", ""


def _file(option: str, text: str, old: str, new: str) -> tuple[tuple[str, ...], str, str]:
    changed = text.replace(old, new) if old else new
    assert changed != text or not old, f"{old!r} is not in the text"
    return (f"--perf-{option}=mine.yaml",), "mine.yaml", changed


CASES = {
    "tps negative": (_options("--tps=-5"), "--tps is '-5'"),
    "tps zero": (_options("--tps=0"), "above 0"),
    "tps absurd": (_options("--tps=1e9"), "at most 100,000"),
    "tps a word": (_options("--tps=fast"), "--tps is 'fast'"),
    "tps nan": (_options("--tps=nan"), "--tps is 'nan'"),
    "target unknown": (_options("--perf-target=moon"), "invalid choice"),
    "target aws without opt-in": (_options("--perf-target=aws"), "aws always needs an explicit opt-in"),
    "target kind": (_options("--perf-target=kind"), "not available in this version"),
    "target existing": (_options("--perf-target=existing"), "not available in this version"),
    "switch mojaloop on embedded": (_options("--perf-switch=mojaloop"), "expected reference"),
    "switch unknown": (_options("--perf-switch=other"), "invalid choice"),
    "profile unknown": (_options("--perf-profile=nope"), "there is no profile named 'nope'"),
    "profile missing file": (_options("--perf-profile=./nope.yaml"), "does not exist"),
    "profile is a folder": (_options("--perf-profile=./"), "does not exist or is not a file"),
    "matrix unknown": (_options("--perf-matrix=nope"), "there is no matrix named 'nope'"),
    "dfsps unknown": (_options("--perf-dfsps=nope"), "there is no dfsps named 'nope'"),
    "duration a word": (_options("--perf-duration=long"), "--perf-duration is 'long'"),
    "duration negative": (_options("--perf-duration=-5s"), "expected a duration above zero"),
    "duration too short": (_options("--perf-duration=6s"), "the steady window"),
    "duration below the cuts": (
        _options("--perf-duration=30s", "--perf-warmup=20s", "--perf-cooldown=15s"),
        "expected more than warm-up",
    ),
    "warm-up a word": (_options("--perf-warmup=x"), "--perf-warmup is 'x'"),
    "cool-down a word": (_options("--perf-cooldown=1 year"), "--perf-cooldown is '1 year'"),
    "timeout too long": (_options("--perf-request-timeout=10h"), "request_timeout_s"),
    "vus zero": (_options("--perf-vus=0"), "--perf-vus is '0'"),
    "vus a fraction": (_options("--perf-vus=1.5"), "--perf-vus is '1.5'"),
    "seed a word": (_options("--perf-seed=lucky"), "--perf-seed is 'lucky'"),
    "seed negative": (_options("--perf-seed=-1"), "--perf-seed is '-1'"),
    "jws none": (_options("--perf-jws=none"), "invalid choice"),
    "ilp 2": (_options("--perf-ilp=2"), "invalid choice"),
    "output is a file": (_options("--perf-output=taken"), "cannot be written"),
    "output below a file": (_options("--perf-output=taken/runs"), "cannot be written"),
    "k6 not there": (_options("--perf-k6=./no-k6"), "no-k6"),
    "k6 not k6": (_options("--perf-k6=./not-k6"), "not-k6"),
    "keep unknown": (_options("--perf-keep=forever"), "invalid choice"),
    "keep for a word": (_options("--perf-keep-for=ever"), "--perf-keep-for is 'ever'"),
    "reuse of nothing": (_options("--perf-reuse=20200101-000000-0000"), "20200101-000000-0000"),
    "fault unknown": (_options("--perf-fault=gremlins"), "--perf-fault names 'gremlins'"),
    "fault with a bad parameter": (_options("--perf-fault=slow-leg=transfer"), "expected LEG:MS"),
    "fault with a parameter too many": (_options("--perf-fault=no-jws-check=5"), "expected no parameter"),
    "fault twice": (_options("--perf-fault=not-reversed", "--perf-fault=not-reversed"), "given twice"),
    "profile not YAML": (_file("profile", PROFILE, "", "a: [b"), "is not YAML"),
    "profile a list": (_file("profile", PROFILE, "", "- 1"), "Expected `object`"),
    "profile without load": (_file("profile", PROFILE, "load:", "lod:"), "unknown field `lod`"),
    "profile with a wrong type": (_file("profile", PROFILE, "tps: 5,", "tps: many,"), "$.load.tps"),
    "profile with no objectives": (
        _file("profile", PROFILE, '[{metric: tps, op: ">=", limit: 5}]', "[]"),
        "has no objectives",
    ),
    "profile with an unknown metric": (
        _file("profile", PROFILE, "metric: tps", "metric: happiness"),
        "no metric named 'happiness'",
    ),
    "objective the wrong way": (_file("profile", PROFILE, '">="', '"<"'), "looks the wrong way"),
    "objective with an unknown comparison": (_file("profile", PROFILE, '">="', '"~"'), "Invalid enum value"),
    "objective twice": (
        _file("profile", PROFILE, "limit: 5}]", 'limit: 5}, {metric: tps, op: ">=", limit: 6}]'),
        "two objectives for tps",
    ),
    "profile offering less than it proves": (
        _file("profile", PROFILE, "tps: 5,", "tps: 5, offered_percent: 90,"),
        "offered_percent",
    ),
    "matrix weights": (_file("matrix", MATRIX, "40", "30"), "add up to 90 percent"),
    "matrix weight negative": (
        _file("matrix", MATRIX, "weight_percent: 40", "weight_percent: -40"),
        "above 0",
    ),
    "matrix pays itself": (_file("matrix", MATRIX, "payee: fsp202", "payee: fsp201"), "pay itself"),
    "matrix pair twice": (
        _file("matrix", MATRIX, "payer: fsp203, payee: fsp204", "payer: fsp201, payee: fsp202"),
        "twice",
    ),
    "matrix unknown DFSP": (_file("matrix", MATRIX, "payee: fsp204", "payee: fsp999"), "unknown DFSP fsp999"),
    "matrix payer that only receives": (
        _file("matrix", MATRIX, "payer: fsp203", "payer: fsp206"),
        "uses fsp206 as a payer",
    ),
    "matrix other currency": (
        _file("matrix", MATRIX, "name: mine", "name: mine\ncurrency: USD"),
        "pays in USD",
    ),
    "matrix empty": (_file("matrix", MATRIX, "", "name: mine\npairs: []"), "has no pairs"),
    "dfsps only one": (
        _file("dfsps", DFSPS, "", DFSPS.partition("  - {fsp_id: fsp202")[0]),
        "describes 1 DFSPs",
    ),
    "dfsps twice": (_file("dfsps", DFSPS, "fsp_id: fsp202", "fsp_id: fsp201"), "describes fsp201 twice"),
    "dfsps overlap": (_file("dfsps", DFSPS, "17039811929", "17039811909"), "overlapping MSISDN ranges"),
    "dfsps bad msisdn": (_file("dfsps", DFSPS, '"17039811929"', '"+1703"'), "msisdn_first '+1703'"),
    "dfsps funds below ndc": (
        _file("dfsps", DFSPS, "roles: [payer]", 'roles: [payer], ndc: "100", funds_in: "50"'),
        "0 < ndc <= funds_in",
    ),
    "dfsps no role": (_file("dfsps", DFSPS, "roles: [payer]", "roles: []"), "without roles"),
    "dfsps unknown role": (_file("dfsps", DFSPS, "roles: [payer]", "roles: [bank]"), "Invalid enum value"),
    "dfsps is the hub": (_file("dfsps", DFSPS, "fsp_id: fsp201", "fsp_id: Hub"), "the hub's own name"),
    "dfsps without those of the matrix": (_file("dfsps", DFSPS, "", DFSPS), "unknown DFSP fsp204"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_bad_input_is_refused(
    pytester: pytest.Pytester, case: tuple[tuple[tuple[str, ...], str, str], str]
) -> None:
    (words, name, text), expected = case
    (pytester.path / "taken").write_text("a file")
    fake = pytester.path / "not-k6"
    fake.write_text("#!/bin/sh\necho something else\n")
    fake.chmod(0o755)
    if name:
        (pytester.path / name).write_text(text)
    before = {path.name for path in pytester.path.iterdir()}
    pytester.makepyfile("import pytest\n@pytest.mark.perf\ndef test_live(perf_run):\n    pass\n")
    before |= {path.name for path in pytester.path.iterdir()}
    result = pytester.runpytest_inprocess("-m", "perf", "-p", "no:xdist", "--perf-allure=never", *words)
    told = result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, told
    assert expected in told
    if "invalid choice" not in expected:
        assert "Remedy: " in told
    assert "Traceback" not in told
    # .local: the user's folder for the state of kept environments, which was looked into; the others are
    # pytest's and its plugins'.
    assert {path.name for path in pytester.path.iterdir()} - before <= {
        ".pytest_cache",
        ".local",
        ".benchmarks",
        "__pycache__",
    }


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("env", "perf_target is 'moon' (from MOJALOOP_PERF_TARGET)"),
        ("ini", "perf_target is 'moon' (from ini perf_target)"),
    ],
)
def test_bad_environment_and_ini_forms_name_their_source(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, form: str, expected: str
) -> None:
    if form == "env":
        monkeypatch.setenv("MOJALOOP_PERF_TARGET", "moon")
    else:
        pytester.makeini("[pytest]\nperf_target = moon\n")
    result = pytester.runpytest_inprocess("-m", "perf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert expected in result.stderr.str()


def test_a_missing_k6_names_both_remedies(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    pytester.makepyfile("import pytest\n@pytest.mark.perf\ndef test_live(perf_run):\n    pass\n")
    result = pytester.runpytest_inprocess("-m", "perf", "--perf-k6-install=never")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--perf-k6" in result.stderr.str()
    assert "Go" in result.stderr.str()


def test_good_copies_of_the_packaged_files_are_accepted(pytester: pytest.Pytester) -> None:
    for source in (
        "fixtures/profiles/embedded.yaml",
        "fixtures/matrices/asymmetric.yaml",
        "fixtures/dfsps.yaml",
    ):
        shutil.copy(asset(source), pytester.path)
    result = pytester.runpytest_inprocess(
        "--perf-plan",
        "--perf-profile=./embedded.yaml",
        "--perf-matrix=./asymmetric.yaml",
        "--perf-dfsps=./dfsps.yaml",
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*51 transactions/s offered to prove 50 TPS, for 1m00s"])
    assert not (pytester.path / "perf-runs").exists()

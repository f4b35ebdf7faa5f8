from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from pytest_mojaloop_perf import __version__, cli
from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.model import Gate, LoadRun, Measurement, Reconciliation, Verdict
from pytest_mojaloop_perf.profiles import load_profile
from tests.unit.stored_runs import stored_run

FASTER = """
name: faster
summary: more than was offered
load: {tps: 100, duration_s: 60, warmup_s: 10, cooldown_s: 5}
objectives:
  - {metric: tps, op: ">=", limit: 100}
"""
STRICTER = """
name: stricter
summary: the same load, a lower latency
load: {tps: 50, duration_s: 60, warmup_s: 20, cooldown_s: 5}
objectives:
  - {metric: e2e_p95_ms, op: "<", limit: 50}
"""


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_stored_run_is_judged_as_before_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored_run(tmp_path / "run")
    before = _contents(folder.path)
    done = cli.rejudge(folder)
    assert done.verdict == folder.read(Verdict)
    assert done.measurement == folder.read(Measurement)
    assert done.verdict.outcome == "PASS"
    assert cli.main(["rejudge", str(folder.path)]) == 0
    assert capsys.readouterr().out.startswith("PASS: 50 TPS")
    assert _contents(folder.path) == before


def test_a_run_folder_can_be_moved(tmp_path: Path) -> None:
    folder = stored_run(tmp_path / "run")
    shutil.move(folder.path, tmp_path / "elsewhere")
    assert cli.main(["rejudge", str(tmp_path / "elsewhere")]) == 0


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (FASTER, 10, "50 TPS were offered, which cannot show 100 TPS"),
        (STRICTER, 1, "FAIL: end-to-end p95 90.5"),
    ],
)
def test_another_profile_judges_the_same_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, status: int, words: str
) -> None:
    folder = stored_run(tmp_path / "run")
    profile = tmp_path / "other.yaml"
    profile.write_text(text)
    assert cli.main(["rejudge", str(folder.path), "--profile", str(profile)]) == status
    assert words in capsys.readouterr().out


def test_a_packaged_profile_is_known_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rejudge", str(stored_run(tmp_path / "run").path), "--profile", "seed"]) == 10
    assert "cannot show 1,000 TPS" in capsys.readouterr().out


def test_the_window_stays_that_of_the_run(tmp_path: Path) -> None:
    folder = stored_run(tmp_path / "run")
    profile = tmp_path / "other.yaml"
    profile.write_text(STRICTER)
    done = cli.rejudge(folder, load_profile(str(profile)))
    assert done.measurement.window == folder.read(Measurement).window


def test_json_has_verdict_and_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored_run(tmp_path / "run")
    assert cli.main(["rejudge", str(folder.path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert msgspec.convert(document["verdict"], Verdict) == folder.read(Verdict)
    assert document["measurement"]["tps"] == 50.0
    assert document["profile"] == "synthetic"


def test_save_leaves_the_first_verdict_alone(tmp_path: Path) -> None:
    folder = stored_run(tmp_path / "run")
    first = folder.file("verdict.json").read_bytes()
    profile = tmp_path / "other.yaml"
    profile.write_text(STRICTER)
    assert cli.main(["rejudge", str(folder.path), "--profile", str(profile), "--save"]) == 1
    assert folder.file("verdict.json").read_bytes() == first
    assert folder.read(Verdict, name="verdict-rejudged").outcome == "FAIL"
    assert folder.read(Measurement, name="measurement-rejudged").tps == 50.0


def test_what_a_hook_said_of_the_run_still_holds(tmp_path: Path) -> None:
    folder = stored_run(tmp_path / "run")
    gate = Gate(name="disk", wanted="1 GB free", observed="none", ok=False)
    verdict = folder.read(Verdict)
    folder.write(msgspec.structs.replace(verdict, outcome="INVALID", gates=(*verdict.gates, gate)))
    assert cli.main(["rejudge", str(folder.path)]) == 10
    assert cli.rejudge(folder).verdict.gates[-1] == gate


@pytest.mark.parametrize(
    ("name", "words"),
    [("machine.jsonl", "not sampled throughout"), ("reconciliation.json", "the ledger could not be read")],
)
def test_a_part_of_the_evidence_that_is_gone_makes_it_invalid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    folder = stored_run(tmp_path / "run")
    folder.file(name).unlink()
    assert cli.main(["rejudge", str(folder.path)]) == 10
    assert words in capsys.readouterr().out
    assert not folder.has(Reconciliation) or name == "machine.jsonl"


def test_transactions_that_are_gone_make_it_invalid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored_run(tmp_path / "run")
    folder.read(LoadRun).transactions.unlink()
    assert cli.main(["rejudge", str(folder.path)]) == 10
    assert "INVALID: the transactions in" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["plan.json", "load-run.json", None])
def test_a_folder_without_a_run_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str | None
) -> None:
    folder = RunFolder(tmp_path / "run")
    if missing is not None:
        stored_run(folder.path).file(missing).unlink()
    assert cli.main(["rejudge", str(folder.path)]) == 4
    assert "Remedy: " in capsys.readouterr().err


def test_an_unknown_profile_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rejudge", str(stored_run(tmp_path / "run").path), "--profile", "nosuch"]) == 4
    assert "there is no profile named 'nosuch'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["nosuch"], ["rejudge"], ["rejudge", ".", "--nosuch"]])
def test_a_wrong_command_line_is_bad_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(words)
    assert ending.value.code == 4
    assert "usage: mojaloop-perf" in capsys.readouterr().err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--version"], ["--help"]):
        with pytest.raises(SystemExit) as ending:
            cli.main(words)
        assert ending.value.code == 0
    printed = capsys.readouterr().out
    assert f"mojaloop-perf {__version__}" in printed
    assert all(command.name in printed for command in cli.SUBCOMMANDS)


def test_a_report_is_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored_run(tmp_path / "run")
    assert cli.main(["report", str(folder.path)]) == 0
    assert "PASS" in capsys.readouterr().out
    assert "</html>" in folder.file("report.html").read_text()


def test_an_environment_that_is_not_kept_cannot_be_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert cli.main(["down", "20200101-000000-0000"]) == 4
    assert "no kept environment is named" in capsys.readouterr().err
    assert cli.main(["down", "--all"]) == 0
    assert "there is no kept environment" in capsys.readouterr().out


def test_a_missing_k6_is_an_error_when_it_may_not_be_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["k6", "--no-install"]) == 12
    assert "Remedy: install k6" in capsys.readouterr().err

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_mojaloop_perf import command, errors
from pytest_mojaloop_perf.report import allure
from pytest_mojaloop_perf.report.bundle import RunBundle, write_bundle

Make = Callable[..., RunBundle]

INVALID, INFRASTRUCTURE, BAD_INPUT, FAIL, DEFECT = (str(one["name"]) for one in allure.CATEGORIES)

LIVE = """
import pytest
from pathlib import Path
from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.report import allure
from pytest_mojaloop_perf.report.bundle import read_bundle
from pytest_mojaloop_perf.report.live import progress_for

@pytest.fixture(scope="session")
def run(request):
    progress = progress_for(request.config)
    progress.say("seen past the capture")
    print("never seen: captured")
    bundle = read_bundle(RunFolder(Path({folder!r})))
    with allure.step("provision {{the}} environment"):
        pass
    allure.attach_bundle(bundle)
    allure.write_environment({results!r}, bundle)
    allure.write_categories({results!r})
    return bundle

@pytest.fixture
def invalid(run):
    pytest.fail("INVALID: the generator was starved", pytrace=False)

@pytest.fixture
def broken():
    pytest.fail("INFRASTRUCTURE: the hub ended. Remedy: read its log.", pytrace=False)

def test_tps(run):
    allure.label("objective")

def test_p95_is_below_the_objective(run):
    assert 512.0 < 500.0, "end-to-end p95 is 512 ms, wanted < 500 ms"

def test_of_an_invalid_run(invalid): ...
def test_without_an_environment(broken): ...
def test_with_a_mistake():
    raise KeyError("a defect of ours")
"""


def _category(status: str, message: str) -> list[str]:
    """Return the categories that match, as Java does (whole text) and as JavaScript does (anywhere)."""
    found = []
    for category in allure.CATEGORIES:
        pattern = category["messageRegex"]
        assert "(?s" not in pattern, "JavaScript knows no inline flags"
        whole, anywhere = re.fullmatch(pattern, message), re.search(pattern, message)
        assert bool(whole) == bool(anywhere)
        if status in category["matchedStatuses"] and whole:
            found.append(category["name"])
    return found


@pytest.mark.parametrize(
    ("status", "message", "name"),
    [
        ("failed", "AssertionError: p95 is 512 ms, wanted < 500 ms\nassert 512 < 500", FAIL),
        ("failed", "AssertionError: x\nsecond line says INVALID and INFRASTRUCTURE", FAIL),
        ("failed", "Failed: INVALID: the generator was starved\n  gate: 93.7 %", INVALID),
        ("failed", "Failed: INVALID: CommandError in the generator", INVALID),
        ("failed", "Failed: INFRASTRUCTURE: the hub ended. Remedy: read its log.", INFRASTRUCTURE),
        ("broken", "KeyError: 'a defect of ours'", DEFECT),
    ],
)
def test_each_failure_has_exactly_one_category(status: str, message: str, name: str) -> None:
    assert _category(status, message) == [name]


@pytest.mark.parametrize("kind", [getattr(errors, name) for name in errors.__all__ if name != "PerfError"])
def test_every_error_class_has_its_category(kind: type[errors.PerfError]) -> None:
    message = f"{kind.__module__}.{kind.__name__}: {kind('the thing is wrong', remedy='mend it')}"
    wanted = {errors.InvalidRunError: INVALID, errors.BadInputError: BAD_INPUT}.get(kind, INFRASTRUCTURE)
    assert _category("broken", message) == [wanted]


def test_the_environment_is_a_properties_file_in_ascii(make_bundle: Make, tmp_path: Path) -> None:
    bundle = make_bundle()
    bundle.versions["cpu model"] = "Préc=ise: \\ 漢\nsecond line"
    path = allure.write_environment(tmp_path / "results", bundle)
    text = path.read_bytes().decode("ascii")
    assert text.startswith(
        "Verdict=PASS\nSwitch=reference (not Mojaloop)\nCompleted\\ TPS=50.99 (met: >= 50)\n"
    )
    assert "cpu\\ model=Pr\\u00e9c=ise: \\\\ \\u6f22 second line\n" in text


def test_the_executor_is_written_in_ci_only(tmp_path: Path) -> None:
    assert allure.write_executor(tmp_path, {}) is None
    environ = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": "a/b",
        "GITHUB_RUN_ID": "7",
        "GITHUB_WORKFLOW": "perf",
        "GITHUB_RUN_NUMBER": "3",
    }
    path = allure.write_executor(tmp_path, environ)
    assert path
    assert json.loads(path.read_text()) == {
        "name": "GitHub Actions",
        "type": "github",
        "buildName": "perf #3",
        "buildUrl": "https://github.example/a/b/actions/runs/7",
    }
    assert allure.write_executor(tmp_path, {"GITLAB_CI": "true"})
    assert allure.write_executor(tmp_path, {"JENKINS_URL": "http://ci"})


def test_without_allure_everything_is_harmless(make_bundle: Make) -> None:
    bundle = make_bundle()
    write_bundle(bundle)
    with allure.step("a step with {braces} that nobody sees"):
        allure.attach_bundle(bundle)
        allure.attach_file("plan", bundle.run_folder / "plan.json")


def test_a_step_lets_errors_through() -> None:
    with pytest.raises(KeyError), allure.step("fails"):
        raise KeyError


def _run_live(make_bundle: Make, tmp_path: Path) -> tuple[Path, str]:
    bundle = make_bundle("FAIL")
    write_bundle(bundle)
    log = bundle.run_folder / "logs" / "hub.log"
    log.write_text("password=hunter2\n" + "x" * 300_000 + "\nthe end")
    results = tmp_path / "results"
    (tmp_path / "test_live.py").write_text(LIVE.format(folder=str(bundle.run_folder), results=str(results)))
    words = ["-m", "pytest", "-p", "no:cacheprovider", f"--alluredir={results}", "test_live.py"]
    done = command.run(
        [sys.executable, *words], timeout_s=120, remedy="read its output", cwd=tmp_path, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return results, done.stdout


def test_a_real_session_hands_allure_all_that_it_should(make_bundle: Make, tmp_path: Path) -> None:
    results, output = _run_live(make_bundle, tmp_path)
    assert output.index("seen past the capture") < output.index("FAILURES")
    cases = {
        case["name"]: case for case in (json.loads(p.read_text()) for p in results.glob("*-result.json"))
    }
    assert len(cases) == 5
    expected = {
        "test_p95_is_below_the_objective": FAIL,
        "test_of_an_invalid_run": INVALID,
        "test_without_an_environment": INFRASTRUCTURE,
        "test_with_a_mistake": DEFECT,
    }
    for name, category in expected.items():
        assert _category(cases[name]["status"], cases[name]["statusDetails"]["message"]) == [category]
    labels = {(one["name"], one["value"]) for one in cases["test_tps"]["labels"]}
    assert {("feature", "Objectives"), ("severity", "critical")} <= labels
    attachments, steps = _fixture_content(results)
    assert {"TPS over time", "Latency over time", "Latency by leg", "Report of the run"} <= set(attachments)
    assert {"verdict.json", "measurement.json", "plan.json", "log of hub"} <= set(attachments)
    assert "provision {the} environment" in steps
    log = (results / attachments["log of hub"]).read_text()
    assert log.endswith("the end")
    assert len(log) < 140_000
    assert "hunter2" not in log
    assert (results / attachments["TPS over time"]).suffix == ".svg"


def _fixture_content(results: Path) -> tuple[dict[str, str], list[str]]:
    containers: list[dict[str, Any]] = [json.loads(p.read_text()) for p in results.glob("*-container.json")]
    befores = [before for container in containers for before in container.get("befores", [])]
    attached = [one for before in befores for one in before.get("attachments", [])]
    steps = [step["name"] for before in befores for step in before.get("steps", [])]
    return {one["name"]: one["source"] for one in attached}, steps


class _Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, stage: str, done: float, total: float, note: str = "") -> None: ...


STANDIN = """#!{python}
import json, os, sys
from pathlib import Path
words = sys.argv[1:]
Path({log!r}).open("a").write(json.dumps(words) + "\\n")
if words == ["--version"]:
    print({version!r})
elif {works!r}:
    out = Path(words[words.index("--output") + 1])
    out.mkdir(parents=True, exist_ok=True)
    tag = '<script async src="https://www.googletagmanager.com/gtag/js?id=G-X"></script>'
    (out / "index.html").write_text(f"<p>made{{tag}}</p>")
else:
    sys.exit("cannot")
"""


def _standin(folder: Path, version: str, *, works: bool = True) -> tuple[Path, Path]:
    """Put a program named allure into a folder, and return the folder and what it was called with."""
    bin_folder, log = folder / "bin", folder / "calls.jsonl"
    bin_folder.mkdir()
    program = bin_folder / "allure"
    program.write_text(STANDIN.format(python=sys.executable, log=str(log), version=version, works=works))
    program.chmod(0o755)
    return bin_folder, log


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "a-result.json").write_text("{}")
    allure.write_categories(folder)
    return folder


@pytest.mark.parametrize(
    ("version", "single"),
    [("2.46.1", True), ("2.13.8", False), ("3.18.0", False), ("allure 3.0.0-beta", False)],
)
def test_the_html_is_made_by_the_allure_that_is_there(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, single: bool
) -> None:
    folder, log = _standin(tmp_path, version)
    monkeypatch.setenv("PATH", str(folder))
    out, said = tmp_path / "report", _Said()
    assert allure.generate(results, out, progress=said) == out / "index.html"
    assert not said.lines
    assert (out / "index.html").read_text() == "<p>made</p>"
    made = json.loads(log.read_text().splitlines()[-1])
    assert made[:2] == ["generate", str(results)]
    assert ("--single-file" in made) == single
    assert ("--config" in made) == ("3." in version.removeprefix("allure ")[:2])
    if "--config" in made:
        configuration = json.loads(Path(made[made.index("--config") + 1]).read_text())
        assert configuration["plugins"]["awesome"]["options"]["singleFile"] is True
        assert next(one["name"] for one in configuration["categories"]) == INVALID


def test_without_any_allure_it_says_how_to_get_one(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = _Said()
    assert allure.generate(results, tmp_path / "report", progress=said) is None
    assert "npm install -g allure" in said.lines[0]


def test_an_allure_that_fails_is_told_and_not_raised(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = _standin(tmp_path, "3.18.0", works=False)
    monkeypatch.setenv("PATH", str(folder))
    said = _Said()
    assert allure.generate(results, tmp_path / "report", progress=said) is None
    assert "ended with status 1" in said.lines[0]
    assert "cannot" in said.lines[0]


def test_npx_is_never_allowed_to_download(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    npx = folder / "npx"
    npx.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        "assert sys.argv[1:3] == ['--no-install', 'allure'], sys.argv\n"
        "assert os.environ['npm_config_offline'] == 'true'\nsys.exit('not installed')\n"
    )
    npx.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    said = _Said()
    assert allure.generate(results, tmp_path / "report", progress=said) is None
    assert "allure is not installed" in said.lines[0]


def test_no_results_no_report(tmp_path: Path) -> None:
    said = _Said()
    assert allure.generate(tmp_path, tmp_path / "report", progress=said) is None
    assert "holds no results" in said.lines[0]

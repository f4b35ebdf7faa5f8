from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import msgspec
import pytest

from pytest_mojaloop_perf.model import Fault, Latency, Second
from pytest_mojaloop_perf.report import html
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.charts import CHARTS
from pytest_mojaloop_perf.report.svg import standalone

Make = Callable[..., RunBundle]

VOID = {"meta", "br", "link", "img", "input", "hr"}
PARTS = ("environment", "roster", "load", "measurement", "verdict", "reconciliation")
HOSTILE = "\"'><script>alert('x')</script><img src=x onerror=alert(1)>&{{ 7*7 }}"


class Page(HTMLParser):
    """Collects elements, attributes and text, and holds that every element is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INVALID"])
def test_every_outcome_makes_a_well_formed_page_that_says_it(make_bundle: Make, outcome: str) -> None:
    bundle = make_bundle(outcome)
    page = Page(html.render(bundle))
    assert f"<h1>{outcome}" not in page.text
    assert outcome in page.text
    assert bundle.sentence in page.text
    assert page.tags.count("h1") == 1
    assert page.tags.count("svg") == 1 + 2 * len(CHARTS)
    for dfsp in bundle.plan.dfsps:
        assert dfsp.fsp_id in page.text


def test_the_page_fetches_nothing(make_bundle: Make) -> None:
    text = html.render(make_bundle("FAIL"))
    page = Page(text)
    fetching = {"src", "srcset", "action", "data", "poster", "background", "formaction", "xlink:href"}
    assert not [found for found in page.attributes if found[1] in fetching]
    assert not {"link", "img", "iframe", "object", "embed", "video", "audio", "base", "form"} & set(page.tags)
    assert all(value.startswith("#") for _, name, value in page.attributes if name == "href")
    styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    scripts = "".join(re.findall(r"<script>(.*?)</script>", text, re.DOTALL))
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|new Worker|sendBeacon|WebSocket", scripts)
    policy = next(value for tag, name, value in page.attributes if tag == "meta" and value.startswith("def"))
    assert policy.startswith("default-src 'none'")


def test_hostile_text_stays_text(make_bundle: Make) -> None:
    bundle = make_bundle("FAIL")
    assert bundle.verdict
    assert bundle.measurement
    assert bundle.reconciliation
    plan = msgspec.structs.replace(bundle.plan, target_reason=HOSTILE, faults=(Fault(name=HOSTILE),))
    pair = msgspec.structs.replace(bundle.measurement.pairs[0], payer=HOSTILE)
    measurement = msgspec.structs.replace(bundle.measurement, failures=((HOSTILE, 3),), pairs=(pair,))
    defect = msgspec.structs.replace(bundle.reconciliation.defects[0], sample=(HOSTILE,), detail=HOSTILE)
    probe = msgspec.structs.replace(bundle.security[0].probes[0], observed=HOSTILE)
    hostile = msgspec.structs.replace(
        bundle,
        plan=plan,
        measurement=measurement,
        verdict=msgspec.structs.replace(bundle.verdict, sentence=HOSTILE, bottleneck=HOSTILE),
        reconciliation=msgspec.structs.replace(bundle.reconciliation, defects=(defect,)),
        security=(msgspec.structs.replace(bundle.security[0], probes=(probe,)),),
        versions={HOSTILE: HOSTILE},
    )
    text = html.render(hostile)
    page = Page(text)
    assert "alert('x')</script>" not in text
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("{{ 7*7 }}") >= 8


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_said_to_be_missing(make_bundle: Make, part: str) -> None:
    bundle = msgspec.structs.replace(make_bundle(), **{part: None})
    page = Page(html.render(bundle))
    assert page.tags.count("section") == 11
    expected = {
        "measurement": "Not recorded: no transaction was measured.",
        "verdict": "NO VERDICT",
        "reconciliation": "Not recorded: the ledgers were not compared.",
    }
    assert expected.get(part, "PASS" if part != "verdict" else "NO VERDICT") in page.text


def test_a_run_that_broke_says_why(make_bundle: Make) -> None:
    whole = make_bundle()
    bundle = RunBundle(plan=whole.plan, run_folder=whole.run_folder, broke="the hub did not start")
    page = Page(html.render(bundle))
    assert "NO VERDICT" in page.text
    assert "The run broke before it could be judged: the hub did not start" in page.text
    assert "not judged" in page.text


def test_too_few_samples_are_told_and_nothing_is_nan(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert bundle.measurement
    assert bundle.verdict
    few = Latency(count=3, max_ms=4.0)
    measurement = msgspec.structs.replace(
        bundle.measurement,
        e2e=few,
        service=few,
        legs=(("discovery", few), ("quote", few), ("transfer", Latency(count=0))),
        e2e_p95_interval=None,
        success_interval=None,
        histograms=(),
        seconds=bundle.measurement.seconds[:1],
        machine=None,
    )
    results = tuple(
        msgspec.structs.replace(result, measured=None, met=False) for result in bundle.verdict.objectives
    )
    page = Page(
        html.render(
            msgspec.structs.replace(
                bundle,
                measurement=measurement,
                verdict=msgspec.structs.replace(bundle.verdict, objectives=results),
            )
        )
    )
    assert "too few samples" in page.text
    assert not re.search(r"\b(nan|None|inf|undefined)\b", page.text)


def test_the_reference_switch_is_not_presented_as_mojaloop(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert "Not Mojaloop." in Page(html.render(bundle)).text
    real = msgspec.structs.replace(bundle, plan=msgspec.structs.replace(bundle.plan, switch="mojaloop"))
    assert "Not Mojaloop." not in Page(html.render(real)).text


def test_it_is_written_whole_into_the_run_folder(make_bundle: Make) -> None:
    bundle = make_bundle()
    path = html.write(bundle)
    assert path == bundle.run_folder / "report.html"
    assert path.read_text(encoding="utf-8") == html.render(bundle)
    assert [found.name for found in bundle.run_folder.iterdir()] == ["report.html"]


@pytest.mark.parametrize("size", ["wide", "narrow"])
@pytest.mark.parametrize(("tps", "duration_s"), [(5, 60), (1000, 1620)])
def test_charts_are_well_formed_and_stay_in_their_frame(
    make_bundle: Make, size: str, tps: float, duration_s: float
) -> None:
    bundle = make_bundle("FAIL", tps=tps, duration_s=duration_s)
    for name, _, draw in CHARTS:
        svg = draw(bundle, size)  # type: ignore[arg-type] # one of the two sizes, see the parameters
        assert svg is not None
        root = ET.fromstring(standalone(svg))  # noqa: S314 - our own text
        width, height = (float(word) for word in root.attrib["viewBox"].split()[2:])
        for element in root.iter("{http://www.w3.org/2000/svg}path"):
            numbers = [float(word) for word in re.findall(r"-?\d+\.\d+", element.attrib["d"])]
            assert numbers, name
            assert all(0 <= x <= width for x in numbers[::2]), name
            assert all(0 <= y <= height for y in numbers[1::2]), name


@pytest.mark.parametrize(
    "seconds",
    [
        (),
        (Second(at_s=0.0, arrivals=0, committed=0, failed=0),),
        (Second(at_s=0.0, arrivals=1, committed=1, failed=0, e2e_p50_ms=0.0, e2e_p95_ms=0.0),),
        tuple(
            Second(at_s=float(at), arrivals=9, committed=9, failed=0, e2e_p50_ms=2.0, e2e_p95_ms=top)
            for at, top in enumerate((3.0, 3.0, 3.0, 30_000.0))
        ),
    ],
    ids=["none", "an empty one", "no time at all", "one that flattens the others"],
)
@pytest.mark.parametrize("bins", [(), ((0.0, 5),), ((1.0, 0),), ((1.0, 3),), ((1.0, 3), (900_000.0, 1))])
def test_odd_samples_still_make_a_page(
    make_bundle: Make, seconds: tuple[Second, ...], bins: tuple[tuple[float, int], ...]
) -> None:
    bundle = make_bundle()
    assert bundle.measurement
    measurement = msgspec.structs.replace(
        bundle.measurement, seconds=seconds, histograms=(("e2e", bins), ("quote", bins)), pairs=()
    )
    text = html.render(msgspec.structs.replace(bundle, measurement=measurement))
    Page(text)
    assert not re.search(r"\bnan\b|\binf\b", text)
    assert ("log scale, per second" in text) == (len(seconds) == 4)


def test_a_latency_far_below_its_limit_is_not_a_flat_line(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert bundle.measurement
    seconds = tuple(
        msgspec.structs.replace(second, e2e_p50_ms=12.0, e2e_p95_ms=30.0)
        for second in bundle.measurement.seconds
    )
    measurement = msgspec.structs.replace(bundle.measurement, seconds=seconds)
    assert "log scale, per second" in html.render(msgspec.structs.replace(bundle, measurement=measurement))
    assert "log scale, per second" not in html.render(bundle)


def test_a_long_run_keeps_its_spikes_and_a_bounded_page(make_bundle: Make) -> None:
    bundle = make_bundle(duration_s=36_000)
    assert bundle.measurement
    seconds = list(bundle.measurement.seconds)
    seconds[20_001] = msgspec.structs.replace(seconds[20_001], e2e_p95_ms=9_999.0)
    measurement = msgspec.structs.replace(bundle.measurement, seconds=tuple(seconds))
    text = html.render(msgspec.structs.replace(bundle, measurement=measurement))
    assert "9999.0" in text
    assert len(text) < 400_000

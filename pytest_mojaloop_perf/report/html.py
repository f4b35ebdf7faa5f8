"""The report as one HTML file that needs no network: style, script and charts are inside."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_mojaloop_perf.model import ProbeResult
from pytest_mojaloop_perf.report.axes import condense
from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.charts import CHARTS
from pytest_mojaloop_perf.report.figures import (
    REFERENCE_NOTICE,
    brief,
    bytes_text,
    created_text,
    interval_text,
    latencies,
    load_text,
    milliseconds,
    objective_rows,
    percent,
    percent_of,
    security_text,
    security_wanted,
    slowest_pair,
)
from pytest_mojaloop_perf.report.manifest import manifest
from pytest_mojaloop_perf.units import format_duration_s, format_number

__all__ = ["REPORT_FILE", "render", "write"]

REPORT_FILE = "report.html"
"""Name of the page in the run folder."""

_TONES = {"PASS": "pass", "FAIL": "fail", "INVALID": "invalid"}
_CONTROLS = {"mtls": "mTLS", "jws": "JWS", "ilp": "ILP"}
_SECTIONS = (
    ("objectives", "Objectives"),
    ("throughput", "TPS"),
    ("latency", "Latency"),
    ("spread", "Legs"),
    ("pairs", "Pairs"),
    ("failures", "Failures"),
    ("security", "Security"),
    ("money", "Money"),
    ("machine", "Machine"),
    ("gates", "Gates"),
    ("manifest", "Manifest"),
)
_TEMPLATES = Path(__file__).parent / "templates"


def write(bundle: RunBundle, path: Path | None = None) -> Path:
    """Write the page, by default into the run folder, and return its path."""
    target = path or bundle.run_folder / REPORT_FILE
    partial = target.with_name(f"{target.name}.partial")
    partial.write_text(render(bundle), encoding="utf-8")
    partial.replace(target)
    return target


def render(bundle: RunBundle) -> str:
    """Return the page; whatever part of the run is missing is said to be missing."""
    page: str = _template().render(
        bundle=bundle,
        plan=bundle.plan,
        measurement=bundle.measurement,
        machine=bundle.measurement.machine if bundle.measurement else None,
        money=bundle.reconciliation,
        tone=_TONES.get(bundle.outcome, "none"),
        keys=_keys(bundle),
        sections=_SECTIONS,
        objectives=objective_rows(bundle),
        failed_gates=[gate for gate in bundle.verdict.gates if not gate.ok] if bundle.verdict else [],
        latencies=latencies(bundle.measurement) if bundle.measurement else [],
        slowest=slowest_pair(bundle.measurement) if bundle.measurement else None,
        created=created_text(bundle.plan),
        charts=_charts(bundle),
        series=_series(bundle),
        probes=_probes(bundle),
        failed_total=sum(count for _, count in bundle.measurement.failures) if bundle.measurement else 0,
        manifest=manifest(bundle),
        load_text=load_text(bundle.plan),
        security_wanted=security_wanted(bundle.plan),
        security_text=security_text(bundle.security),
    )
    return page


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("pytest_mojaloop_perf.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(
        ms=milliseconds,
        number=format_number,
        percent=percent,
        share=percent_of,
        bytes=bytes_text,
        cores=lambda value: brief(format_number(value, digits=3)),
        controls=_CONTROLS,
        reference_notice=REFERENCE_NOTICE,
        charts_css=_own("charts.css"),
        report_css=_own("report.css"),
        report_js=_own("report.js"),
    )
    return environment.get_template("report.html")


def _own(name: str) -> Markup:
    """Return a packaged file as text that needs no escaping, because nobody else wrote it."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file


def _charts(bundle: RunBundle) -> dict[str, dict[str, Markup] | None]:
    return {name: _both_sizes(draw(bundle, "wide"), draw(bundle, "narrow")) for name, _, draw in CHARTS}


def _both_sizes(wide: str | None, narrow: str | None) -> dict[str, Markup] | None:
    if wide is None or narrow is None:
        return None
    return {"wide": Markup(wide), "narrow": Markup(narrow)}  # noqa: S704 - svg.py escapes every text


def _probes(bundle: RunBundle) -> list[tuple[str, str, str, list[ProbeResult | None]]]:
    """Return each probe once: name, control, what was expected, and what was seen each time."""
    seen = [{(probe.name, probe.control): probe for probe in when.probes} for when in bundle.security]
    keys = dict.fromkeys(key for probes in seen for key in probes)
    rows: list[tuple[str, str, str, list[ProbeResult | None]]] = []
    for key in keys:
        each = [probes.get(key) for probes in seen]
        expected = next(probe.expected for probe in each if probe)
        rows.append((*key, expected, each))
    return rows


def _keys(bundle: RunBundle) -> list[dict[str, Any]]:
    """Return the four figures that stand under the verdict."""
    measured, plan = bundle.measurement, bundle.plan
    target = f"target {format_number(plan.profile.load.tps)}"
    where = {
        "name": "Ran on",
        "value": plan.target,
        "unit": "",
        "note": f"switch: {plan.switch}",
        "text": True,
    }
    if measured is None:
        return [{"name": "TPS", "value": "-", "unit": "", "note": target, "text": False}, where]
    p95, interval = measured.e2e.p95_ms, interval_text(measured.e2e_p95_interval, unit=" ms")
    return [
        {"name": "TPS", "value": format_number(measured.tps), "unit": "", "note": target, "text": False},
        {
            "name": "Success",
            "value": percent(measured.success_percent),
            "unit": "",
            "note": interval_text(measured.success_interval, unit=" %"),
            "text": False,
        },
        {
            "name": "End-to-end p95",
            "value": milliseconds(p95),
            "unit": "ms" if p95 is not None else "",
            "note": interval,
            "text": p95 is None,
        },
        {
            "name": "Steady window",
            "value": format_duration_s(measured.window.duration_s),
            "unit": "",
            "note": f"of {format_duration_s(plan.profile.load.duration_s)}",
            "text": False,
        },
        where,
    ]


def _series(bundle: RunBundle) -> dict[str, Any]:
    """Return what the charts over time show under the pointer."""
    if bundle.measurement is None or not bundle.measurement.seconds:
        return {}
    seconds, _ = condense(bundle.measurement.seconds, 1000)
    at, end = [second.at_s for second in seconds], max(s.at_s for s in bundle.measurement.seconds) or 1
    tps = [
        ("offered", [second.arrivals for second in seconds]),
        ("committed", [second.committed for second in seconds]),
        ("failed", [second.failed for second in seconds]),
    ]
    latency = [
        ("p50", [second.e2e_p50_ms for second in seconds]),
        ("p95", [second.e2e_p95_ms for second in seconds]),
    ]
    return {
        "tps": {"at": at, "end": end, "unit": "", "rows": tps},
        "latency": {"at": at, "end": end, "unit": " ms", "rows": latency},
    }

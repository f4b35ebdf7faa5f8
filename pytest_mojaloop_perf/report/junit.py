"""The figures of a run as JUnit properties, for dashboards that read nothing else."""

from __future__ import annotations

from pytest_mojaloop_perf.report.bundle import RunBundle
from pytest_mojaloop_perf.report.figures import security_wanted, slowest_leg, slowest_pair

__all__ = ["junit_properties"]


def junit_properties(bundle: RunBundle) -> list[tuple[str, str]]:
    """Return (name, value) pairs; figures are plain decimals, and one that does not exist is left out."""
    plan = bundle.plan
    facts: list[tuple[str, str | float | int | None]] = [
        ("run_id", plan.run_id),
        ("verdict", bundle.outcome),
        ("verdict_sentence", bundle.sentence),
        ("target", plan.target),
        ("switch", plan.switch),
        ("switch_version", bundle.environment.switch_version if bundle.environment else None),
        ("profile", plan.profile.name),
        ("security", security_wanted(plan)),
        ("seed", plan.seed),
        ("target_tps", plan.profile.load.tps),
        *_measured(bundle),
    ]
    if bundle.reconciliation:
        defects = bundle.reconciliation.defects
        facts.append(("money_defects", sum(defect.count for defect in defects)))
        misled = bundle.reconciliation.committed_but_payer_saw_error
        facts.append(("committed_but_payer_saw_error", misled))
    if bundle.security:
        probes = [probe for observed in bundle.security for probe in observed.probes]
        refused = sum(probe.ran and probe.refused and not probe.moved_money for probe in probes)
        facts += [("security_probes", len(probes)), ("security_probes_refused", refused)]
    if bundle.load:
        facts += [("k6_version", bundle.load.k6_version), ("k6_script_sha256", bundle.load.script_sha256)]
    facts.append(("run_folder", str(bundle.run_folder)))
    return [(f"mojaloop_{name}", _plain(value)) for name, value in facts if value is not None]


def _measured(bundle: RunBundle) -> list[tuple[str, str | float | int | None]]:
    measured = bundle.measurement
    if measured is None:
        return []
    interval, pair = measured.e2e_p95_interval, slowest_pair(measured)
    return [
        ("tps", measured.tps),
        ("offered_tps", measured.offered_tps),
        ("success_percent", measured.success_percent),
        ("unanswered_percent", measured.unanswered_percent),
        ("e2e_p50_ms", measured.e2e.p50_ms),
        ("e2e_p95_ms", measured.e2e.p95_ms),
        ("e2e_p95_low_ms", interval.low if interval else None),
        ("e2e_p95_high_ms", interval.high if interval else None),
        ("e2e_p99_ms", measured.e2e.p99_ms),
        ("e2e_max_ms", measured.e2e.max_ms),
        *((f"{name}_p95_ms", latency.p95_ms) for name, latency in measured.legs),
        ("slowest_leg", slowest_leg(measured)),
        ("slowest_pair", f"{pair[0].payer}->{pair[0].payee}" if pair else None),
        ("window_s", measured.window.duration_s),
        ("scheduled", measured.scheduled),
        ("committed", measured.committed),
    ]


def _plain(value: str | float) -> str:
    """Return the value without separators, so that a machine can read it back."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)

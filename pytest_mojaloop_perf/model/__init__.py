"""The frozen values that pass between the stages, and their versioned JSON.

`Plan -> Environment -> Roster -> LoadRun -> Measurement -> Verdict`: each stage takes values of this package
and returns one. None of them holds a secret: key material is named by path only.
"""

from __future__ import annotations

from pytest_mojaloop_perf.model.core import (
    ARRIVAL_BLUR_MS,
    COMMITTED,
    GENERATOR,
    LEGS,
    PROBE_FSPS,
    LegName,
    Value,
)
from pytest_mojaloop_perf.model.happened import (
    Interval,
    Latency,
    LoadRun,
    MachineUse,
    Measurement,
    PairMeasurement,
    ProcessUse,
    Second,
    Window,
)
from pytest_mojaloop_perf.model.judged import Gate, ObjectiveResult, Verdict
from pytest_mojaloop_perf.model.money import (
    AccountBalance,
    LedgerSnapshot,
    Reconciliation,
    ReconciliationDefect,
)
from pytest_mojaloop_perf.model.present import (
    DfspEndpoints,
    Environment,
    HubUrls,
    OnboardedDfsp,
    ProbeResult,
    ProcessInfo,
    Roster,
    SecurityObserved,
)
from pytest_mojaloop_perf.model.wanted import (
    Dfsp,
    Fault,
    LoadShape,
    Matrix,
    Objective,
    Pair,
    Plan,
    Profile,
    SecurityProfile,
    ValidityLimits,
)

__all__ = [
    "ARRIVAL_BLUR_MS",
    "COMMITTED",
    "GENERATOR",
    "LEGS",
    "PROBE_FSPS",
    "AccountBalance",
    "Dfsp",
    "DfspEndpoints",
    "Environment",
    "Fault",
    "Gate",
    "HubUrls",
    "Interval",
    "Latency",
    "LedgerSnapshot",
    "LegName",
    "LoadRun",
    "LoadShape",
    "MachineUse",
    "Matrix",
    "Measurement",
    "Objective",
    "ObjectiveResult",
    "OnboardedDfsp",
    "Pair",
    "PairMeasurement",
    "Plan",
    "ProbeResult",
    "ProcessInfo",
    "ProcessUse",
    "Profile",
    "Reconciliation",
    "ReconciliationDefect",
    "Roster",
    "Second",
    "SecurityObserved",
    "SecurityProfile",
    "ValidityLimits",
    "Value",
    "Verdict",
    "Window",
]

"""Load: the k6 script, its configuration, its process and its records."""

from __future__ import annotations

from pytest_mojaloop_perf.load.k6 import K6, find_k6, locate_k6
from pytest_mojaloop_perf.load.records import SCHEMA
from pytest_mojaloop_perf.load.runner import run_load

__all__ = ["K6", "SCHEMA", "find_k6", "locate_k6", "run_load"]

"""Onboarding of hub and DFSPs through the admin APIs, and the verified roster."""

from pytest_mojaloop_perf.onboard.client import calls, onboard

__all__ = ["calls", "onboard"]

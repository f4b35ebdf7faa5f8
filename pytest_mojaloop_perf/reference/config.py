"""Configuration of the processes of the reference switch; defined in base, because targets write it."""

from pytest_mojaloop_perf.reference_config import DfspsConfig, HubConfig, Ready

__all__ = ["DfspsConfig", "HubConfig", "Ready"]

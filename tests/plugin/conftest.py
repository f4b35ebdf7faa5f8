"""Runs of pytest inside of pytest.

What a run in our own process would import for the first time, pytester forgets again afterwards; so that
modules are not half forgotten, everything is imported here once.
"""

from __future__ import annotations

import pytest_mojaloop_perf.fixtures.begin
import pytest_mojaloop_perf.fixtures.conduct
import pytest_mojaloop_perf.fixtures.ending  # noqa: F401 - see above

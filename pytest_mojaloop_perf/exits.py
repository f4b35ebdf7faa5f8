"""Exit statuses beyond pytest's own: what a CI job may tell apart without reading a report."""

from __future__ import annotations

__all__ = ["BAD_INPUT", "FAIL", "INFRASTRUCTURE", "INVALID", "PASS"]

PASS = 0
FAIL = 1
"""An objective was missed, or a security or money test failed (pytest's own status for failed tests)."""
BAD_INPUT = 4
"""An option, file or combination was refused before anything was started (pytest's own usage error)."""
INVALID = 10
"""The run cannot support a conclusion: neither PASS nor FAIL."""
INFRASTRUCTURE = 12
"""The environment could not be made, broke, or could not be removed: nobody's performance was judged."""

"""What the plugin costs a pytest run that has nothing to do with it: `python bench/plugin_cost.py`.

Prints the median wall and CPU time of `pytest` over one empty test file with and without the plugin, in turn,
from one run, and their ratio.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 11
PLUGIN = "pytest_mojaloop_perf.plugin"


def _once(folder: Path, *words: str) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, str(folder)],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        (folder / "pytest.ini").write_text("[pytest]\n")
        with_plugin: list[tuple[float, float]] = []
        without: list[tuple[float, float]] = []
        _once(folder)
        for _ in range(ROUNDS):
            with_plugin.append(_once(folder))
            without.append(_once(folder, "-p", f"no:{PLUGIN}"))
    for number, what in enumerate(("wall", "CPU")):
        ours = statistics.median(pair[number] for pair in with_plugin)
        bare = statistics.median(pair[number] for pair in without)
        print(
            f"plugin cost, {what}: {bare * 1000:.0f} ms without, {ours * 1000:.0f} ms with, "
            f"ratio {ours / bare:.2f} (median of {ROUNDS} pairs)"
        )


if __name__ == "__main__":
    main()

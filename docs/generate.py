"""Write the reference pages that come from tables in the source: `python docs/generate.py`."""

from __future__ import annotations

from pathlib import Path

from pytest_mojaloop_perf import exits
from pytest_mojaloop_perf.faults import FAULTS
from pytest_mojaloop_perf.options import OPTIONS

FOLDER = Path(__file__).resolve().parent / "reference"
_TOPICS = {
    "run": "What to run",
    "load": "Load",
    "security": "Security",
    "environment": "Environment",
    "k6": "k6",
    "output": "Output",
}


def options_page() -> str:
    """Return the page of all options in their three forms."""
    intro = (
        "Each option has three forms; the command line overrules the environment, which overrules the ini "
        "file. This page is generated from the table that makes them (`python docs/generate.py`)."
    )
    lines = ["# Options", "", intro]
    for topic, title in _TOPICS.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| option | environment | ini | default | meaning |",
            "|---|---|---|---|---|",
        ]
        for option in OPTIONS:
            if option.topic == topic:
                form = option.flag if option.switch else f"{option.flag}={option.metavar}"
                values = (
                    f" One of {', '.join(f'`{value}`' for value in option.values)}." if option.values else ""
                )
                text = f"{option.help[0].upper()}{option.help[1:]}.{values}"
                cells = (f"`{form}`", f"`{option.env}`", f"`{option.name}`", option.default or "-", text)
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join([*lines, ""])


def faults_page() -> str:
    """Return the page of all faults."""
    intro = (
        "A fault is a documented defect of the reference switch (or of the generator). Switch one on with "
        "`--perf-fault=NAME[=PARAMETER]` to see the test that guards against it fail; repeat the option for "
        "several. `starved-generator` makes the run INVALID instead. Faults count, they do not throw dice: "
        "with 1 percent, every hundredth message."
    )
    lines = [
        "# Faults",
        "",
        intro,
        "",
        "| fault | where | default | effect |",
        "|---|---|---|---|",
    ]
    units = {"none": "{}", "percent": "{} percent", "leg-ms": "{} ms", "every-n": "every {}th"}
    for fault in FAULTS.values():
        default = units[fault.kind].format(fault.default) if fault.default else "-"
        lines.append(f"| `{fault.name}` | {fault.where} | {default} | {fault.effect} |")
    return "\n".join([*lines, ""])


def exits_page() -> str:
    """Return the page of exit statuses."""
    rows = [
        (exits.PASS, "PASS", "every test passed"),
        (exits.FAIL, "FAIL", "an objective was missed, or a security or money test failed"),
        (2, "interrupted", "Ctrl-C; everything was removed"),
        (exits.BAD_INPUT, "bad input", "refused before anything was started"),
        (5, "no tests", "nothing was selected"),
        (exits.INVALID, "INVALID", "the run cannot support a conclusion: neither PASS nor FAIL"),
        (
            exits.INFRASTRUCTURE,
            "infrastructure",
            "the environment could not be made, broke, or was not removed",
        ),
    ]
    lines = ["# Exit statuses", "", "| status | name | meaning |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {status} | {name} | {text} |" for status, name, text in rows), ""])


PAGES = {"options.md": options_page, "faults.md": faults_page, "exit-statuses.md": exits_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")

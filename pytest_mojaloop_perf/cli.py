"""The command `mojaloop-perf`: what can be done to stored runs and kept environments without pytest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from pytest_mojaloop_perf import __version__
from pytest_mojaloop_perf.artifacts import RunFolder
from pytest_mojaloop_perf.errors import BadInputError, InvalidRunError, PerfError
from pytest_mojaloop_perf.exits import BAD_INPUT, FAIL, INFRASTRUCTURE, INVALID, PASS
from pytest_mojaloop_perf.model import (
    Gate,
    LoadRun,
    Measurement,
    Plan,
    Profile,
    Reconciliation,
    SecurityObserved,
    Value,
    Verdict,
)
from pytest_mojaloop_perf.profiles import load_profile

__all__ = ["SUBCOMMANDS", "Rejudged", "Subcommand", "main", "rejudge"]

_OUTCOMES = {"PASS": PASS, "FAIL": FAIL, "INVALID": INVALID}
_SECURITY_FILES = ("security-before", "security-after")


class Subcommand(Value, frozen=True, kw_only=True):
    """One row of the table of subcommands.

    `arguments` adds its arguments to a parser; `run` does it and returns the exit status.
    """

    name: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Rejudged(Value, frozen=True, kw_only=True):
    """A stored run, measured and judged anew; `plan` has the profile that was judged by."""

    plan: Plan
    measurement: Measurement
    verdict: Verdict


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status (see `exits`; 4 for bad input)."""
    options = _parser().parse_args(argv)
    chosen = next(command for command in SUBCOMMANDS if command.name == options.subcommand)
    try:
        return chosen.run(options)
    except BadInputError as error:
        status, text = BAD_INPUT, str(error)
    except InvalidRunError as error:
        status, text = INVALID, f"INVALID: {error}"
    except PerfError as error:
        status, text = INFRASTRUCTURE, str(error)
    sys.stderr.write(f"mojaloop-perf {chosen.name}: {text}\n")
    return status


def rejudge(folder: RunFolder, profile: Profile | None = None) -> Rejudged:
    """Measure a stored run anew from its transactions, and judge it; nothing is written.

    Args:
        folder: of a run that has ended.
        profile: whose objectives and validity limits apply; by default the run's own. The steady window
            stays that of the run: another profile cannot change what load was offered.

    Raises:
        BadInputError: the folder does not hold what a judged run leaves.
        InvalidRunError: its transactions or machine samples cannot be read.
    """
    from pytest_mojaloop_perf.measure.machine import MACHINE_SAMPLES, machine_use  # noqa: PLC0415 - heavy
    from pytest_mojaloop_perf.measure.measure import measure  # noqa: PLC0415 - heavy
    from pytest_mojaloop_perf.measure.window import steady_window  # noqa: PLC0415 - heavy
    from pytest_mojaloop_perf.verdict.gates import validity_gates  # noqa: PLC0415 - only where judged
    from pytest_mojaloop_perf.verdict.judge import judge  # noqa: PLC0415 - only where judged

    plan, load = folder.read(Plan), folder.read(LoadRun)
    if profile is not None:
        plan = msgspec.structs.replace(plan, profile=_judge_by(plan.profile, profile))
    samples = folder.file(MACHINE_SAMPLES)
    window = steady_window(load, plan.profile.load)
    observed = plan.target == "embedded" or samples.exists()
    measurement = measure(
        _transactions(folder, plan, load),
        load,
        plan.profile,
        machine_use(samples, window) if observed else None,
    )
    reconciliation = folder.read(Reconciliation) if folder.has(Reconciliation) else None
    security = tuple(
        folder.read(SecurityObserved, name=name)
        for name in _SECURITY_FILES
        if folder.has(SecurityObserved, name=name)
    )
    verdict = judge(
        plan,
        load,
        measurement,
        reconciliation=reconciliation,
        security=security,
        further_gates=_gates_of_others(folder, validity_gates(plan, load, measurement, reconciliation)),
    )
    return Rejudged(plan=plan, measurement=measurement, verdict=verdict)


def _gates_of_others(folder: RunFolder, ours: tuple[Gate, ...]) -> tuple[Gate, ...]:
    """Return the stored gates that a hook added: they cannot be computed anew, and still hold or do not."""
    if not folder.has(Verdict):
        return ()
    known = {gate.name for gate in ours}
    return tuple(gate for gate in folder.read(Verdict).gates if gate.name not in known)


def _judge_by(own: Profile, other: Profile) -> Profile:
    """Return the other profile's demands on the load that was offered by the run's own."""
    return msgspec.structs.replace(
        own,
        name=other.name,
        summary=other.summary,
        objectives=other.objectives,
        validity=other.validity,
        load=msgspec.structs.replace(own.load, tps=other.load.tps),
    )


def _transactions(folder: RunFolder, plan: Plan, load: LoadRun) -> Path:
    """Return the transactions file, also when the run folder was moved or copied since."""
    stored = load.transactions
    if stored.is_relative_to(plan.run_folder):
        here = folder.path / stored.relative_to(plan.run_folder)
        if here.exists():
            return here
    return stored


def _rejudge_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--profile",
        metavar="NAME|FILE",
        help="judge by this profile's objectives and validity limits instead of the run's own",
    )
    parser.add_argument("--json", action="store_true", help="print verdict and measurement as JSON")
    parser.add_argument(
        "--save",
        action="store_true",
        help="store them in the run folder as verdict-rejudged.json and measurement-rejudged.json",
    )


def _rejudge(options: argparse.Namespace) -> int:
    from pytest_mojaloop_perf.verdict.explain import verdict_lines  # noqa: PLC0415 - see `rejudge`

    folder = _run_folder(options.run)
    profile = load_profile(options.profile) if options.profile is not None else None
    done = rejudge(folder, profile)
    if options.save:
        folder.write(done.verdict, name="verdict-rejudged")
        folder.write(done.measurement, name="measurement-rejudged")
    if options.json:
        body = {"profile": done.plan.profile.name, "verdict": done.verdict, "measurement": done.measurement}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(body), indent=1).decode() + "\n")
    else:
        sys.stdout.write("\n".join(verdict_lines(done.verdict)) + "\n")
    return _OUTCOMES[done.verdict.outcome]


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run folder")


def _report(options: argparse.Namespace) -> int:
    from pytest_mojaloop_perf.report import html, summary  # noqa: PLC0415 - only where reported
    from pytest_mojaloop_perf.report.bundle import read_bundle  # noqa: PLC0415 - only where reported
    from pytest_mojaloop_perf.report.terminal import summary_lines  # noqa: PLC0415 - only where reported

    bundle = read_bundle(_run_folder(options.run))
    page = html.write(bundle, options.run / "report.html")
    summary.write(bundle)
    sys.stdout.write("\n".join(summary_lines(bundle)) + f"\n  written: {page}\n")
    return PASS


def _down_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("run", nargs="?", metavar="RUN", help="the run id or run folder of a kept environment")
    which.add_argument("--all", action="store_true", help="every kept environment of this user")


def _down(options: argparse.Namespace) -> int:
    from pytest_mojaloop_perf.infra.host_client import (  # noqa: PLC0415 - only where one is stopped
        kept_environments,
        stop_kept,
    )

    runs = [state.run_id for state in kept_environments()] if options.all else [options.run]
    for run in runs:
        stop_kept(run)
        sys.stdout.write(f"removed the environment of {run}\n")
    if not runs:
        sys.stdout.write("there is no kept environment\n")
    return PASS


def _k6_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-install", action="store_true", help="only say whether there is one")


def _k6(options: argparse.Namespace) -> int:
    from pytest_mojaloop_perf.load.k6 import locate_k6  # noqa: PLC0415 - only where it is wanted

    k6 = locate_k6(None, install=not options.no_install, progress=_Told())
    sys.stdout.write(f"k6 {k6.version}: {k6.path}\n")
    return PASS


class _Told:
    """A progress for a command: the lines that stay, and a dot for each step."""

    def __init__(self) -> None:
        self._tenths = 0

    def say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def advance(self, stage: str, done: float, total: float, note: str = "") -> None:
        """Print a line for each tenth that is done."""
        tenths = int(10 * done / total) if total else 0
        if tenths > self._tenths:
            self.say(f"{stage}: {tenths * 10} % {note}".rstrip())
        self._tenths = tenths


def _run_folder(path: Path) -> RunFolder:
    if not path.is_dir():
        raise BadInputError(
            f"{path} is not a folder, expected a run folder",
            remedy="name the folder that the run printed last",
        )
    return RunFolder(path)


SUBCOMMANDS: tuple[Subcommand, ...] = (
    Subcommand(
        name="rejudge",
        summary="measure a stored run again and judge it, by its own or by another profile",
        arguments=_rejudge_arguments,
        run=_rejudge,
    ),
    Subcommand(
        name="report",
        summary="write the HTML and Markdown reports of a stored run again, and print its summary",
        arguments=_report_arguments,
        run=_report,
    ),
    Subcommand(
        name="down",
        summary="remove an environment that was kept with --perf-keep",
        arguments=_down_arguments,
        run=_down,
    ),
    Subcommand(
        name="k6",
        summary="find k6, or install it into our cache, and print where it is",
        arguments=_k6_arguments,
        run=_k6,
    ),
)
"""Every subcommand that there is, in the order in which the help lists them."""


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals have the same exit status as every other bad input."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mojaloop-perf",
        description="Work on stored runs and kept environments of Mojaloop performance assertions.",
        epilog="Exit status of rejudge: 0 PASS, 1 FAIL, 10 INVALID, 4 bad input.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for command in SUBCOMMANDS:
        command.arguments(
            commands.add_parser(command.name, help=command.summary, description=command.summary)
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())

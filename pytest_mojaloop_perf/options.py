"""The options: one table that makes the command line, the environment and ini forms, and the reference page.

This module is the only reader of `pytest.Config`. Precedence: command line, environment, ini, default. It is
loaded in every pytest session, so it imports nothing but pytest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

__all__ = ["OPTIONS", "Option", "Options", "add_options", "read_options", "wants_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option in its three forms; `values` limits what it may be, `many` lets it be given repeatedly."""

    flag: str
    help: str
    default: str = ""
    values: tuple[str, ...] = ()
    metavar: str = "VALUE"
    many: bool = False
    switch: bool = False
    topic: str = "run"

    @property
    def name(self) -> str:
        """The attribute of `Options` and the ini name, for example `perf_target`."""
        bare = self.flag.removeprefix("--").replace("-", "_")
        return bare if bare.startswith("perf_") else f"perf_{bare}"

    @property
    def env(self) -> str:
        """The environment variable, for example `MOJALOOP_PERF_TARGET`."""
        return f"MOJALOOP_{self.name.upper()}"


OPTIONS: tuple[Option, ...] = (
    Option(flag="--tps", metavar="N", help="transactions per second to prove (default: the profile's)"),
    Option(
        flag="--perf-target",
        default="auto",
        values=("auto", "embedded", "kind", "existing", "aws"),
        metavar="WHERE",
        help="where the environment is; this version has embedded only, which is what auto means",
    ),
    Option(
        flag="--perf-switch",
        values=("reference", "mojaloop", "installed"),
        metavar="WHAT",
        help="what is tested; this version has reference only, our own small FSPIOP switch",
    ),
    Option(
        flag="--perf-profile",
        metavar="NAME|FILE",
        help="objectives, load shape, security and validity limits: seed, whitepaper, embedded, smoke or a "
        "YAML file (default: embedded, smoke for -m smoke)",
    ),
    Option(flag="--perf-matrix", metavar="NAME|FILE", help="who pays whom (default: the profile's)"),
    Option(flag="--perf-dfsps", metavar="NAME|FILE", help="the DFSPs to onboard (default: the profile's)"),
    Option(
        flag="--perf-duration",
        metavar="TIME",
        topic="load",
        help="how long load arrives, like 90s or 27m; warm-up and cool-down scale with it unless given",
    ),
    Option(flag="--perf-warmup", metavar="TIME", topic="load", help="time cut off before the steady window"),
    Option(flag="--perf-cooldown", metavar="TIME", topic="load", help="time cut off after the steady window"),
    Option(
        flag="--perf-request-timeout",
        metavar="TIME",
        topic="load",
        help="how long a payer waits for an answer before a transaction counts as unanswered",
    ),
    Option(
        flag="--perf-vus",
        metavar="N",
        topic="load",
        help="transactions that the generator may have in flight (default: from rate and timeout)",
    ),
    Option(
        flag="--perf-seed",
        default="1",
        metavar="N",
        topic="load",
        help="seed of the choice of pairs and parties; the same seed repeats the same payments",
    ),
    Option(
        flag="--perf-jws",
        values=("RS256", "ES256"),
        metavar="ALG",
        topic="security",
        help="signature algorithm of the DFSPs (default: the profile's)",
    ),
    Option(
        flag="--perf-ilp",
        values=("1", "4"),
        metavar="V",
        topic="security",
        help="ILP packet version (default: the profile's)",
    ),
    Option(
        flag="--perf-output",
        default="perf-runs",
        metavar="DIR",
        topic="output",
        help="folder under which every run gets a folder of its own",
    ),
    Option(
        flag="--perf-allure",
        default="auto",
        values=("auto", "never"),
        metavar="WHEN",
        topic="output",
        help="write Allure results into the run folder, and make the HTML when the allure command is there",
    ),
    Option(
        flag="--perf-k6", metavar="PATH", topic="k6", help="the k6 program (default: PATH, then our cache)"
    ),
    Option(
        flag="--perf-k6-install",
        default="auto",
        values=("auto", "never"),
        metavar="WHEN",
        topic="k6",
        help="when there is no k6: install it into our cache (built with Go), or never",
    ),
    Option(
        flag="--perf-plan",
        switch=True,
        help="print what would be done, with which figures, and stop; nothing is started",
    ),
    Option(
        flag="--perf-keep",
        default="never",
        values=("never", "on-failure", "always"),
        metavar="WHEN",
        topic="environment",
        help="keep the environment after the session, for --perf-reuse",
    ),
    Option(
        flag="--perf-keep-for",
        default="2h",
        metavar="TIME",
        topic="environment",
        help="how long a kept environment lives before it removes itself",
    ),
    Option(
        flag="--perf-reuse",
        metavar="RUN",
        topic="environment",
        help="use the kept environment of that run instead of making one",
    ),
    Option(
        flag="--perf-fault",
        many=True,
        metavar="NAME[=X]",
        topic="environment",
        help="switch a documented fault of the reference switch on, to see a gate fail (repeatable)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for, as text, read once; an empty text means: not given.

    `markexpr` is pytest's `-m`; `given` names the options that were given, and where.
    """

    values: Mapping[str, str]
    faults: tuple[str, ...] = ()
    markexpr: str = ""
    given: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.values[name]


def add_options(parser: pytest.Parser) -> None:
    """Register every option on the command line and in the ini file."""
    group = parser.getgroup("mojaloop-perf", "Mojaloop performance assertions")
    for option in OPTIONS:
        default = f" (default: {option.default})" if option.default else ""
        text = f"{option.help}{default} [{option.env}]".replace("%", "%%")
        if option.switch:
            group.addoption(option.flag, dest=option.name, action="store_true", default=None, help=text)
        elif option.many:
            group.addoption(option.flag, dest=option.name, action="append", metavar=option.metavar, help=text)
        else:
            group.addoption(
                option.flag,
                dest=option.name,
                choices=option.values or None,
                metavar=option.metavar,
                help=text,
            )
        parser.addini(option.name, option.help, type="string", default="")


def read_options(config: pytest.Config, environ: Mapping[str, str] = os.environ) -> Options:
    """Return the options by precedence.

    Raises:
        pytest.UsageError: an environment or ini form with a value that the option does not have.
    """
    values: dict[str, str] = {}
    given: dict[str, str] = {}
    for option in OPTIONS:
        text, source = _lookup(option, config, environ)
        if source:
            given[option.name] = source
        if option.values and text and text not in option.values:
            raise pytest.UsageError(
                f"{option.name} is {text!r} (from {source}), expected one of {', '.join(option.values)}. "
                f"Remedy: correct it there, or overrule it with {option.flag}."
            )
        values[option.name] = text
    return Options(
        values=values,
        faults=tuple(part for part in values["perf_fault"].replace(",", "\n").split("\n") if part.strip()),
        markexpr=str(config.option.markexpr or ""),
        given=given,
    )


def wants_plan(config: pytest.Config, environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether only the plan is to be printed."""
    option = next(option for option in OPTIONS if option.name == "perf_plan")
    return _lookup(option, config, environ)[0].lower() in ("1", "true", "yes", "on")


def _lookup(option: Option, config: pytest.Config, environ: Mapping[str, str]) -> tuple[str, str]:
    cli: Any = config.getoption(option.name, default=None)
    if cli is not None:
        return ("\n".join(cli) if option.many else "1" if cli is True else str(cli)), option.flag
    if environ.get(option.env):
        return environ[option.env], option.env
    ini = str(config.getini(option.name) or "")
    if ini:
        return ini, f"ini {option.name}"
    return option.default, ""

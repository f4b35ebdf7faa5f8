"""Is the switch deployed, secured and onboarded as planned? Each check takes what was observed.

The checks are pure and return findings; `deployment_facts` observes, and so the live tests and the negative
tests of the checks share every rule.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from pytest_mojaloop_perf.infra.finding import Finding, Findings
from pytest_mojaloop_perf.model import Dfsp, Environment, OnboardedDfsp, Plan, ProcessInfo, Roster, Value

__all__ = [
    "Answered",
    "FileMode",
    "Listening",
    "LookUp",
    "check_clocks",
    "check_health",
    "check_listening",
    "check_look_up",
    "check_metrics",
    "check_named_ports",
    "check_private_files",
    "check_processes",
    "check_refused",
    "check_roster",
]

_AGAIN = "end this environment (mojaloop-perf down --all) and run again"
_CLOCK_MAX_S = 2.0


class Listening(Value, frozen=True, kw_only=True):
    """A TCP port that a process of the environment listens on."""

    process: str
    address: str
    port: int


class FileMode(Value, frozen=True, kw_only=True):
    """A file or folder of the security material; `mode` is its permission bits."""

    path: str
    mode: int
    owner: int
    is_folder: bool = False


class Answered(Value, frozen=True, kw_only=True):
    """How a request was answered: by a status, or by a connection that failed (`status` 0, `text` why)."""

    status: int
    text: str = ""


class LookUp(Value, frozen=True, kw_only=True):
    """A look-up through a payer's outbound API; `found` is the DFSP that the answer names.

    `date` is the Date header of the callback: the time at the payee.
    """

    payer: str
    msisdn: str
    expected: str
    status: int
    found: str | None = None
    text: str = ""
    date: str | None = None


def check_processes(
    processes: Sequence[ProcessInfo], running: Mapping[str, bool], versions: Mapping[str, str]
) -> Findings:
    """Want every process to run, in the version wanted of its role."""
    findings = [
        Finding(problem=f"the process {each.name} (pid {each.pid}) does not run", remedy=_AGAIN)
        for each in processes
        if not running.get(each.name, False)
    ]
    findings += [
        Finding(
            problem=f"the process {each.name} is version {each.version}, expected {versions.get(each.role)}",
            remedy="install one version of the package only, " + _AGAIN,
        )
        for each in processes
        if each.version != versions.get(each.role)
    ]
    findings += [
        Finding(problem=f"no process has the role {role}", remedy=_AGAIN)
        for role in sorted(set(versions) - {each.role for each in processes})
    ]
    return tuple(findings)


def check_private_files(files: Sequence[FileMode], *, user: int) -> Findings:
    """Want every private key readable by us only, the folder closed, and no CA key at all."""
    findings = []
    for file in files:
        wanted = 0o700 if file.is_folder else 0o600
        private = file.is_folder or file.path.endswith(".key.pem")
        if private and stat.S_IMODE(file.mode) & ~wanted:
            findings.append(
                Finding(
                    problem=f"{file.path} has mode {stat.S_IMODE(file.mode):04o}, expected {wanted:04o}",
                    remedy=f"chmod {wanted:o} {file.path}, and look at the umask and the file system",
                )
            )
        if file.owner != user:
            findings.append(
                Finding(problem=f"{file.path} belongs to user {file.owner}, expected {user}", remedy=_AGAIN)
            )
        if file.path.rsplit("/", 1)[-1].startswith("ca.") and "key" in file.path.rsplit("/", 1)[-1]:
            findings.append(
                Finding(problem=f"the CA's private key is kept as {file.path}", remedy="delete it")
            )
    if not any(file.path.endswith(".key.pem") for file in files):
        findings.append(Finding(problem="there is no private key at all", remedy=_AGAIN))
    return tuple(findings)


def check_listening(listening: Sequence[Listening]) -> Findings:
    """Want nothing to be reachable from outside this machine."""
    return tuple(
        Finding(
            problem=f"the process {each.process} listens on {each.address}:{each.port}, "
            "expected loopback only",
            remedy=_AGAIN + ", and report it as a defect",
        )
        for each in listening
        if not ip_address(each.address).is_loopback
    )


def check_named_ports(listening: Sequence[Listening], named: Collection[int]) -> Findings:
    """Want every listening port to be one that the environment names, and the other way round."""
    there = {each.port for each in listening}
    unnamed = [each for each in listening if each.port not in named]
    findings = [
        Finding(
            problem=f"the process {each.process} listens on port {each.port}, "
            "which the environment does not name",
            remedy=_AGAIN + ", and report it as a defect",
        )
        for each in unnamed
    ]
    findings += [
        Finding(problem=f"nothing listens on port {port}, which the environment names", remedy=_AGAIN)
        for port in sorted(set(named) - there)
    ]
    return tuple(findings)


def check_health(name: str, answered: Answered) -> Findings:
    """Want a health page that says OK."""
    if answered.status == 200 and '"OK"' in answered.text.replace(" ", ""):
        return ()
    return (
        Finding(
            problem=f"the health page of {name} answers {answered.status} {answered.text[:120]!r}, "
            'expected 200 and status "OK"',
            remedy="read the hub's log in the run folder",
        ),
    )


def check_metrics(answered: Answered, wanted: Collection[str]) -> Findings:
    """Want a Prometheus page that has these metrics."""
    if answered.status != 200:
        return (
            Finding(
                problem=f"the metrics page answers {answered.status}, expected 200",
                remedy="read the hub's log in the run folder",
            ),
        )
    families = {
        line.split()[2]
        for line in answered.text.splitlines()
        if line.startswith("# TYPE ") and len(line.split()) > 3
    }
    return tuple(
        Finding(problem=f"the metrics page has no {name}", remedy=_AGAIN)
        for name in sorted(set(wanted) - families)
    )


def check_refused(who: str, stranger: Answered, known: Answered) -> Findings:
    """Want a request without a client certificate to get no answer, and the same with one to get some.

    A server ends the connection with a TLS alert or without a word; that it answers a client whose
    certificate it trusts shows that the certificate made the difference.
    """
    if stranger.status != 0:
        return (
            Finding(
                problem=f"{who} answered {stranger.status} to a client without a certificate, "
                "expected it to end the connection",
                remedy="leave --perf-fault=no-client-certificate-check out; else report it as a defect",
            ),
        )
    if known.status == 0:
        return (
            Finding(
                problem=f"{who} does not answer a client with a trusted certificate either: {known.text}",
                remedy="read its log in the run folder",
            ),
        )
    return ()


def check_look_up(look_up: LookUp) -> Findings:
    """Want a payer to be told which DFSP holds an MSISDN."""
    if look_up.status == 200 and look_up.found == look_up.expected:
        return ()
    return (
        Finding(
            problem=f"{look_up.payer} looked {look_up.msisdn} up and got {look_up.status} "
            f"{look_up.found or look_up.text[:160]!r}, expected {look_up.expected}",
            remedy="read the logs of the hub and the DFSPs in the run folder",
        ),
    )


def check_clocks(dates: Mapping[str, str | None], now_s: float) -> Findings:
    """Want everybody's clock to agree with ours, as far as a Date header of this moment tells."""
    findings = []
    for name, date in dates.items():
        if date is None:
            findings.append(Finding(problem=f"{name} sends no Date header", remedy=_AGAIN))
            continue
        apart_s = parsedate_to_datetime(date).timestamp() - now_s
        if abs(apart_s) > _CLOCK_MAX_S:
            problem = (
                f"the clock of {name} is {apart_s:+.0f} s from ours, expected at most {_CLOCK_MAX_S:g} s"
            )
            findings.append(Finding(problem=problem, remedy="set the clocks by one time service (NTP)"))
    return tuple(findings)


def check_roster(plan: Plan, environment: Environment, roster: Roster) -> Findings:
    """Want every DFSP of the plan on the roster, with its limit, its funds, its endpoints and its party."""
    there = {dfsp.fsp_id: dfsp for dfsp in roster.dfsps}
    served = {endpoints.fsp_id for endpoints in environment.dfsps}
    wrong: list[str] = []
    for dfsp in plan.dfsps:
        seen = there.get(dfsp.fsp_id)
        wrong += [f"{dfsp.fsp_id} is not on the roster"] if seen is None else _onboarding_faults(dfsp, seen)
        if dfsp.fsp_id not in served:
            wrong.append(f"{dfsp.fsp_id} is of the plan, but not in the environment")
    accounts = [
        number for dfsp in roster.dfsps for number in (dfsp.position_account_id, dfsp.settlement_account_id)
    ]
    if len(set(accounts)) != len(accounts):
        wrong.append("two accounts have one id, expected a position and a settlement account for each DFSP")
    remedy = "run the onboarding again; if it stays so, start a fresh environment"
    return tuple(Finding(problem=problem, remedy=remedy) for problem in wrong)


def _onboarding_faults(dfsp: Dfsp, seen: OnboardedDfsp) -> list[str]:
    wrong = []
    if Decimal(seen.ndc) != Decimal(dfsp.ndc):
        wrong.append(f"the NDC of {dfsp.fsp_id} is {seen.ndc}, expected {dfsp.ndc}")
    funds = -Decimal(seen.settlement)
    if funds < Decimal(dfsp.funds_in):
        wrong.append(f"the funds of {dfsp.fsp_id} are {funds:f}, expected at least {dfsp.funds_in}")
    wrong += [
        f"{dfsp.fsp_id} has no endpoint for {kind.lower()}, expected all callback endpoints"
        for kind in ("PARTIES", "QUOTES", "TRANSFER")
        if not any(kind in endpoint for endpoint in seen.endpoints)
    ]
    if (seen.msisdn_first, seen.msisdn_count) != (dfsp.msisdn_first, dfsp.msisdn_count):
        wrong.append(
            f"{dfsp.fsp_id} holds {seen.msisdn_count} MSISDNs from {seen.msisdn_first}, "
            f"expected {dfsp.msisdn_count} from {dfsp.msisdn_first}"
        )
    if "payee" in dfsp.roles and seen.looked_up is None:
        wrong.append(f"no MSISDN of {dfsp.fsp_id} was looked up, expected one")
    return wrong

"""Which DFSPs share a process, so that each process gets about the same work."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_mojaloop_perf.model import Dfsp, Matrix

__all__ = ["dfsp_process_count", "divide_dfsps"]

_PAYER_SIGNATURES = 2
"""A payer signs POST /quotes and POST /transfers."""
_PAYEE_SIGNATURES = 3
"""A payee signs PUT /parties, PUT /quotes and PUT /transfers."""


def dfsp_process_count(cores: int, dfsps: int) -> int:
    """Return how many DFSP processes a machine gets: two; half the cores where there are more than four.

    Signing falls on the DFSPs and is most of the work; the hub and the generator need the other half.
    """
    assert cores >= 1
    assert dfsps >= 1
    return min(dfsps, max(2, cores // 2))


def divide_dfsps(dfsps: Sequence[Dfsp], matrix: Matrix, processes: int) -> tuple[tuple[Dfsp, ...], ...]:
    """Divide the DFSPs among processes by the signatures that the matrix makes each of them sign.

    The heaviest goes first, each to the process with the least work so far; no process stays empty.
    """
    assert 1 <= processes <= len(dfsps)
    work = dict.fromkeys((dfsp.fsp_id for dfsp in dfsps), 0.0)
    for pair in matrix.pairs:
        work[pair.payer] += _PAYER_SIGNATURES * pair.weight_percent
        work[pair.payee] += _PAYEE_SIGNATURES * pair.weight_percent
    shares: list[list[Dfsp]] = [[] for _ in range(processes)]
    for dfsp in sorted(dfsps, key=lambda dfsp: (-work[dfsp.fsp_id], dfsp.fsp_id)):
        least = min(shares, key=lambda share: (sum(work[member.fsp_id] for member in share), len(share)))
        least.append(dfsp)
    return tuple(tuple(sorted(share, key=lambda dfsp: dfsp.fsp_id)) for share in shares)

"""Admin calls on settlement models and oracles, and the MSISDN oracle itself."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_mojaloop_perf.fspiop.http import Response
from pytest_mojaloop_perf.fspiop.schema import decode_body
from pytest_mojaloop_perf.reference import hub_admin_bodies as bodies
from pytest_mojaloop_perf.reference.hub_admin import AdminCall, AdminRoutes, json_answer
from pytest_mojaloop_perf.reference.hub_metrics import HubMetrics
from pytest_mojaloop_perf.reference.ledger_book import Book, RefusedError

__all__ = ["AdminLookup"]

_METRICS = (("content-type", "text/plain; version=0.0.4; charset=utf-8"),)


class AdminLookup:
    """/settlementModels, /oracles, /oracle/participants, /metrics and /health."""

    def __init__(self, book: Book, metrics: HubMetrics) -> None:
        self._book = book
        self._metrics = metrics

    def routes(self) -> AdminRoutes:
        """Return what this part answers."""
        return {
            ("GET", "/health"): self.health,
            ("GET", "/metrics"): self.metrics,
            ("GET", "/settlementModels"): self.settlement_models,
            ("POST", "/settlementModels"): self.add_settlement_model,
            ("GET", "/oracles"): self.oracles,
            ("POST", "/oracles"): self.add_oracle,
            ("POST", "/oracle/participants"): self.add_parties,
            ("GET", "/oracle/participants/*/*"): self.party,
            ("POST", "/oracle/participants/*/*"): self.add_party,
            ("GET", "/oracle/participants/*/*/*"): self.party,
            ("POST", "/oracle/participants/*/*/*"): self.add_party,
        }

    async def health(self, _: AdminCall) -> Response:
        """Say that the hub works; a hub whose ledger cannot be written ends."""
        return json_answer(200, {"status": "OK", "services": [{"name": "ledger", "status": "OK"}]})

    async def metrics(self, _: AdminCall) -> Response:
        """Return the Prometheus page."""
        return Response(200, self._metrics.page(), _METRICS)

    async def settlement_models(self, _: AdminCall) -> Response:
        """List the settlement models."""
        return json_answer(200, list(self._book.settlement_models.values()))

    async def add_settlement_model(self, call: AdminCall) -> Response:
        """Add a settlement model."""
        body = decode_body(bodies.SettlementModel, call.body)
        definition = {name: value for name, value in msgspec.to_builtins(body).items() if value is not None}
        await self._book.add_settlement_model(body.name, definition)
        return Response(201)

    async def oracles(self, _: AdminCall) -> Response:
        """List the registered oracles."""
        return json_answer(
            200,
            [
                {
                    "oracleIdType": id_type,
                    "currency": currency or None,
                    "endpoint": {"value": value, "endpointType": "URL"},
                }
                for (id_type, currency), value in self._book.oracles.items()
            ],
        )

    async def add_oracle(self, call: AdminCall) -> Response:
        """Register an oracle. Whatever its address, look-ups use the one inside this process."""
        body = decode_body(bodies.Oracle, call.body)
        await self._book.add_oracle(body.oracle_id_type, body.currency or "", body.endpoint.value)
        return Response(201)

    async def party(self, call: AdminCall) -> Response:
        """Return the FSP of a party, or an empty list."""
        id_type, identifier, *sub_id = call.parts
        found = self._book.parties.get((id_type, identifier, sub_id[0] if sub_id else ""))
        if found is None:
            return json_answer(200, {"partyList": []})
        party: dict[str, Any] = {"fspId": found[0]}
        if found[1]:
            party["currency"] = found[1]
        if sub_id:
            party["partySubIdOrType"] = sub_id[0]
        return json_answer(200, {"partyList": [party]})

    async def add_party(self, call: AdminCall) -> Response:
        """Insert or replace one party."""
        body = decode_body(bodies.OracleParty, call.body)
        id_type, identifier, *sub_id = call.parts
        self._book.participant(body.fsp_id)
        await self._book.add_parties(
            [(id_type, identifier, sub_id[0] if sub_id else "", body.fsp_id, body.currency or "")]
        )
        return Response(201)

    async def add_parties(self, call: AdminCall) -> Response:
        """Insert or replace a list of parties, all or none."""
        body = decode_body(bodies.OracleBatch, call.body)
        parties: list[tuple[str, str, str, str, str]] = []
        for party in body.party_list:
            if party.fsp_id is None:
                raise RefusedError(400, "3102", "fspId of a party is missing")
            self._book.participant(party.fsp_id)
            sub_id = party.party_sub_id_or_type or ""
            parties.append(
                (party.party_id_type, party.party_identifier, sub_id, party.fsp_id, body.currency or "")
            )
        await self._book.add_parties(parties)
        return Response(201)

// The usual kind of k6 script for the same three calls: checks, several Trends, a Counter, JSON.parse, k6's own
// tags. It is here only as the yardstick for what transactions.js costs (bench/k6_cost.py); it counts an
// HTTP 200 as success and keeps no record of single transactions.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import exec from 'k6/execution';

const settings = JSON.parse(open(__ENV.SETTINGS));

export const options = {
  scenarios: {
    transactions: {
      executor: 'constant-arrival-rate',
      rate: 1,
      timeUnit: `${settings.period_ns}ns`,
      duration: `${settings.duration_ns}ns`,
      preAllocatedVUs: settings.vus,
      maxVUs: settings.vus,
    },
  },
};

const discoveryMs = new Trend('discovery_ms', true);
const quoteMs = new Trend('quote_ms', true);
const transferMs = new Trend('transfer_ms', true);
const endToEndMs = new Trend('e2e_ms', true);
const failed = new Counter('failed_transactions');

function randomId() {
  let id = '';
  while (id.length < 26) id += Math.floor(Math.random() * 16).toString(16).toUpperCase();
  return id;
}

export default function plain() {
  const point = Math.random() * settings.pairs[settings.pairs.length - 1].upto;
  const pair = settings.pairs.find((candidate) => candidate.upto > point);
  const msisdn = String(pair.payee_msisdns.first + (exec.scenario.iterationInTest % pair.payee_msisdns.count));
  const headers = { 'Content-Type': 'application/json', Accept: 'application/json' };
  const amount = { currency: settings.currency, amount: settings.amount };
  const transferId = randomId();
  const began = Date.now();

  const party = http.get(`${pair.outbound_url}/parties/MSISDN/${msisdn}`, {
    headers,
    tags: { name: 'discovery' },
  });
  discoveryMs.add(party.timings.duration);
  if (!check(party, { 'discovery is 200': (r) => r.status === 200 })) return failed.add(1);

  const quote = http.post(
    `${pair.outbound_url}/quotes`,
    JSON.stringify({
      fspId: pair.payee,
      quotesPostRequest: {
        quoteId: randomId(),
        transactionId: transferId,
        payer: { partyIdInfo: { partyIdType: 'MSISDN', partyIdentifier: '1', fspId: pair.payer } },
        payee: { partyIdInfo: { partyIdType: 'MSISDN', partyIdentifier: msisdn, fspId: pair.payee } },
        amountType: 'SEND',
        amount,
        transactionType: { scenario: 'TRANSFER', initiator: 'PAYER', initiatorType: 'CONSUMER' },
      },
    }),
    { headers, tags: { name: 'quote' } },
  );
  quoteMs.add(quote.timings.duration);
  if (!check(quote, { 'quote is 200': (r) => r.status === 200 })) return failed.add(1);
  const offer = JSON.parse(quote.body).quotes.body;

  const transfer = http.post(
    `${pair.outbound_url}/simpleTransfers`,
    JSON.stringify({
      fspId: pair.payee,
      transfersPostRequest: {
        transferId,
        payerFsp: pair.payer,
        payeeFsp: pair.payee,
        amount,
        ilpPacket: offer.ilpPacket,
        condition: offer.condition,
        expiration: new Date(Date.now() + 60000).toISOString(),
      },
    }),
    { headers, tags: { name: 'transfer' } },
  );
  transferMs.add(transfer.timings.duration);
  endToEndMs.add(Date.now() - began);
  if (!check(transfer, { 'transfer is 200': (r) => r.status === 200 })) failed.add(1);
}

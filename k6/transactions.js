// One Mojaloop transaction per iteration: discovery, quote, transfer, against the payer DFSP's outbound API.
//
// All settings come from one JSON file: k6 run -e SETTINGS=/path/settings.json transactions.js
// (its members: `Settings` in pytest_mojaloop_perf/load/scenario.py). Nothing is imported over the network.
//
// Each transaction logs one line of comma-separated values; with --log-format raw and --console-output FILE
// that file is the record of the run (columns: `COLUMNS` in pytest_mojaloop_perf/load/records.py).
// Which pair pays and to which MSISDN is a pure function of (seed, iteration number), so a run
// can be repeated, and several instances can share one rate by execution segments.
import exec from 'k6/execution';
import http from 'k6/http';
import crypto from 'k6/crypto';
import encoding from 'k6/encoding';

const settings = JSON.parse(open(__ENV.SETTINGS));
const pairs = settings.pairs;

export const options = Object.assign(
  {
    scenarios: {
      transactions: {
        executor: 'constant-arrival-rate',
        // Rate 1 per period: the period between arrivals is then a whole number of nanoseconds, and exact.
        rate: 1,
        timeUnit: `${settings.period_ns}ns`,
        duration: `${settings.duration_ns}ns`,
        gracefulStop: `${settings.drain_ms}ms`,
        preAllocatedVUs: settings.vus,
        maxVUs: settings.vus,
      },
    },
    systemTags: [],
    summaryTrendStats: ['avg', 'max'],
    userAgent: 'pytest-mojaloop-perf',
    maxRedirects: 0,
  },
  settings.segment === null
    ? {}
    : { executionSegment: settings.segment, executionSegmentSequence: settings.segment_sequence },
);

// Whether a status is good is decided by the body; k6 need not keep a rate of it.
http.setResponseCallback(null);

const REQUEST_TIMEOUT = 1050; // k6's error code; every other failure without a status is a connection failure
const CANCELLED = /context canceled/; // k6 itself is ending: says nothing about the switch
const INTERRUPTED = 'interrupted';
const FSPIOP_CODE = /^[0-9]{4}$/;
const TIMED_OUT = /time(d)? ?out/i;
const HEADERS = { 'Content-Type': 'application/json', Accept: 'application/json' };

// A well-mixed 32-bit number for (seed, iteration); the finaliser of MurmurHash3.
function mix(value) {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

const SEED = mix(settings.seed ^ 0x2545f491);

function choosePair(iteration) {
  const point = (mix(Math.imul(iteration + 1, 0x9e3779b1) ^ SEED) / 4294967296) * pairs[pairs.length - 1].upto;
  let index = 0;
  while (pairs[index].upto <= point) index += 1;
  return index;
}

// Walk through the whole range with a stride that is coprime to its size: one MSISDN comes back only after all
// others had their turn, so two look-ups of one MSISDN are never under way at once.
function chooseMsisdn(range, iteration) {
  return String(range.first + ((range.offset + iteration * range.stride) % range.count));
}

function makeId(kind, iteration) {
  return settings.id_prefix + kind + iteration.toString(16).toUpperCase().padStart(10, '0');
}

function parse(response) {
  try {
    return JSON.parse(response.body);
  } catch (_) {
    return null;
  }
}

function member(value, name) {
  return value !== null && typeof value === 'object' && value[name] !== undefined ? value[name] : null;
}

// The class of an error object of the protocol, or null when there is none.
function errorIn(value) {
  const information = member(value, 'errorInformation');
  if (information === null) return null;
  const code = String(member(information, 'errorCode'));
  return FSPIOP_CODE.test(code) ? code : 'malformed';
}

// The class of an answer that is not 200; null for 200.
function refused(response, body) {
  if (response.status === 200) return null;
  if (response.status === 0) {
    if (response.error_code === REQUEST_TIMEOUT) return 'timeout';
    return CANCELLED.test(response.error) ? INTERRUPTED : 'connection';
  }
  const message = member(body, 'message');
  if (response.status === 504 || (response.status === 500 && TIMED_OUT.test(message))) return 'timeout';
  return errorIn(body) || `http-${response.status}`;
}

// Milliseconds of one call, with waiting for and opening its connection; '' when it was not answered.
function took(response) {
  if (response.status === 0) return '';
  const timings = response.timings;
  return timings.duration + timings.blocked + timings.connecting + timings.tls_handshaking;
}

function fulfils(fulfilment, condition) {
  try {
    const preimage = encoding.b64decode(fulfilment, 'rawurl');
    return preimage.byteLength === 32 && crypto.sha256(preimage, 'base64rawurl') === condition;
  } catch (_) {
    return false;
  }
}

export default function transaction() {
  const scenario = exec.scenario;
  const iteration = scenario.iterationInTest;
  const arrivalsBegan = scenario.startTime;
  const started = Date.now();
  // A call may not outlast the drain: it is then recorded as unanswered, where k6 would leave no record.
  const deadline = arrivalsBegan + settings.deadline_ms;
  const params = (now) => ({
    headers: HEADERS,
    timeout: Math.max(1, Math.min(settings.request_timeout_ms, deadline - now)),
  });

  const pairIndex = choosePair(iteration);
  const pair = pairs[pairIndex];
  const payeeMsisdn = chooseMsisdn(pair.payee_msisdns, iteration);
  const quoteId = makeId('1', iteration);
  const transferId = makeId('2', iteration);
  const amount = { currency: settings.currency, amount: settings.amount };
  const times = ['', '', ''];

  const record = (outcome) => {
    // k6 counts this iteration as interrupted; a record would blame the switch.
    if (outcome.endsWith(INTERRUPTED)) return;
    console.log(
      `${iteration},${arrivalsBegan},${started},${Date.now()},` +
        `${times[0]},${times[1]},${times[2]},${pairIndex},${transferId},${outcome}`,
    );
  };

  const party = http.get(`${pair.outbound_url}/parties/MSISDN/${payeeMsisdn}`, params(started));
  times[0] = took(party);
  const partyBody = parse(party);
  const found = member(member(partyBody, 'party'), 'body');
  const partyInfo = member(found, 'partyIdInfo');
  const discoveryFailure =
    refused(party, partyBody) ||
    errorIn(partyBody) ||
    errorIn(member(partyBody, 'party')) ||
    (partyInfo === null || (member(partyInfo, 'fspId') || pair.payee) !== pair.payee ? 'malformed' : null);
  if (discoveryFailure !== null) return record(`discovery:${discoveryFailure}`);

  const quote = http.post(
    `${pair.outbound_url}/quotes`,
    JSON.stringify({
      fspId: pair.payee,
      quotesPostRequest: {
        quoteId,
        transactionId: transferId,
        payer: {
          partyIdInfo: {
            partyIdType: 'MSISDN',
            partyIdentifier: chooseMsisdn(pair.payer_msisdns, iteration),
            fspId: pair.payer,
          },
        },
        payee: { partyIdInfo: { partyIdType: 'MSISDN', partyIdentifier: payeeMsisdn, fspId: pair.payee } },
        amountType: 'SEND',
        amount,
        transactionType: { scenario: 'TRANSFER', initiator: 'PAYER', initiatorType: 'CONSUMER' },
      },
    }),
    params(Date.now()),
  );
  times[1] = took(quote);
  const quoteBody = parse(quote);
  const quotes = member(quoteBody, 'quotes');
  const offer = member(quotes, 'body');
  const ilpPacket = member(offer, 'ilpPacket');
  const condition = member(offer, 'condition');
  const quoteFailure =
    refused(quote, quoteBody) ||
    errorIn(quoteBody) ||
    errorIn(quotes) ||
    errorIn(offer) ||
    (typeof ilpPacket !== 'string' || typeof condition !== 'string' ? 'malformed' : null);
  if (quoteFailure !== null) return record(`quote:${quoteFailure}`);

  const asked = Date.now();
  const transfer = http.post(
    `${pair.outbound_url}/simpleTransfers`,
    JSON.stringify({
      fspId: pair.payee,
      transfersPostRequest: {
        transferId,
        payerFsp: pair.payer,
        payeeFsp: pair.payee,
        amount: member(offer, 'transferAmount') || amount,
        ilpPacket,
        condition,
        expiration: new Date(asked + settings.expiry_ms).toISOString(),
      },
    }),
    params(asked),
  );
  times[2] = took(transfer);
  return record(judgeTransfer(transfer, condition));
}

function judgeTransfer(response, condition) {
  const body = parse(response);
  const transfer = member(body, 'transfer');
  const answer = member(transfer, 'body');
  const failure = refused(response, body) || errorIn(body) || errorIn(transfer) || errorIn(answer);
  if (failure !== null) return `transfer:${failure}`;
  if (answer === null) return 'transfer:malformed';
  if (answer.transferState !== 'COMMITTED') return 'transfer:not-committed';
  if (typeof answer.fulfilment !== 'string') return 'transfer:no-fulfilment';
  return fulfils(answer.fulfilment, condition) ? 'COMMITTED' : 'transfer:fulfilment-mismatch';
}

export function handleSummary(data) {
  return { [settings.summary_file]: JSON.stringify(data, null, 1) };
}

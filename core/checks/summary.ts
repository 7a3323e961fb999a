/**
 * One checker's part of the verdict as typed arrays: it survives structured cloning, so generator processes and lanes can
 * send it to whoever puts the parts together. Ids are written out, since every checker numbers them its own way.
 */
import type { Checker, Counts } from './checker.js';
import { ConversationAt, DeviceAt, type Ledger, OperationAt, PairAt, ReceiptAt, StayAt } from './ledger.js';
import type { Tally, Violation } from './violation.js';

export interface Summary {
  readonly devices: { readonly key: Float64Array; readonly flags: Uint32Array };
  /** `log`: fingerprints; sequence 1 of conversation i is log[start[i]]. */
  readonly conversations: {
    readonly a: Float64Array;
    readonly b: Float64Array;
    readonly start: Float64Array;
    readonly log: Uint32Array;
  };
  /** Rows of PairAt.WORDS words, of which DEVICE and CONVERSATION index the arrays above. `operations`: rows of OperationAt. */
  readonly pairs: { readonly rows: Uint32Array; readonly start: Float64Array; readonly operations: Uint32Array };
  readonly stays: {
    readonly conversation: Uint32Array;
    readonly user: Float64Array;
    readonly from: Uint32Array;
    readonly until: Uint32Array;
  };
  /** `whose`: a user id; 0: all members. */
  readonly receipts: {
    readonly pair: Uint32Array;
    readonly whose: Float64Array;
    readonly delivered: Uint32Array;
    readonly read: Uint32Array;
  };
  readonly trail: Uint32Array;
  readonly violations: readonly Violation[];
  readonly tally: Tally;
  readonly counts: Counts;
}

/** Numbers 0 .. n − 1 of a table's rows; rows are never removed from a ledger. */
function column(length: number, value: (row: number) => number): Uint32Array {
  const values = new Uint32Array(length);
  for (let row = 0; row < length; row++) values[row] = value(row);
  return values;
}

function ids(length: number, value: (row: number) => number): Float64Array {
  const values = new Float64Array(length);
  for (let row = 0; row < length; row++) values[row] = value(row);
  return values;
}

/** Copies the blocks of all rows one behind the other: `block` and `words` say where a row's block lies. */
function concatenate(
  ledger: Ledger,
  rows: number,
  block: (row: number) => number,
  words: (row: number) => number,
): { start: Float64Array; all: Uint32Array } {
  const start = new Float64Array(rows + 1);
  for (let row = 0; row < rows; row++) start[row + 1] = start[row]! + words(row);
  const all = new Uint32Array(start[rows]!);
  const { u32 } = ledger.memory;
  for (let row = 0; row < rows; row++) {
    const at = block(row);
    all.set(u32.subarray(at, at + words(row)), start[row]);
  }
  return { start, all };
}

function pairRows(ledger: Ledger): Uint32Array {
  const rows = new Uint32Array(ledger.pairs.rowLimit * PairAt.WORDS);
  const { u32 } = ledger.memory;
  for (let row = 0; row < ledger.pairs.rowLimit; row++) {
    const at = ledger.pairs.at(row);
    rows.set(u32.subarray(at, at + PairAt.WORDS), row * PairAt.WORDS);
  }
  return rows;
}

function stays(ledger: Ledger): Summary['stays'] {
  const { u32 } = ledger.memory;
  const rows: number[] = [];
  for (let row = 0; row < ledger.stays.rowLimit; row++) {
    if (u32[ledger.stays.at(row) + StayAt.FROM] !== 0) rows.push(ledger.stays.at(row));
  }
  return {
    conversation: column(rows.length, (i) => u32[rows[i]! + StayAt.CONVERSATION]!),
    user: ids(rows.length, (i) => ledger.userId(u32[rows[i]! + StayAt.USER]!)),
    from: column(rows.length, (i) => u32[rows[i]! + StayAt.FROM]!),
    until: column(rows.length, (i) => u32[rows[i]! + StayAt.UNTIL]!),
  };
}

/** May be asked for more than once; the checker goes on. */
export function exportSummary(checker: Checker): Summary {
  const { ledger } = checker;
  const { u32 } = ledger.memory;
  const { devices, conversations, pairs, receipts } = ledger;
  const log = concatenate(
    ledger,
    conversations.rowLimit,
    (row) => u32[conversations.at(row) + ConversationAt.LOG]!,
    (row) => ledger.head(row),
  );
  const operations = concatenate(
    ledger,
    pairs.rowLimit,
    (row) => u32[pairs.at(row) + PairAt.OPERATIONS]!,
    (row) => u32[pairs.at(row) + PairAt.OPERATIONS_LENGTH]! * OperationAt.WORDS,
  );
  const receipt = (word: number) => (row: number) => u32[receipts.at(row) + word]!;
  return {
    devices: {
      key: ids(devices.rowLimit, (row) => ledger.deviceKey(row)),
      flags: column(devices.rowLimit, (row) => u32[devices.at(row) + DeviceAt.FLAGS]!),
    },
    conversations: {
      a: ids(conversations.rowLimit, (row) => ledger.convA(row)),
      b: ids(conversations.rowLimit, (row) => ledger.convB(row)),
      start: log.start,
      log: log.all,
    },
    pairs: { rows: pairRows(ledger), start: operations.start, operations: operations.all },
    stays: stays(ledger),
    receipts: {
      pair: column(receipts.rowLimit, receipt(ReceiptAt.PAIR)),
      whose: ids(receipts.rowLimit, (row) => {
        const whose = receipt(ReceiptAt.WHOSE)(row);
        return whose === 0 ? 0 : ledger.userId(whose - 1);
      }),
      delivered: column(receipts.rowLimit, receipt(ReceiptAt.DELIVERED)),
      read: column(receipts.rowLimit, receipt(ReceiptAt.READ)),
    },
    trail: checker.trail.export(),
    violations: checker.violations.kept,
    tally: checker.violations.tally,
    counts: { ...checker.counts },
  };
}

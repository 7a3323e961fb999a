/**
 * The end: what only everybody's view can tell. Each send that was acknowledged stands where its sender was told (G4), none
 * that was refused or never sent stands anywhere (G5), every connected device of every member has everything up to the head
 * or to where it left (G4, G8), all that saw the same saw it in the same order (G2), receipts say what is true (G7).
 */
import { isDirect } from '../ids.js';
import { LinearMemory } from '../memory.js';
import { Table } from '../table.js';
import { judgeReceipts } from './judge-receipts.js';
import { DeviceAt, DeviceFlag, fingerprintOf, OperationAt, Outcome, PairAt, Reported, StayAt } from './ledger.js';
import { Merged } from './merge.js';
import type { Summary } from './summary.js';
import type { Violations } from './violation.js';

export interface JudgeOptions {
  /** Nothing is on its way any more: what is missing now is lost. False: it is only counted. */
  readonly isQuiescent: boolean;
  /** Receipts are fed and all is acked, so at quiescence they must be complete. Default: if any came. */
  readonly areReceiptsComplete?: boolean;
  readonly keptMax?: number;
}

export interface Verdict {
  /** No violation. */
  readonly isClean: boolean;
  readonly violations: Violations;
  readonly sends: number;
  readonly acknowledged: number;
  readonly rejected: number;
  /** Sends whose outcome never came. */
  readonly unknown: number;
  readonly deliveries: number;
  readonly receipts: number;
  /** Deliveries to connected devices that have not come (yet). */
  readonly missing: number;
  /** Conversations in which something stands, and sequences in all of them. */
  readonly conversations: number;
  readonly messages: number;
}

/** Judges the parts of one run. Never throws: what is wrong is in the verdict. */
export function judge(summaries: readonly Summary[], options: JudgeOptions): Verdict {
  const merged = new Merged(summaries, options.keptMax);
  const judging = new Judging(merged, options.isQuiescent);
  judging.sends();
  judging.deliveries();
  judging.prefixes();
  // While things move, the parts are of different moments, and only what holds at any time can be judged.
  if (options.isQuiescent) {
    judgeReceipts(merged, judging.heads, options.areReceiptsComplete ?? merged.counts.receipts > 0);
  }
  const { counts, violations } = merged;
  return {
    isClean: violations.total === 0,
    violations,
    ...counts,
    unknown: counts.sends - counts.acknowledged - counts.rejected,
    missing: judging.missing,
    conversations: judging.heads.reduce((sum, head) => sum + (head > 0 ? 1 : 0), 0),
    messages: judging.heads.reduce((sum, head) => sum + head, 0),
  };
}

/** Words of a row for all devices that saw the same sequences: (conversation, from, last) and the two lanes of their hash. */
const PrefixAt = { A: 3, B: 4, WORDS: 5 } as const;

class Judging {
  readonly #merged: Merged;
  readonly #isQuiescent: boolean;
  /** Highest sequence of each conversation that anybody saw or was told of. */
  readonly heads: Float64Array;
  missing = 0;

  constructor(merged: Merged, isQuiescent: boolean) {
    const { ledger } = merged;
    this.#merged = merged;
    this.#isQuiescent = isQuiescent;
    this.heads = Float64Array.from({ length: ledger.conversations.rowLimit }, (_, row) => ledger.head(row));
  }

  sends(): void {
    const { ledger } = this.#merged;
    const { u32 } = ledger.memory;
    for (let pair = 0; pair < ledger.pairs.rowLimit; pair++) {
      const at = ledger.pairs.at(pair);
      const conversation = u32[at + PairAt.CONVERSATION]!;
      this.heads[conversation] = Math.max(this.heads[conversation]!, u32[at + PairAt.LAST]!);
      const length = u32[at + PairAt.OPERATIONS_LENGTH]!;
      let lastSeq = 0;
      for (let counter = 1; counter <= length; counter++) lastSeq = this.#send(pair, counter, lastSeq);
    }
  }

  /** Judges one send; returns its sequence, or `lastSeq`, that of the sends before it, if it has none. */
  #send(pair: number, counter: number, lastSeq: number): number {
    const { ledger } = this.#merged;
    const { u32 } = ledger.memory;
    const at = ledger.pairs.at(pair);
    const operation = u32[at + PairAt.OPERATIONS]! + (counter - 1) * OperationAt.WORDS;
    const seq = u32[operation + OperationAt.SEQ]!;
    if (seq === 0) return lastSeq;
    if (!ledger.isReported(operation, Reported.OUTCOME)) this.#outcome(pair, at, operation, counter, seq);
    if (seq < lastSeq && !ledger.isReported(operation, Reported.ORDER)) {
      const sentence = `counter ${counter} stands at sequence ${seq}, an earlier one of the same device at ${lastSeq}`;
      this.#merged.fail('G3', 'order', 1, sentence, pair, u32[at + PairAt.CONVERSATION]!, seq, counter);
    }
    return Math.max(seq, lastSeq);
  }

  /** A send that stands at `seq` must have been sent and not refused; one that was acknowledged must stand there, alone. */
  #outcome(pair: number, at: number, operation: number, counter: number, seq: number): void {
    const { ledger } = this.#merged;
    const { u32 } = ledger.memory;
    const outcome = ledger.outcome(operation);
    const device = u32[at + PairAt.DEVICE]!;
    const conversation = u32[at + PairAt.CONVERSATION]!;
    const isHosted = (u32[ledger.devices.at(device) + DeviceAt.FLAGS]! & DeviceFlag.HOSTED) !== 0;
    if (outcome === Outcome.REJECTED) {
      const sentence = `counter ${counter} was refused for good, and stands at sequence ${seq}`;
      this.#merged.fail('G5', 'invented', 1, sentence, pair, conversation, seq, counter);
    } else if (this.#isQuiescent && isHosted && outcome === Outcome.NEVER_SENT) {
      const sentence = `counter ${counter} was never sent, and stands at sequence ${seq}`;
      this.#merged.fail('G5', 'invented', 1, sentence, pair, conversation, seq, counter);
    } else if (outcome === Outcome.OK) {
      this.heads[conversation] = Math.max(this.heads[conversation]!, seq);
      const stands = ledger.fingerprintAt(conversation, seq);
      const content = u32[operation + OperationAt.CONTENT]!;
      if (stands === 0 || stands === fingerprintOf(u32[at + PairAt.FINGERPRINT]!, counter, content)) return;
      const sentence = `counter ${counter} was acknowledged as sequence ${seq}, where another message stands`;
      this.#merged.fail('G4', 'lost', 1, sentence, pair, conversation, seq, counter);
    }
  }

  /** Every connected device of every member has everything. */
  deliveries(): void {
    const { ledger } = this.#merged;
    const { u32 } = ledger.memory;
    for (let conversation = 0; conversation < this.heads.length; conversation++) {
      const a = ledger.convA(conversation);
      if (!isDirect(a)) continue;
      for (const id of [a, ledger.convB(conversation)])
        this.#userHas(conversation, ledger.user(id), 1, this.heads[conversation]!);
    }
    for (let row = 0; row < ledger.stays.rowLimit; row++) {
      const at = ledger.stays.at(row);
      const from = u32[at + StayAt.FROM]!;
      if (from === 0) continue;
      const conversation = u32[at + StayAt.CONVERSATION]!;
      const until = Math.min(u32[at + StayAt.UNTIL]!, this.heads[conversation]!);
      this.#userHas(conversation, u32[at + StayAt.USER]!, from, until);
    }
  }

  #userHas(conversation: number, user: number, from: number, until: number): void {
    if (until < from) return;
    const { ledger } = this.#merged;
    ledger.eachDevice(user, (device) => {
      const flags = ledger.memory.u32[ledger.devices.at(device) + DeviceAt.FLAGS]!;
      if ((flags & (DeviceFlag.HOSTED | DeviceFlag.AWAY)) !== DeviceFlag.HOSTED) return;
      const pair = ledger.pair(device, conversation);
      const last = Math.max(ledger.memory.u32[ledger.pairs.at(pair) + PairAt.LAST]!, from - 1);
      if (last < until) this.#lacks(pair, conversation, last, until);
    });
  }

  #lacks(pair: number, conversation: number, last: number, until: number): void {
    this.missing += until - last;
    if (!this.#isQuiescent) return;
    const { ledger } = this.#merged;
    const sentLast = ledger.memory.u32[ledger.pairs.at(pair) + PairAt.SENT_LAST]!;
    if (sentLast > last) {
      const sentence = `the device's own acknowledged message at sequence ${sentLast} never came back to it; it has up to ${last}`;
      this.#merged.fail('G8', 'lost', until - last, sentence, pair, conversation, sentLast, 0);
      return;
    }
    const sentence = `sequences ${last + 1} to ${until} never came to a connected device`;
    this.#merged.fail('G4', 'lost', until - last, sentence, pair, conversation, last + 1, 0);
  }

  /** Devices that saw the same sequences, whole, have the same hash over them. */
  prefixes(): void {
    const { ledger } = this.#merged;
    const memory = new LinearMemory();
    const groups = new Table(memory, PrefixAt.WORDS, 3);
    for (let pair = 0; pair < ledger.pairs.rowLimit; pair++) {
      const { u32 } = ledger.memory;
      const at = ledger.pairs.at(pair);
      const isHosted = (u32[ledger.devices.at(u32[at + PairAt.DEVICE]!) + DeviceAt.FLAGS]! & DeviceFlag.HOSTED) !== 0;
      if (!isHosted || u32[at + PairAt.FLAGS] !== 0 || u32[at + PairAt.LAST] === 0) continue;
      this.#prefix(groups, memory, pair, at);
    }
  }

  #prefix(groups: Table, memory: LinearMemory, pair: number, at: number): void {
    const { u32 } = this.#merged.ledger.memory;
    const conversation = u32[at + PairAt.CONVERSATION]!;
    const last = u32[at + PairAt.LAST]!;
    const found = groups.find(conversation, u32[at + PairAt.FROM]!, last);
    const group = groups.at(found >= 0 ? found : groups.insert(conversation, u32[at + PairAt.FROM]!, last));
    const words = memory.u32;
    if (found < 0) {
      words[group + PrefixAt.A] = u32[at + PairAt.PREFIX_A]!;
      words[group + PrefixAt.B] = u32[at + PairAt.PREFIX_B]!;
    } else if (
      words[group + PrefixAt.A] !== u32[at + PairAt.PREFIX_A] ||
      words[group + PrefixAt.B] !== u32[at + PairAt.PREFIX_B]
    ) {
      const sentence = `up to sequence ${last} the device saw something else than another device of the conversation`;
      this.#merged.fail('G2', 'disagreement', 1, sentence, pair, conversation, last, 0);
    }
  }
}

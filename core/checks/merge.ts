/**
 * Puts the parts of several checkers into one ledger, and checks what only both sides of a seam can show: that two of them
 * saw the same message at a sequence (G2), and the same sequence for a send (G6).
 */
import { DeviceAt, DeviceFlag, Ledger, OperationAt, PairAt, ReceiptAt } from './ledger.js';
import type { Summary } from './summary.js';
import { Trail } from './trail.js';
import { type Fault, type Guarantee, Violations } from './violation.js';

/** What only the part that hosts a pair's device knows of it. */
const OWN_WORDS = [
  PairAt.LAST,
  PairAt.FROM,
  PairAt.UNTIL,
  PairAt.PREFIX_A,
  PairAt.PREFIX_B,
  PairAt.FLAGS,
  PairAt.SENT_LAST,
  PairAt.READ_SURE,
  PairAt.READ,
  PairAt.START,
  PairAt.MORTAL_FIRST,
  PairAt.MORTAL_LAST,
] as const;

/** Where a merged pair came from, so that its last events can be found. */
interface Part {
  readonly summary: Summary;
  /** Numbers in the merged ledger, by numbers in the part. */
  readonly devices: Uint32Array;
  readonly conversations: Uint32Array;
  readonly pairs: Uint32Array;
}

export class Merged {
  readonly ledger = new Ledger();
  readonly violations: Violations;
  readonly counts = { sends: 0, acknowledged: 0, rejected: 0, deliveries: 0, receipts: 0 };
  readonly #parts: Part[] = [];

  constructor(summaries: readonly Summary[], keptMax?: number) {
    this.violations = new Violations(keptMax);
    for (const summary of summaries) this.#absorb(summary);
  }

  #absorb(summary: Summary): void {
    const { ledger } = this;
    this.violations.absorb(summary.violations, summary.tally);
    this.counts.sends += summary.counts.sends;
    this.counts.acknowledged += summary.counts.acknowledged;
    this.counts.rejected += summary.counts.rejected;
    this.counts.deliveries += summary.counts.deliveries;
    this.counts.receipts += summary.counts.receipts;
    const devices = Uint32Array.from(summary.devices.key, (key) => ledger.device(key));
    for (let i = 0; i < devices.length; i++) {
      ledger.memory.u32[ledger.devices.at(devices[i]!) + DeviceAt.FLAGS]! |= summary.devices.flags[i]!;
    }
    const { a, b } = summary.conversations;
    const conversations = Uint32Array.from(a, (convA, i) => ledger.conversation(convA, b[i]!));
    const pairCount = summary.pairs.rows.length / PairAt.WORDS;
    const pairs = new Uint32Array(pairCount);
    for (let i = 0; i < pairCount; i++) {
      const row = i * PairAt.WORDS;
      const device = devices[summary.pairs.rows[row + PairAt.DEVICE]!]!;
      pairs[i] = ledger.pair(device, conversations[summary.pairs.rows[row + PairAt.CONVERSATION]!]!);
    }
    this.#parts.push({ summary, devices, conversations, pairs });
    const part = this.#parts.at(-1)!;
    this.#absorbLogs(part);
    this.#absorbPairs(part);
    this.#absorbStays(part);
    this.#absorbReceipts(part);
  }

  #absorbLogs({ summary, conversations }: Part): void {
    const { start, log } = summary.conversations;
    for (let i = 0; i < conversations.length; i++) {
      for (let at = start[i]!; at < start[i + 1]!; at++) {
        if (log[at] !== 0) this.#absorbEntry(conversations[i]!, at - start[i]! + 1, log[at]!);
      }
    }
  }

  #absorbEntry(conversation: number, seq: number, fingerprint: number): void {
    const known = this.ledger.fingerprintAt(conversation, seq);
    if (known === 0) this.ledger.setFingerprint(conversation, seq, fingerprint);
    else if (known !== fingerprint) {
      const sentence = `devices of two observers were handed different messages as sequence ${seq}`;
      this.fail('G2', 'disagreement', 1, sentence, -1, conversation, seq, 0);
    }
  }

  #absorbPairs(part: Part): void {
    const { rows, start, operations } = part.summary.pairs;
    for (let i = 0; i < part.pairs.length; i++) {
      const pair = part.pairs[i]!;
      const row = i * PairAt.WORDS;
      const flags = part.summary.devices.flags[rows[row + PairAt.DEVICE]!]!;
      if ((flags & DeviceFlag.HOSTED) !== 0) {
        const at = this.ledger.pairs.at(pair);
        const { u32 } = this.ledger.memory;
        for (const word of OWN_WORDS) u32[at + word] = rows[row + word]!;
      }
      const count = (start[i + 1]! - start[i]!) / OperationAt.WORDS;
      for (let k = 0; k < count; k++) this.#absorbSend(pair, k + 1, operations, start[i]! + k * OperationAt.WORDS);
    }
  }

  /** Merges what one part knows of a send: its sender's side the outcome, every observer the sequence and the content. */
  #absorbSend(pair: number, counter: number, from: Uint32Array, at: number): void {
    const { ledger } = this;
    const seq = from[at + OperationAt.SEQ]!;
    const content = from[at + OperationAt.CONTENT]!;
    const operation = ledger.operation(pair, counter);
    const { u32 } = ledger.memory;
    const knownSeq = u32[operation + OperationAt.SEQ]!;
    const knownContent = u32[operation + OperationAt.CONTENT]!;
    const conversation = u32[ledger.pairs.at(pair) + PairAt.CONVERSATION]!;
    if (seq !== 0 && knownSeq !== 0 && seq !== knownSeq) {
      const sentence = `counter ${counter} of one device stands at sequence ${knownSeq} and at ${seq}`;
      this.fail('G6', 'double', 1, sentence, pair, conversation, seq, counter);
    }
    if (content !== 0 && knownContent !== 0 && content !== knownContent) {
      const sentence = `counter ${counter} of one device has two contents`;
      this.fail('G2', 'disagreement', 1, sentence, pair, conversation, seq, counter);
    }
    if (knownSeq === 0) u32[operation + OperationAt.SEQ] = seq;
    if (knownContent === 0) u32[operation + OperationAt.CONTENT] = content;
    // Only the sender's own checker knows an outcome; all others have NEVER_SENT, which is 0.
    u32[operation + OperationAt.OUTCOME]! |= from[at + OperationAt.OUTCOME]!;
  }

  #absorbStays({ summary, conversations }: Part): void {
    const { conversation, user, from, until } = summary.stays;
    for (let i = 0; i < conversation.length; i++) {
      this.ledger.addStay(conversations[conversation[i]!]!, this.ledger.user(user[i]!), from[i]!, until[i]!);
    }
  }

  #absorbReceipts({ summary, pairs }: Part): void {
    const { pair, whose, delivered, read } = summary.receipts;
    for (let i = 0; i < pair.length; i++) {
      const at = this.ledger.receipt(pairs[pair[i]!]!, whose[i] === 0 ? 0 : this.ledger.user(whose[i]!) + 1);
      const { u32 } = this.ledger.memory;
      u32[at + ReceiptAt.DELIVERED] = Math.max(u32[at + ReceiptAt.DELIVERED]!, delivered[i]!);
      u32[at + ReceiptAt.READ] = Math.max(u32[at + ReceiptAt.READ]!, read[i]!);
    }
  }

  /** `pair` −1: nobody's in particular. */
  fail(
    guarantee: Guarantee,
    fault: Fault,
    count: number,
    sentence: string,
    pair: number,
    conversation: number,
    seq: number,
    counter: number,
  ): void {
    const { ledger } = this;
    const device = pair < 0 ? -1 : ledger.memory.u32[ledger.pairs.at(pair) + PairAt.DEVICE]!;
    this.violations.add({
      guarantee,
      fault,
      count,
      sentence,
      device: device < 0 ? 0 : ledger.deviceKey(device),
      convA: ledger.convA(conversation),
      convB: ledger.convB(conversation),
      seq,
      counter,
      context: pair < 0 || this.violations.isFull ? [] : this.#contextOf(pair, device),
    });
  }

  /** The last events of a pair, from the part that hosts its device. */
  #contextOf(pair: number, device: number): string[] {
    for (const part of this.#parts) {
      const i = part.pairs.indexOf(pair);
      const k = part.devices.indexOf(device);
      if (i < 0 || (part.summary.devices.flags[k]! & DeviceFlag.HOSTED) === 0) continue;
      return Trail.restore(part.summary.trail).of(i, k);
    }
    return [];
  }
}

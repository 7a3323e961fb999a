/**
 * Checks G1–G9 event by event, as devices see them, in constant time each. What needs everybody's view at the end (no loss,
 * agreement between processes, final receipts) is in judge.ts; `exportSummary` (summary.ts) carries this one's part there.
 *
 * Feed it what each hosted device's *application* sees, in the order in which it sees it: repetitions that a client drops
 * by their sequence are no events. Sends of a device must be told before anything that answers them.
 */
import { directConversation, isDirect, mix32 } from '../ids.js';
import { SEQUENCE_MAX } from '../limits.js';
import {
  DeviceAt,
  DeviceFlag,
  fingerprintOf,
  Ledger,
  OperationAt,
  Outcome,
  PairAt,
  PairFlag,
  ReceiptAt,
  Reported,
  StayAt,
} from './ledger.js';
import { Event, Trail } from './trail.js';
import { type Fault, type Guarantee, Violations } from './violation.js';

/** Reasons of GAP. */
export const GapReason = { EXPIRED: 1, BLOCKED: 2, BEFORE_JOIN: 3 } as const;

export interface CheckerOptions {
  /** False: nothing expires and nobody is blocked here, so a GAP is a loss (G4). Default true. */
  readonly gapsAllowed?: boolean;
  /** Violations kept in full. */
  readonly keptMax?: number;
}

export interface Counts {
  sends: number;
  /** Sends with the outcome OK. */
  acknowledged: number;
  /** Sends refused for good. */
  rejected: number;
  /** Messages handed to devices, own ones (SENT) not counted. */
  deliveries: number;
  receipts: number;
}

export class Checker {
  readonly ledger = new Ledger();
  readonly violations: Violations;
  readonly counts: Counts = { sends: 0, acknowledged: 0, rejected: 0, deliveries: 0, receipts: 0 };
  readonly trail = new Trail();
  readonly #gapsAllowed: boolean;

  constructor(options: CheckerOptions = {}) {
    this.#gapsAllowed = options.gapsAllowed ?? true;
    this.violations = new Violations(options.keptMax);
  }

  // --- who is who: small numbers to keep -----------------------------------------------------------------------------------

  /** A device whose events will be fed here, by its key; returns its number. Its user's eligibility for G4 counts from now. */
  host(deviceKey: number): number {
    const device = this.ledger.device(deviceKey);
    this.ledger.memory.u32[this.ledger.devices.at(device) + DeviceAt.FLAGS]! |= DeviceFlag.HOSTED;
    return device;
  }

  /** The number of any device, hosted or not, in a conversation. Stays the same for the checker's life. */
  pair(deviceKey: number, convA: number, convB: number): number {
    return this.ledger.pair(this.ledger.device(deviceKey), this.ledger.conversation(convA, convB));
  }

  // --- membership (G9): told by whoever knows, as often as they like, before a device is handed something by virtue of it --------

  /** The user sees the group from sequence `seq` on. */
  joined(convA: number, convB: number, user: number, seq: number): void {
    this.ledger.addStay(this.ledger.conversation(convA, convB), this.ledger.user(user), seq, SEQUENCE_MAX);
  }

  /** The last sequence that the user sees is `seq`. */
  left(convA: number, convB: number, user: number, seq: number): void {
    const { ledger } = this;
    const conversation = ledger.conversation(convA, convB);
    const userRow = ledger.user(user);
    const stay = ledger.stayAt(conversation, userRow, seq);
    // Somebody ahead tells of an end whose beginning has not been told yet: it will be told again, in order.
    if (stay < 0) return;
    const { u32 } = ledger.memory;
    u32[stay + StayAt.UNTIL] = seq;
    const from = u32[stay + StayAt.FROM]!;
    ledger.eachDevice(userRow, (device) => {
      const pair = ledger.pairs.find(device, conversation);
      if (pair < 0) return;
      const at = ledger.pairs.at(pair);
      if (u32[at + PairAt.FROM] === from) u32[at + PairAt.UNTIL] = seq;
    });
  }

  /** One user blocks another: from now on neither need be told what becomes of its messages to the other. */
  blocked(user: number, other: number): void {
    const { ledger } = this;
    const { a, b } = directConversation(user, other);
    const conversation = ledger.conversation(a, b);
    for (const one of [user, other]) {
      ledger.eachDevice(ledger.user(one), (device) => {
        const at = ledger.pairs.at(ledger.pair(device, conversation));
        ledger.memory.u32[at + PairAt.FLAGS]! |= PairFlag.BLOCKED;
      });
    }
  }

  /** A device that is new to its user sees the conversation from `seq` on, though its user was there before. */
  startsAt(pair: number, seq: number): void {
    const { ledger } = this;
    const at = ledger.pairs.at(pair);
    const { u32 } = ledger.memory;
    const conversation = u32[at + PairAt.CONVERSATION]!;
    u32[at + PairAt.LAST] = seq - 1;
    u32[at + PairAt.START] = seq - 1;
    u32[at + PairAt.FLAGS]! |= PairFlag.STARTED_LATE;
    if (isDirect(ledger.convA(conversation))) return;
    const stay = ledger.stayAt(conversation, ledger.userOf(u32[at + PairAt.DEVICE]!), seq);
    if (stay < 0) return;
    const words = ledger.memory.u32;
    words[at + PairAt.FROM] = words[stay + StayAt.FROM]!;
    words[at + PairAt.UNTIL] = words[stay + StayAt.UNTIL]!;
  }

  /**
   * The device's application lost its state, wholly or since it was saved, and stands at `seq` (0: before all): it is handed
   * once more what comes behind.
   */
  rewound(pair: number, seq: number): void {
    this.trail.add(Event.REWOUND, pair, seq, 0);
    const { ledger } = this;
    const at = ledger.pairs.at(pair);
    const { u32 } = ledger.memory;
    // What came before the device itself did was never owed to it.
    const last = Math.max(seq, u32[at + PairAt.START]!);
    u32[at + PairAt.LAST] = last;
    u32[at + PairAt.FLAGS]! |= PairFlag.REWOUND;
    if (isDirect(ledger.convA(u32[at + PairAt.CONVERSATION]!))) return;
    u32[at + PairAt.FROM] = 0;
    u32[at + PairAt.UNTIL] = 0;
    if (last > 0) this.#enterStay(at, last);
  }

  /** The device knows nothing of this send any more, and it never left the device: the counter is free again. */
  forgotten(pair: number, counter: number): void {
    this.trail.add(Event.FORGOTTEN, pair, counter, 0);
    const operation = this.ledger.operation(pair, counter);
    if (operation < 0) return;
    const { u32 } = this.ledger.memory;
    const seq = u32[operation + OperationAt.SEQ]!;
    const outcome = this.ledger.outcome(operation);
    if (outcome === Outcome.UNKNOWN) this.counts.sends--;
    if (seq !== 0 || outcome === Outcome.OK || outcome === Outcome.REJECTED) {
      this.ledger.markReported(operation, Reported.OUTCOME);
      const what = seq === 0 ? 'has an outcome' : `stands at sequence ${seq}`;
      const sentence = `counter ${counter} never left its device, and ${what}`;
      return this.#fail('G5', 'invented', 1, sentence, pair, seq, counter);
    }
    this.ledger.setOutcome(operation, Outcome.NEVER_SENT);
    u32[operation + OperationAt.CONTENT] = 0;
  }

  // --- sends and their outcomes --------------------------------------------------------------------------------------------

  /** The device sends `counter` for the first time, or again. `content`: contentOf its message. */
  sending(pair: number, counter: number, content: number): void {
    this.trail.add(Event.SEND, pair, counter, 0);
    const { ledger } = this;
    const operation = ledger.operation(pair, counter);
    if (operation < 0)
      return this.#fail('G3', 'order', 1, `counter ${counter} is far beyond all others`, pair, 0, counter);
    const { u32 } = ledger.memory;
    const known = u32[operation + OperationAt.CONTENT]!;
    if (ledger.outcome(operation) === Outcome.NEVER_SENT) {
      ledger.setOutcome(operation, Outcome.UNKNOWN);
      this.counts.sends++;
    } else if (known !== content) {
      this.#fail('G6', 'double', 1, `counter ${counter} was used for two different messages`, pair, 0, counter);
    }
    u32[operation + OperationAt.CONTENT] = content;
  }

  /** SENT, in order: the own message stands at `seq`, and this is also where the device sees it. */
  sent(pair: number, counter: number, seq: number): void {
    this.trail.add(Event.SENT, pair, counter, seq);
    if (!this.#accept(pair, counter, seq)) return;
    const { ledger } = this;
    const { u32 } = ledger.memory;
    const at = ledger.pairs.at(pair);
    const content = u32[ledger.operation(pair, counter) + OperationAt.CONTENT]!;
    this.#step(pair, at, seq);
    if (seq > u32[at + PairAt.SENT_LAST]!) u32[at + PairAt.SENT_LAST] = seq;
    this.#place(pair, at, seq, pair, counter, content);
  }

  /** SENT as a duplicate: `counter` had been taken, as `seq` (0: no longer known). It has no place in the device's order. */
  answered(pair: number, counter: number, seq: number): void {
    this.trail.add(Event.ANSWERED, pair, counter, seq);
    if (!this.#accept(pair, counter, seq) || seq === 0) return;
    const { ledger } = this;
    const operation = ledger.operation(pair, counter);
    const { u32 } = ledger.memory;
    const at = ledger.pairs.at(pair);
    if (seq > u32[at + PairAt.SENT_LAST]!) u32[at + PairAt.SENT_LAST] = seq;
    this.#assign(pair, pair, operation, counter, seq);
  }

  /** The send has an outcome: OK. False: it cannot be true. */
  #accept(pair: number, counter: number, seq: number): boolean {
    const operation = this.ledger.operation(pair, counter);
    const outcome = operation < 0 ? Outcome.NEVER_SENT : this.ledger.outcome(operation);
    if (outcome === Outcome.NEVER_SENT) {
      const sentence = `counter ${counter} was acknowledged, but the device never sent it`;
      this.#fail('G5', 'invented', 1, sentence, pair, seq, counter);
      return false;
    }
    if (outcome === Outcome.REJECTED) {
      this.ledger.markReported(operation, Reported.OUTCOME);
      const sentence = `counter ${counter} was acknowledged after it had been refused for good`;
      this.#fail('G5', 'invented', 1, sentence, pair, seq, counter);
      return false;
    }
    if (outcome === Outcome.UNKNOWN) this.counts.acknowledged++;
    this.ledger.setOutcome(operation, Outcome.OK);
    return true;
  }

  /** REJECT with a code that cannot be retried. */
  rejected(pair: number, counter: number): void {
    this.trail.add(Event.REJECTED, pair, counter, 0);
    const operation = this.ledger.operation(pair, counter);
    if (operation < 0) return;
    const { u32 } = this.ledger.memory;
    const seq = u32[operation + OperationAt.SEQ]!;
    const before = this.ledger.outcome(operation);
    if (before === Outcome.UNKNOWN) this.counts.rejected++;
    this.ledger.setOutcome(operation, Outcome.REJECTED);
    if (seq === 0 && before !== Outcome.OK) return;
    this.ledger.markReported(operation, Reported.OUTCOME);
    const where = seq === 0 ? 'was acknowledged' : `stands at sequence ${seq}`;
    this.#fail('G5', 'invented', 1, `counter ${counter} was refused for good, but ${where}`, pair, seq, counter);
  }

  // --- what a device is handed ---------------------------------------------------------------------------------------------

  /**
   * A message, or any other sequenced frame. `sender`: the sender's pair number in this conversation. `content`: contentOf
   * what is the same for all devices, never 0: with a table of one ciphertext a device, or where only the envelope comes,
   * that is kind, extra and no payload.
   */
  delivered(pair: number, seq: number, sender: number, counter: number, content: number): void {
    this.trail.add(Event.DELIVERED, pair, seq, counter);
    this.counts.deliveries++;
    const at = this.ledger.pairs.at(pair);
    this.#step(pair, at, seq);
    this.#place(pair, at, seq, sender, counter, content);
  }

  /** What the device was just handed as `seq` has a time to live of its own. */
  mortal(pair: number, seq: number): void {
    const { u32 } = this.ledger.memory;
    const at = this.ledger.pairs.at(pair);
    if (u32[at + PairAt.MORTAL_LAST] !== seq - 1) u32[at + PairAt.MORTAL_FIRST] = seq;
    u32[at + PairAt.MORTAL_LAST] = seq;
  }

  /** GAP: nothing up to and including `through` will come, `reason`: GapReason. */
  gap(pair: number, through: number, reason: number): void {
    this.trail.add(Event.GAP, pair, through, reason);
    const { u32 } = this.ledger.memory;
    const at = this.ledger.pairs.at(pair);
    const last = u32[at + PairAt.LAST]!;
    if (through <= last) return;
    if (!this.#gapsAllowed && reason !== GapReason.BEFORE_JOIN) {
      const count = through - last;
      this.#fail('G4', 'gap', count, `the device was told that ${count} sequences will not come`, pair, through, 0);
    }
    u32[at + PairAt.FLAGS]! |= reason === GapReason.BEFORE_JOIN ? PairFlag.STARTED_LATE : PairFlag.GAPPED;
    if (reason === GapReason.BEFORE_JOIN) u32[at + PairAt.START] = through;
    u32[at + PairAt.LAST] = through;
    this.#enterStay(at, through);
  }

  /** The device's connection ended: it need not have everything at the end, unless `resumed`. */
  away(device: number): void {
    this.ledger.memory.u32[this.ledger.devices.at(device) + DeviceAt.FLAGS]! |= DeviceFlag.AWAY;
  }

  /** The device is connected again, and goes on from its cursor. */
  resumed(device: number): void {
    this.trail.addDeviceEvent(Event.RESUMED, device);
    const at = this.ledger.devices.at(device);
    const { u32 } = this.ledger.memory;
    u32[at + DeviceAt.RESUMED] = this.trail.length;
    u32[at + DeviceAt.FLAGS]! &= ~DeviceFlag.AWAY;
  }

  // --- receipts ------------------------------------------------------------------------------------------------------------

  /** The device told that it read up to `seq`; `isSure`: the telling surely arrived. */
  read(pair: number, seq: number, isSure: boolean): void {
    this.trail.add(Event.READ, pair, seq, 0);
    const { u32 } = this.ledger.memory;
    const at = this.ledger.pairs.at(pair);
    if (seq > u32[at + PairAt.READ]!) u32[at + PairAt.READ] = seq;
    if (isSure && seq > u32[at + PairAt.READ_SURE]!) u32[at + PairAt.READ_SURE] = seq;
  }

  /** The device was told somebody's watermarks. `whose`: a user id, or 0 for all members of the group. */
  receipt(pair: number, whose: number, delivered: number, read: number): void {
    this.trail.add(Event.RECEIPT, pair, delivered, read);
    this.counts.receipts++;
    const { ledger } = this;
    const at = ledger.receipt(pair, whose === 0 ? 0 : ledger.user(whose) + 1);
    const { u32 } = ledger.memory;
    const lastDelivered = u32[at + ReceiptAt.DELIVERED]!;
    const lastRead = u32[at + ReceiptAt.READ]!;
    if (read > delivered) {
      this.#fail('G7', 'receipt', 1, `read up to ${read} is beyond delivered up to ${delivered}`, pair, delivered, 0);
    }
    const isRewound = (u32[this.ledger.pairs.at(pair) + PairAt.FLAGS]! & PairFlag.REWOUND) !== 0;
    if (!isRewound && (delivered < lastDelivered || read < lastRead)) {
      const sentence = `a receipt went back from delivered ${lastDelivered}, read ${lastRead} to ${delivered}, ${read}`;
      this.#fail('G7', 'receipt', 1, sentence, pair, delivered, 0);
    }
    u32[at + ReceiptAt.DELIVERED] = Math.max(lastDelivered, delivered);
    u32[at + ReceiptAt.READ] = Math.max(lastRead, read);
  }

  // --- the checks ----------------------------------------------------------------------------------------------------------

  /** The device sees `seq` next: it must be the one after its last (G1, after a reconnect G8), within a stay (G9). */
  #step(pair: number, at: number, seq: number): void {
    const { u32 } = this.ledger.memory;
    const last = u32[at + PairAt.LAST]!;
    if (seq !== last + 1 || seq > u32[at + PairAt.UNTIL]!) this.#slowStep(pair, at, seq);
    if (seq > last) u32[at + PairAt.LAST] = seq;
    u32[at + PairAt.EVENT] = this.trail.length;
  }

  /** Not simply the next one of the same stay: the beginning of a stay, or something is wrong. */
  #slowStep(pair: number, at: number, seq: number): void {
    const { ledger } = this;
    const before = ledger.memory.u32;
    const last = before[at + PairAt.LAST]!;
    const from = before[at + PairAt.FROM]!;
    const until = before[at + PairAt.UNTIL]!;
    const stepped = this.#guaranteeOfStep(at);
    if (seq <= last) return this.#repeated(pair, at, seq, last);
    if (!this.#enterStay(at, seq)) {
      const sentence = `sequence ${seq} came to a device whose user is not a member at that sequence`;
      return this.#fail('G9', 'membership', 1, sentence, pair, seq, 0);
    }
    const nowFrom = ledger.memory.u32[at + PairAt.FROM]!;
    if (from !== 0 && from !== nowFrom) {
      // Another stay begins: the one before must have been seen to its end.
      ledger.memory.u32[at + PairAt.FLAGS]! |= PairFlag.REJOINED;
      if (last < until) this.#leftOut(stepped, pair, seq, last, until - last);
    }
    const expected = Math.max(last + 1, nowFrom);
    if (seq > expected) this.#leftOut(stepped, pair, seq, expected - 1, seq - expected);
  }

  /** Takes the pair to the stay that holds `seq`. False: there is none. */
  #enterStay(at: number, seq: number): boolean {
    const { ledger } = this;
    const before = ledger.memory.u32;
    if (seq >= before[at + PairAt.FROM]! && seq <= before[at + PairAt.UNTIL]!) return before[at + PairAt.FROM] !== 0;
    const conversation = before[at + PairAt.CONVERSATION]!;
    const stay = ledger.stayAt(conversation, ledger.userOf(before[at + PairAt.DEVICE]!), seq);
    if (stay < 0) return false;
    const { u32 } = ledger.memory;
    u32[at + PairAt.FROM] = u32[stay + StayAt.FROM]!;
    u32[at + PairAt.UNTIL] = u32[stay + StayAt.UNTIL]!;
    return true;
  }

  /** The pair's first event after a reconnect is G8's, any other G1's. */
  #guaranteeOfStep(at: number): 'G1' | 'G8' {
    const { u32 } = this.ledger.memory;
    const resumed = u32[this.ledger.devices.at(u32[at + PairAt.DEVICE]!) + DeviceAt.RESUMED]!;
    return resumed > u32[at + PairAt.EVENT]! ? 'G8' : 'G1';
  }

  #leftOut(guarantee: Guarantee, pair: number, seq: number, last: number, count: number): void {
    const after = guarantee === 'G8' ? ' after a reconnect' : '';
    this.#fail(guarantee, 'gap', count, `sequence ${seq} came after ${last}${after}: ${count} left out`, pair, seq, 0);
  }

  #repeated(pair: number, at: number, seq: number, last: number): void {
    const { u32 } = this.ledger.memory;
    const isSeen = this.ledger.fingerprintAt(u32[at + PairAt.CONVERSATION]!, seq) !== 0;
    if (isSeen) this.#fail('G6', 'double', 1, `sequence ${seq} came again after ${last}`, pair, seq, 0);
    else this.#fail('G1', 'order', 1, `sequence ${seq} came after ${last}`, pair, seq, 0);
  }

  /** What stands at `seq` is the sender's `counter`: everybody must see the same there (G2). */
  #place(pair: number, at: number, seq: number, sender: number, counter: number, content: number): void {
    const { ledger } = this;
    const senderAt = ledger.pairs.at(sender);
    const operation = ledger.operation(sender, counter);
    if (operation < 0) return this.#far(pair, seq, counter);
    let { u32 } = ledger.memory;
    let known = u32[operation + OperationAt.CONTENT]!;
    if (known === 0) {
      known = content;
      u32[operation + OperationAt.CONTENT] = content;
    } else if (content !== known) {
      this.#fail('G2', 'disagreement', 1, `counter ${counter} of its sender has two contents`, pair, seq, counter);
    }
    const fingerprint = fingerprintOf(u32[senderAt + PairAt.FINGERPRINT]!, counter, content);
    u32[at + PairAt.PREFIX_A] = mix32(u32[at + PairAt.PREFIX_A]! ^ fingerprint);
    u32[at + PairAt.PREFIX_B] = Math.imul(u32[at + PairAt.PREFIX_B]! ^ fingerprint, 0x9e37_79b1) + seq;
    const conversation = u32[at + PairAt.CONVERSATION]!;
    const stands = ledger.fingerprintAt(conversation, seq);
    if (stands === 0) {
      if (!ledger.setFingerprint(conversation, seq, fingerprint)) return this.#far(pair, seq, counter);
      ({ u32 } = ledger.memory);
    } else if (stands !== fingerprint) {
      this.#fail(
        'G2',
        'disagreement',
        1,
        `devices were handed different messages as sequence ${seq}`,
        pair,
        seq,
        counter,
      );
    }
    const outcome = ledger.outcome(operation);
    if (outcome === Outcome.REJECTED || outcome === Outcome.NEVER_SENT)
      this.#invented(pair, sender, operation, counter, seq);
    if (u32[operation + OperationAt.SEQ] !== seq) this.#assign(pair, sender, operation, counter, seq);
  }

  #far(pair: number, seq: number, counter: number): void {
    this.#fail('G1', 'gap', 1, `sequence ${seq}, counter ${counter} is far beyond all others`, pair, seq, counter);
  }

  /** What stands at `seq` was refused, or was never sent, if that is known here (G5). */
  #invented(pair: number, sender: number, operation: number, counter: number, seq: number): void {
    const { ledger } = this;
    const { u32 } = ledger.memory;
    const device = u32[ledger.pairs.at(sender) + PairAt.DEVICE]!;
    const isHosted = (u32[ledger.devices.at(device) + DeviceAt.FLAGS]! & DeviceFlag.HOSTED) !== 0;
    if (!isHosted) return;
    ledger.markReported(operation, Reported.OUTCOME);
    const why = ledger.outcome(operation) === Outcome.REJECTED ? 'was refused for good' : 'its sender never sent';
    const sentence = `sequence ${seq} holds counter ${counter}, which ${why}`;
    this.#fail('G5', 'invented', 1, sentence, pair, seq, counter);
  }

  /** The sender's counter stands at `seq`: it has one sequence (G6), and its counters are in order (G3). */
  #assign(pair: number, sender: number, operation: number, counter: number, seq: number): void {
    const { u32 } = this.ledger.memory;
    const known = u32[operation + OperationAt.SEQ]!;
    if (known === seq) return;
    if (known !== 0) {
      this.ledger.markReported(operation, Reported.ORDER);
      const sentence = `counter ${counter} of its sender stands at sequence ${known} and at ${seq}`;
      return this.#fail('G6', 'double', 1, sentence, pair, seq, counter);
    }
    u32[operation + OperationAt.SEQ] = seq;
    const at = this.ledger.pairs.at(sender);
    const topCounter = u32[at + PairAt.TOP_COUNTER]!;
    const topSeq = u32[at + PairAt.TOP_SEQ]!;
    if (counter > topCounter) {
      u32[at + PairAt.TOP_COUNTER] = counter;
      u32[at + PairAt.TOP_SEQ] = seq;
    }
    if (topCounter === 0 || counter > topCounter === seq > topSeq) return;
    this.ledger.markReported(operation, Reported.ORDER);
    this.ledger.markReported(this.ledger.operation(sender, topCounter), Reported.ORDER);
    const sentence = `counters ${topCounter} and ${counter} of one sender stand at sequences ${topSeq} and ${seq}, reversed`;
    this.#fail('G3', 'order', 1, sentence, pair, seq, counter);
  }

  #fail(
    guarantee: Guarantee,
    fault: Fault,
    count: number,
    sentence: string,
    pair: number,
    seq: number,
    counter: number,
  ): void {
    const { ledger } = this;
    const at = ledger.pairs.at(pair);
    const { u32 } = ledger.memory;
    const device = u32[at + PairAt.DEVICE]!;
    const conversation = u32[at + PairAt.CONVERSATION]!;
    u32[at + PairAt.FLAGS]! |= PairFlag.FAILED;
    this.violations.add({
      guarantee,
      fault,
      count,
      sentence,
      device: ledger.deviceKey(device),
      convA: ledger.convA(conversation),
      convB: ledger.convB(conversation),
      seq,
      counter,
      context: this.trail.of(pair, device),
    });
  }
}

/**
 * G7 at the end. Who was told something about a watermark was told no more than is true; and who has messages in the
 * conversation was told all that concerns them: a receipt may lag behind the truth only beyond the last own message, since
 * nobody is waiting for ticks there.
 */
import { isDirect } from '../ids.js';
import { SEQUENCE_MAX } from '../limits.js';
import { DeviceAt, DeviceFlag, type Ledger, OperationAt, PairAt, PairFlag, ReceiptAt, StayAt } from './ledger.js';
import type { Merged } from './merge.js';

/** What can be said of a user's watermarks: at least and at most this. */
interface Bounds {
  delivered: number;
  deliveredMax: number;
  read: number;
  readMax: number;
}

export function judgeReceipts(merged: Merged, heads: Float64Array, areComplete: boolean): void {
  const judging = new ReceiptJudging(merged, heads);
  judging.toldTooMuch();
  if (areComplete) judging.toldTooLittle();
}

class ReceiptJudging {
  readonly #merged: Merged;
  readonly #ledger: Ledger;
  readonly #heads: Float64Array;
  /** Users that are in a group now, by conversation. */
  readonly #members = new Map<number, number[]>();
  /** Bounds of a group, which are looked up once for each of its members. */
  readonly #groups = new Map<number, Bounds>();

  constructor(merged: Merged, heads: Float64Array) {
    this.#merged = merged;
    this.#ledger = merged.ledger;
    this.#heads = heads;
    const { stays, memory } = merged.ledger;
    for (let row = 0; row < stays.rowLimit; row++) {
      const at = stays.at(row);
      if (memory.u32[at + StayAt.FROM] === 0 || memory.u32[at + StayAt.UNTIL] !== SEQUENCE_MAX) continue;
      const conversation = memory.u32[at + StayAt.CONVERSATION]!;
      const members = this.#members.get(conversation);
      const user = memory.u32[at + StayAt.USER]!;
      if (members === undefined) this.#members.set(conversation, [user]);
      else members.push(user);
    }
  }

  toldTooMuch(): void {
    const { receipts, pairs } = this.#ledger;
    for (let row = 0; row < receipts.rowLimit; row++) {
      const { u32 } = this.#ledger.memory;
      const at = receipts.at(row);
      const pair = u32[at + ReceiptAt.PAIR]!;
      const conversation = u32[pairs.at(pair) + PairAt.CONVERSATION]!;
      const whose = u32[at + ReceiptAt.WHOSE]!;
      const bounds = whose === 0 ? this.#boundsOfGroup(conversation) : this.#boundsOf(conversation, whose - 1);
      const delivered = u32[at + ReceiptAt.DELIVERED]!;
      const read = u32[at + ReceiptAt.READ]!;
      if (delivered > bounds.deliveredMax)
        this.#tooMuch(pair, conversation, 'delivered', delivered, bounds.deliveredMax);
      else if (read > bounds.readMax) this.#tooMuch(pair, conversation, 'read', read, bounds.readMax);
    }
  }

  #tooMuch(pair: number, conversation: number, what: string, told: number, truth: number): void {
    const sentence = `a receipt says ${what} up to ${told}, but it is ${truth} (head ${this.#heads[conversation]!})`;
    this.#merged.fail('G7', 'receipt', 1, sentence, pair, conversation, told, 0);
  }

  toldTooLittle(): void {
    const { pairs, devices } = this.#ledger;
    for (let pair = 0; pair < pairs.rowLimit; pair++) {
      const { u32 } = this.#ledger.memory;
      const at = pairs.at(pair);
      const flags = u32[devices.at(u32[at + PairAt.DEVICE]!) + DeviceAt.FLAGS]!;
      if ((flags & (DeviceFlag.HOSTED | DeviceFlag.AWAY)) !== DeviceFlag.HOSTED) continue;
      // A device that began in the middle may have begun behind the receipt.
      if ((u32[at + PairAt.FLAGS]! & PairFlag.STARTED_LATE) !== 0) continue;
      this.#observer(pair, u32[at + PairAt.CONVERSATION]!, u32[at + PairAt.DEVICE]!);
    }
  }

  #observer(pair: number, conversation: number, device: number): void {
    const user = this.#ledger.userOf(device);
    const a = this.#ledger.convA(conversation);
    if (!isDirect(a)) {
      if (!(this.#members.get(conversation)?.includes(user) ?? false)) return;
      return this.#tooLittle(pair, conversation, user, 0, this.#boundsOfGroup(conversation));
    }
    const b = this.#ledger.convB(conversation);
    const peer = this.#ledger.user(this.#ledger.userId(user) === a ? b : a);
    this.#tooLittle(pair, conversation, user, peer + 1, this.#boundsOf(conversation, peer));
  }

  #tooLittle(pair: number, conversation: number, user: number, whose: number, bounds: Bounds): void {
    const row = this.#ledger.receipts.find(pair, whose);
    const { u32 } = this.#ledger.memory;
    const at = row < 0 ? -1 : this.#ledger.receipts.at(row);
    const delivered = at < 0 ? 0 : u32[at + ReceiptAt.DELIVERED]!;
    const read = at < 0 ? 0 : u32[at + ReceiptAt.READ]!;
    const ownDelivered = this.#lastOwn(conversation, user, bounds.delivered);
    const ownRead = this.#lastOwn(conversation, user, bounds.read);
    if (delivered < ownDelivered) {
      this.#missing(pair, conversation, `delivered up to ${delivered}`, bounds.delivered, ownDelivered);
    } else if (read < ownRead) this.#missing(pair, conversation, `read up to ${read}`, bounds.read, ownRead);
  }

  #missing(pair: number, conversation: number, told: string, truth: number, own: number): void {
    const sentence = `the device was told ${told}, but it is ${truth}, which concerns its user's own message at ${own}`;
    this.#merged.fail('G7', 'receipt', 1, sentence, pair, conversation, own, 0);
  }

  /** The highest sequence up to `bound` of a message that the user sent in its present stay, or 0. */
  #lastOwn(conversation: number, user: number, bound: number): number {
    let last = 0;
    this.#eachOwn(conversation, user, (seq) => {
      if (seq <= bound && seq > last) last = seq;
    });
    return last > this.#beforeStay(conversation, user) ? last : 0;
  }

  #eachOwn(conversation: number, user: number, visit: (seq: number) => void): void {
    const { u32 } = this.#ledger.memory;
    this.#eachPair(conversation, user, (at) => {
      for (let i = 0; i < u32[at + PairAt.OPERATIONS_LENGTH]!; i++) {
        const seq = u32[u32[at + PairAt.OPERATIONS]! + i * OperationAt.WORDS + OperationAt.SEQ]!;
        if (seq !== 0) visit(seq);
      }
    });
  }

  #eachPair(conversation: number, user: number, visit: (at: number, deviceFlags: number, pair: number) => void): void {
    const { pairs, devices, memory } = this.#ledger;
    this.#ledger.eachDevice(user, (device) => {
      const pair = pairs.find(device, conversation);
      const flags = memory.u32[devices.at(device) + DeviceAt.FLAGS]!;
      if (pair >= 0 && (flags & DeviceFlag.HOSTED) !== 0) visit(pairs.at(pair), flags, pair);
    });
  }

  /** A user's watermark is that of its fastest device. Of a user of whom no device is hosted only the head is known. */
  #boundsOf(conversation: number, user: number): Bounds {
    const head = this.#heads[conversation]!;
    const bounds: Bounds = { delivered: 0, deliveredMax: 0, read: 0, readMax: 0 };
    const before = this.#beforeStay(conversation, user);
    bounds.deliveredMax = bounds.readMax = before;
    let isHosted = false;
    let isGapped = false;
    const { u32 } = this.#ledger.memory;
    this.#eachPair(conversation, user, (at, deviceFlags) => {
      isHosted = true;
      const last = u32[at + PairAt.LAST]!;
      // What a device that is away saw last, it may not have acked.
      const isAcked = (deviceFlags & DeviceFlag.AWAY) === 0 && last > u32[at + PairAt.START]!;
      const told = u32[at + PairAt.MORTAL_LAST] === last ? u32[at + PairAt.MORTAL_FIRST]! - 1 : last;
      if (isAcked && told > before) bounds.delivered = Math.max(bounds.delivered, told);
      bounds.deliveredMax = Math.max(bounds.deliveredMax, last);
      bounds.read = Math.max(bounds.read, u32[at + PairAt.READ_SURE]!);
      bounds.readMax = Math.max(bounds.readMax, u32[at + PairAt.READ]!);
      isGapped ||= (u32[at + PairAt.FLAGS]! & (PairFlag.GAPPED | PairFlag.BLOCKED)) !== 0;
    });
    if (!isHosted) return { delivered: 0, deliveredMax: head, read: 0, readMax: head };
    // Nothing is told about what a blocked or expired message left behind.
    if (isGapped) bounds.delivered = bounds.read = 0;
    bounds.readMax = this.#throughOwn(conversation, user, bounds.readMax);
    bounds.deliveredMax = Math.max(this.#throughOwn(conversation, user, bounds.deliveredMax), bounds.readMax);
    return bounds;
  }

  /** Where a member's watermarks stand when it joins: before the sequence by which it joined. 0 in a direct conversation. */
  #beforeStay(conversation: number, user: number): number {
    const stay = this.#ledger.stayAt(conversation, user, SEQUENCE_MAX);
    return stay < 0 ? 0 : this.#ledger.memory.u32[stay + StayAt.FROM]! - 1;
  }

  /** Own messages right behind a watermark move it: who sends has it, and has read it. */
  #throughOwn(conversation: number, user: number, mark: number): number {
    const own = new Set<number>();
    this.#eachOwn(conversation, user, (seq) => {
      if (seq > mark) own.add(seq);
    });
    let through = mark;
    // What nobody saw, since it expired, may be the user's own; behind the last that anybody saw, all of it.
    const seen = this.#ledger.head(conversation);
    while (through < seen && (own.has(through + 1) || this.#ledger.fingerprintAt(conversation, through + 1) === 0)) {
      through++;
    }
    return through < seen ? through : Math.max(through, this.#heads[conversation]!);
  }

  #boundsOfGroup(conversation: number): Bounds {
    const known = this.#groups.get(conversation);
    if (known !== undefined) return known;
    const head = this.#heads[conversation]!;
    const bounds: Bounds = { delivered: SEQUENCE_MAX, deliveredMax: head, read: SEQUENCE_MAX, readMax: head };
    for (const user of this.#members.get(conversation) ?? []) {
      const member = this.#boundsOf(conversation, user);
      bounds.delivered = Math.min(bounds.delivered, member.delivered);
      bounds.deliveredMax = Math.min(bounds.deliveredMax, member.deliveredMax);
      bounds.read = Math.min(bounds.read, member.read);
      bounds.readMax = Math.min(bounds.readMax, member.readMax);
    }
    this.#groups.set(conversation, bounds);
    return bounds;
  }
}

/**
 * What devices were handed, judged as it comes, in constant time and 32 bytes a pair. The checks say what core/checks says of
 * G1–G8 for devices that only send and receive, and keep no history.
 *
 * | | |
 * |---|---|
 * | G1 | the next sequence that a device is handed in a conversation is the last one plus one |
 * | G2 | the content is the one that its sender gave that counter; at the end what all members were handed has one hash |
 * | G3 | an own message is answered in the order of the device's counters |
 * | G4 | at the end every member's device has everything up to the head, and everything sent was answered |
 * | G5 | what is handed over was sent |
 * | G6 | nothing is handed over twice, and no counter is answered twice |
 * | G7 | watermarks only grow and are not beyond the head; at the end each sender was told that its last message was delivered |
 * | G8 | all this goes on over a cut connection: behind the cursor comes the next sequence, with what was sent meanwhile |
 */
import { mix32 } from '../../core/ids.js';
import type { Population } from './population.js';

export interface Violation {
  readonly guarantee: string;
  readonly sentence: string;
}

/** Words of a pair's row. */
const Word = {
  /** Last sequence that the device was handed. */
  LAST: 0,
  /** Of everything it was handed, in order: two words. */
  HASH: 1,
  OTHER_HASH: 2,
  /** Counter last used, and last answered. */
  USED: 3,
  ANSWERED: 4,
  /** Sequence of its own last message. */
  OWN: 5,
  /** What it was told to be delivered: by the other in a direct conversation, by all in a group. */
  TOLD: 6,
  /** In the row of a conversation's first pair, beside the others of a direct one: highest sequence that any device was handed. */
  HEAD: 7,
} as const;
const ROW_WORDS = 8;
const KEPT_MAX = 20;

/** What a device puts into its message with a counter. */
export function contentOf(pair: number, counter: number): number {
  return mix32(Math.imul(pair, 0x9e37_79b1) ^ counter);
}

export class Columns {
  readonly violations: Violation[] = [];
  /** All of them, also those that are not kept. */
  violated = 0;
  sent = 0;
  answered = 0;
  /** Messages handed to devices that had not sent them. */
  delivered = 0;
  receipts = 0;
  readonly #population: Population;
  readonly #rows: Uint32Array;

  constructor(population: Population) {
    this.#population = population;
    this.#rows = new Uint32Array(population.pairs * ROW_WORDS);
  }

  fail(guarantee: string, sentence: string): void {
    this.violated++;
    if (this.violations.length < KEPT_MAX) this.violations.push({ guarantee, sentence });
  }

  /** The pair sends once more; returns the counter. */
  send(pair: number): number {
    this.sent++;
    return ++this.#rows[pair * ROW_WORDS + Word.USED]!;
  }

  /** Counters that were used and not answered: above the first, up to the second. */
  answeredCounter(pair: number): number {
    return this.#rows[pair * ROW_WORDS + Word.ANSWERED]!;
  }

  usedCounter(pair: number): number {
    return this.#rows[pair * ROW_WORDS + Word.USED]!;
  }

  /** True if the sequence is the device's next one. */
  #goOn(at: number, first: number, pair: number, seq: number, fingerprint: number): boolean {
    const rows = this.#rows;
    const last = rows[at + Word.LAST]!;
    if (seq !== last + 1) {
      this.fail(seq <= last ? 'G6' : 'G1', `pair ${pair} was handed sequence ${seq} after ${last}`);
      if (seq <= last) return false;
    }
    rows[at + Word.LAST] = seq;
    rows[at + Word.HASH] = mix32(rows[at + Word.HASH]! ^ fingerprint);
    rows[at + Word.OTHER_HASH] = Math.imul(rows[at + Word.OTHER_HASH]!, 0x01000193) ^ fingerprint;
    const head = first * ROW_WORDS + Word.HEAD;
    if (seq > rows[head]!) rows[head] = seq;
    return true;
  }

  /** A device is handed another's message. `first`: the conversation's first pair; `content`: what the payload says. */
  deliver(first: number, pair: number, seq: number, sender: number, counter: number, content: number): void {
    const expected = contentOf(sender, counter);
    if (!this.#goOn(pair * ROW_WORDS, first, pair, seq, expected)) return;
    this.delivered++;
    if (counter > this.#rows[sender * ROW_WORDS + Word.USED]!) {
      this.fail('G5', `pair ${pair} was handed counter ${counter} of pair ${sender}, which was never sent`);
    }
    if (content !== expected) {
      this.fail(
        'G2',
        `pair ${pair} was handed something else as sequence ${seq}, counter ${counter} of pair ${sender}`,
      );
    }
  }

  /** A device is told that its own message stands there. */
  answer(first: number, pair: number, seq: number, counter: number): void {
    const rows = this.#rows;
    const at = pair * ROW_WORDS;
    const before = rows[at + Word.ANSWERED]!;
    if (counter <= before) return this.fail('G6', `counter ${counter} of pair ${pair} was answered again, as ${seq}`);
    if (counter !== before + 1) this.fail('G3', `counter ${counter} of pair ${pair} was answered after ${before}`);
    if (counter > rows[at + Word.USED]!) this.fail('G5', `counter ${counter} of pair ${pair} was never sent`);
    if (!this.#goOn(at, first, pair, seq, contentOf(pair, counter))) return;
    rows[at + Word.ANSWERED] = counter;
    rows[at + Word.OWN] = seq;
    this.answered++;
  }

  /** A pair's device is told that the other one, or everybody, has all up to `delivered`, and has read up to `read`. */
  receipt(first: number, pair: number, delivered: number, read: number): void {
    this.receipts++;
    const at = pair * ROW_WORDS + Word.TOLD;
    if (read > delivered) this.fail('G7', `pair ${pair} was told read ${read} and delivered ${delivered}`);
    const head = this.#rows[first * ROW_WORDS + Word.HEAD]!;
    if (delivered > head) this.fail('G7', `pair ${pair} was told delivered ${delivered}; the head is ${head}`);
    const told = this.#rows[at]!;
    if (delivered < told) this.fail('G7', `what pair ${pair} was told went back from ${told} to ${delivered}`);
    else this.#rows[at] = delivered;
  }

  /** Sends without an answer, and deliveries that are owed. */
  get isQuiet(): boolean {
    if (this.answered !== this.sent) return false;
    const { conversations, firstPair } = this.#population;
    const rows = this.#rows;
    for (let c = 0; c < conversations; c++) {
      const head = rows[firstPair[c]! * ROW_WORDS + Word.HEAD]!;
      for (let pair = firstPair[c]!; pair < firstPair[c + 1]!; pair++) {
        const at = pair * ROW_WORDS;
        if (rows[at + Word.LAST] !== head || rows[at + Word.TOLD]! < rows[at + Word.OWN]!) return false;
      }
    }
    return true;
  }

  /** Everything has come to rest, or should have. */
  finish(): void {
    const { conversations } = this.#population;
    for (let c = 0; c < conversations; c++) this.#finishConversation(c);
  }

  #finishConversation(conversation: number): void {
    const { firstPair } = this.#population;
    const rows = this.#rows;
    const first = firstPair[conversation]! * ROW_WORDS;
    const head = rows[first + Word.HEAD]!;
    for (let pair = firstPair[conversation]!; pair < firstPair[conversation + 1]!; pair++) {
      const at = pair * ROW_WORDS;
      const last = rows[at + Word.LAST]!;
      const [used, answered] = [rows[at + Word.USED]!, rows[at + Word.ANSWERED]!];
      const [own, told] = [rows[at + Word.OWN]!, rows[at + Word.TOLD]!];
      if (last !== head) this.fail('G4', `pair ${pair} has conversation ${conversation} up to ${last} of ${head}`);
      if (answered !== used) this.fail('G4', `pair ${pair} sent ${used} messages, of which ${answered} were answered`);
      if (told < own) this.fail('G7', `pair ${pair} was told delivered ${told}, and its last message is ${own}`);
      const isSame =
        rows[at + Word.HASH] === rows[first + Word.HASH] &&
        rows[at + Word.OTHER_HASH] === rows[first + Word.OTHER_HASH];
      if (last === head && !isSame)
        this.fail('G2', `members of conversation ${conversation} were handed different messages`);
    }
  }

  /** Of what all devices were handed. */
  hash(): number {
    let hash = 0;
    for (let at = 0; at < this.#rows.length; at += ROW_WORDS) {
      hash = mix32(hash ^ this.#rows[at + Word.LAST]!);
      hash = mix32(hash ^ this.#rows[at + Word.USED]!);
    }
    return hash;
  }
}

/**
 * Fuzzing for tests: seeded inputs, a million of them where a parser is cheap, and what every parser owes. `DUNLIN_SEED=n`
 * repeats a run, `DUNLIN_FUZZ=n` sets the number of inputs of all parsers. Inputs are made in one buffer and checked with plain
 * comparisons: making them must not cost more than parsing them.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { DunlinError } from './errors.js';
import { hexOf, TELLING_BYTES } from './frame.fixture.js';
import { viewOf } from './frame.js';
import { FRAME_HEADER_BYTES } from './limits.js';
import { Prng } from './prng.js';

export const SEED = Number(process.env['DUNLIN_SEED'] ?? Date.now());
// Diagnostics come when a test ends, and a test whose process runs out of memory does not.
process.stderr.write(`DUNLIN_SEED=${SEED}\n`);
const INPUTS = 1_000_000;
/** Bytes behind the input: a parser that reads on would take them for more. */
const BEHIND = 64;
const TELLING = Uint8Array.from(TELLING_BYTES);
/** No input is that hard: far above what a busy machine adds. */
const SLOW_MS = 5_000;
/** Longest slice of a text that is doubled or dropped. */
const SLICE_MAX = 24;

export interface FuzzOptions {
  /** How many inputs if DUNLIN_FUZZ does not say: fewer for parsers that are dear. */
  readonly defaultInputs?: number;
  /** The format is text, and these are the words and signs that it gives a meaning to. */
  readonly tokens?: readonly string[];
}

export function inputsWanted(defaultInputs: number = INPUTS): number {
  return Number(process.env['DUNLIN_FUZZ'] ?? defaultInputs);
}

function isWordByte(byte: number): boolean {
  const letter = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (letter >= 0x61 && letter <= 0x7a) || byte === 0x5f || byte === 0x2e;
}

/** One input after the other in the same buffer, always at `start`, so that offsets are not taken for granted. */
export class Inputs {
  readonly bytes = new Uint8Array(4_096);
  readonly view = viewOf(this.bytes);
  readonly start = 8;
  end = 0;
  /** For the draws of a test: they are repeated with the inputs. */
  readonly random: Prng;
  readonly #valid: readonly Uint8Array[];
  readonly #tokens: readonly Uint8Array[];
  readonly #buffer = Buffer.from(this.bytes.buffer);

  constructor(random: Prng, valid: readonly Uint8Array[], tokens: readonly string[] = []) {
    this.random = random;
    this.#valid = valid;
    this.#tokens = tokens.map((token) => Buffer.from(token));
  }

  next(): void {
    if (this.#tokens.length > 0) this.#nextText();
    else this.#nextBytes();
    this.bytes.fill(0x91, this.end, this.end + BEHIND);
  }

  // --- bytes -----------------------------------------------------------------------------------------------------------------

  #byte(): number {
    const draw = this.random.u32();
    return (draw & 0x100) !== 0 ? draw & 0xff : TELLING[(draw >>> 9) % TELLING.length]!;
  }

  #nextBytes(): void {
    const draw = this.random.u32();
    if ((draw & 7) === 0) this.#makeRandom((draw >>> 3) % 100);
    else this.#mutate(this.#valid[(draw >>> 3) % this.#valid.length]!);
  }

  #makeRandom(length: number): void {
    this.end = this.start + length;
    for (let at = this.start; at < this.end; at++) this.bytes[at] = this.#byte();
  }

  #mutate(valid: Uint8Array): void {
    const { random } = this;
    this.bytes.set(valid, this.start);
    const draw = random.u32();
    // A quarter is cut; each has 0 to 3 bytes changed, mostly near the head, where the meaning is.
    this.end = this.start + ((draw & 3) === 0 ? random.below(valid.length + 1) : valid.length);
    const reach = Math.min(valid.length, (draw & 4) === 0 ? FRAME_HEADER_BYTES : valid.length);
    for (let changes = (draw >>> 3) & 3; changes > 0; changes--)
      this.bytes[this.start + random.below(reach)] = this.#byte();
  }

  // --- text ------------------------------------------------------------------------------------------------------------------

  /** An eighth is nothing but tokens; the others are valid texts with 0 to 3 changes. */
  #nextText(): void {
    const { random } = this;
    const draw = random.u32();
    if ((draw & 7) === 0) {
      this.end = this.start;
      for (let left = (draw >>> 3) & 15; left > 0; left--) this.#splice(this.end, 0, this.#token());
      return;
    }
    const valid = this.#valid[(draw >>> 3) % this.#valid.length]!;
    this.bytes.set(valid, this.start);
    this.end = this.start + valid.length;
    for (let changes = random.u32() & 3; changes > 0; changes--) this.#changeText();
  }

  #token(): Uint8Array {
    return this.#tokens[this.random.below(this.#tokens.length)]!;
  }

  #changeText(): void {
    const { random, bytes } = this;
    const at = this.start + random.below(this.length + 1);
    const draw = random.u32();
    switch (draw & 7) {
      case 0:
        // A printable byte mostly, else any.
        if (at < this.end) bytes[at] = (draw & 0x300) === 0 ? (draw >>> 16) & 0xff : 0x20 + ((draw >>> 16) % 95);
        return;
      case 1:
        this.#splice(at, 0, this.#token());
        return;
      case 2: {
        const token = this.#token();
        this.#splice(at, token.length, token);
        return;
      }
      case 3:
        this.#splice(at, 0, bytes.slice(at, Math.min(this.end, at + 1 + ((draw >>> 8) % SLICE_MAX))));
        return;
      case 4:
        this.#splice(at, 1 + ((draw >>> 8) % SLICE_MAX), new Uint8Array(0));
        return;
      case 5:
        if ((draw & 0x700) === 0) this.end = at;
        return;
      default:
        this.#replaceWord(at, this.#token());
    }
  }

  #replaceWord(at: number, token: Uint8Array): void {
    let from = at;
    let to = at;
    while (from > this.start && isWordByte(this.bytes[from - 1]!)) from--;
    while (to < this.end && isWordByte(this.bytes[to]!)) to++;
    this.#splice(from, to - from, token);
  }

  /** Puts `token` in the place of `removed` bytes at `at`, as far as there is room. */
  #splice(at: number, removed: number, token: Uint8Array): void {
    const behind = Math.min(this.end, at + removed);
    const end = this.end + token.length - (behind - at);
    if (end > this.bytes.length - BEHIND) return;
    this.bytes.copyWithin(at + token.length, behind, this.end);
    this.bytes.set(token, at);
    this.end = end;
  }

  // --- for the tests ---------------------------------------------------------------------------------------------------------

  get length(): number {
    return this.end - this.start;
  }

  /** The input, where it lies. */
  get input(): Buffer {
    return this.#buffer.subarray(this.start, this.end);
  }

  get text(): string {
    return this.#buffer.toString('utf8', this.start, this.end);
  }

  describe(): string {
    const text = this.#tokens.length > 0 ? ` ${JSON.stringify(this.text)}` : '';
    return `seed ${SEED}, input ${hexOf(this.bytes.subarray(this.start, this.end))}${text}`;
  }
}

export function fail(inputs: Inputs, what: string): never {
  assert.fail(`${what}: ${inputs.describe()}`);
}

/** For what a parser threw: it may refuse with a DunlinError that is a sentence, and in no other way. */
export function refused(inputs: Inputs, error: unknown): false {
  if (error instanceof assert.AssertionError) throw error;
  if (!(error instanceof DunlinError)) fail(inputs, `it threw ${String(error)}`);
  if (error.message.length < 10 || !error.message.endsWith('.')) fail(inputs, `no sentence: '${error.message}'`);
  return false;
}

/** Runs a parser over the inputs; `check` returns true if it took the input, and throws if something is wrong. */
export function fuzz(
  t: TestContext,
  label: string,
  valid: readonly Uint8Array[],
  check: (inputs: Inputs) => boolean,
  options: FuzzOptions = {},
): void {
  const count = inputsWanted(options.defaultInputs);
  t.diagnostic(`DUNLIN_SEED=${SEED} DUNLIN_FUZZ=${count}`);
  const inputs = new Inputs(new Prng(SEED).fork(label), valid, options.tokens);
  let taken = 0;
  let beforeMs = performance.now();
  for (let n = 0; n < count; n++) {
    inputs.next();
    try {
      if (check(inputs)) taken++;
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      fail(inputs, `it threw ${String(error)}`);
    }
    const nowMs = performance.now();
    if (nowMs - beforeMs > SLOW_MS) fail(inputs, `it took ${Math.round(nowMs - beforeMs)} ms`);
    beforeMs = nowMs;
  }
  t.diagnostic(`${taken} of ${count} were taken`);
  // Both ways must be well trodden, or the test says nothing.
  assert.ok(taken > count / 20 && taken < (count * 19) / 20, `${taken} of ${count} were taken`);
}

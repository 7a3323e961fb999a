/**
 * Real traffic from a CSV file, gzip or not, with the header `at_ms,conversation,sender,kind,bytes`. Conversations may lie
 * one after the other; replay is by time. The file is read as a stream into one typed array a column (21 bytes a line),
 * never as objects. A line that is not understood ends the reading with its number.
 */
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { DunlinError } from '../../core/errors.js';

export const TraceKind = { MESSAGE: 0, JOIN: 1, LEAVE: 2 } as const;

export const TRACE_HEADER = 'at_ms,conversation,sender,kind,bytes';

const KINDS: ReadonlyMap<string, number> = new Map([
  ['message', TraceKind.MESSAGE],
  ['join', TraceKind.JOIN],
  ['leave', TraceKind.LEAVE],
]);

/** Longest line that can be one: anything longer is another kind of file. */
const LINE_BYTES_MAX = 256;
const COMMA = 0x2c;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

function grown<T extends Float64Array | Uint32Array | Uint8Array>(old: T, next: T): T {
  next.set(old);
  return next;
}

const INITIAL_ROWS = 4_096;

export class TraceColumns {
  #capacity: number;
  rows = 0;
  atMs: Float64Array;
  conversation: Uint32Array;
  sender: Uint32Array;
  kind: Uint8Array;
  bytes: Uint32Array;

  constructor(capacity: number = INITIAL_ROWS) {
    this.#capacity = capacity;
    this.atMs = new Float64Array(capacity);
    this.conversation = new Uint32Array(capacity);
    this.sender = new Uint32Array(capacity);
    this.kind = new Uint8Array(capacity);
    this.bytes = new Uint32Array(capacity);
  }

  push(atMs: number, conversation: number, sender: number, kind: number, bytes: number): void {
    if (this.rows === this.#capacity) this.#grow();
    const row = this.rows++;
    this.atMs[row] = atMs;
    this.conversation[row] = conversation;
    this.sender[row] = sender;
    this.kind[row] = kind;
    this.bytes[row] = bytes;
  }

  #grow(): void {
    this.#capacity *= 2;
    this.atMs = grown(this.atMs, new Float64Array(this.#capacity));
    this.conversation = grown(this.conversation, new Uint32Array(this.#capacity));
    this.sender = grown(this.sender, new Uint32Array(this.#capacity));
    this.kind = grown(this.kind, new Uint8Array(this.#capacity));
    this.bytes = grown(this.bytes, new Uint32Array(this.#capacity));
  }
}

/** Takes bytes in pieces of any size, and fills columns. Throws a DunlinError that names the line. */
export class TraceParser {
  readonly #file: string;
  readonly columns: TraceColumns;
  #line = 0;
  /** The start of a line whose end has not come yet. */
  readonly #rest = new Uint8Array(LINE_BYTES_MAX);
  #restBytes = 0;

  /** `initialRows`: room for so many rows at first; it grows. */
  constructor(file: string, initialRows: number = INITIAL_ROWS) {
    this.#file = file;
    this.columns = new TraceColumns(initialRows);
  }

  write(chunk: Uint8Array): void {
    let from = 0;
    if (this.#restBytes > 0) {
      const end = chunk.indexOf(NEWLINE);
      this.#keep(chunk.subarray(0, end < 0 ? chunk.length : end));
      if (end < 0) return;
      this.#takeRest();
      from = end + 1;
    }
    for (;;) {
      const end = chunk.indexOf(NEWLINE, from);
      if (end < 0) break;
      this.#lineOf(chunk, from, end);
      from = end + 1;
    }
    this.#keep(chunk.subarray(from));
  }

  /** Call once after the last piece. */
  end(): TraceColumns {
    if (this.#restBytes > 0) this.#takeRest();
    if (this.#line === 0)
      throw new DunlinError(`${this.#file}: the file is empty; it must start with ${TRACE_HEADER}.`);
    return this.columns;
  }

  #keep(bytes: Uint8Array): void {
    if (this.#restBytes + bytes.length > LINE_BYTES_MAX) {
      this.#line++;
      this.#tooLong();
    }
    this.#rest.set(bytes, this.#restBytes);
    this.#restBytes += bytes.length;
  }

  #takeRest(): void {
    const bytes = this.#restBytes;
    this.#restBytes = 0;
    this.#lineOf(this.#rest, 0, bytes);
  }

  #fail(what: string): never {
    throw new DunlinError(`${this.#file}:${this.#line}: ${what}; expected ${TRACE_HEADER}.`);
  }

  #tooLong(): never {
    this.#fail(`the line is longer than ${LINE_BYTES_MAX} bytes`);
  }

  #lineOf(bytes: Uint8Array, from: number, to: number): void {
    this.#line++;
    if (to - from > LINE_BYTES_MAX) this.#tooLong();
    const end = to > from && bytes[to - 1] === CARRIAGE_RETURN ? to - 1 : to;
    if (this.#line === 1) {
      const header = Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString();
      if (header !== TRACE_HEADER) this.#fail(`the header is '${header.slice(0, 80)}'`);
      return;
    }
    if (end === from) return;
    const commas: number[] = [];
    for (let at = from; at < end && commas.length < 6; at++) if (bytes[at] === COMMA) commas.push(at);
    if (commas.length !== 4) this.#fail(`a line has 5 fields, this one ${commas.length + 1}`);
    const [first, second, third, fourth] = commas as [number, number, number, number];
    const atMs = this.#number(bytes, from, first, 'at_ms', 2 ** 50);
    const conversation = this.#number(bytes, first + 1, second, 'conversation', 2 ** 32 - 1);
    const sender = this.#number(bytes, second + 1, third, 'sender', 2 ** 32 - 1);
    const word = String.fromCharCode(...bytes.subarray(third + 1, Math.min(fourth, third + 16)));
    const kind = KINDS.get(word);
    if (kind === undefined) this.#fail(`the kind is '${word}', allowed are ${[...KINDS.keys()].join(', ')}`);
    const size =
      fourth + 1 === end && kind !== TraceKind.MESSAGE ? 0 : this.#number(bytes, fourth + 1, end, 'bytes', 65_536);
    this.columns.push(atMs, conversation, sender, kind, size);
  }

  #number(bytes: Uint8Array, from: number, to: number, field: string, max: number): number {
    let value = 0;
    for (let at = from; at < to; at++) {
      const digit = bytes[at]! - 0x30;
      if (digit < 0 || digit > 9) this.#bad(bytes, from, to, field, max);
      value = value * 10 + digit;
      if (value > max) this.#bad(bytes, from, to, field, max);
    }
    if (to === from) this.#bad(bytes, from, to, field, max);
    return value;
  }

  #bad(bytes: Uint8Array, from: number, to: number, field: string, max: number): never {
    const text = String.fromCharCode(...bytes.subarray(from, Math.min(to, from + 24)));
    this.#fail(`${field} is '${text}', not a whole number from 0 to ${max}`);
  }
}

async function firstBytes(path: string): Promise<Uint8Array> {
  const stream = createReadStream(path, { start: 0, end: 1 });
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Reads a trace file, gzip by its first two bytes. */
export async function readTrace(path: string): Promise<TraceColumns> {
  const parser = new TraceParser(path);
  try {
    const magic = await firstBytes(path);
    const file = createReadStream(path);
    const zipped = magic[0] === 0x1f && magic[1] === 0x8b;
    const gunzip = zipped ? createGunzip() : undefined;
    if (gunzip) file.on('error', (error) => gunzip.destroy(error)).pipe(gunzip);
    const source: Readable = gunzip ?? file;
    for await (const chunk of source) parser.write(chunk);
  } catch (error) {
    if (error instanceof DunlinError) throw error;
    throw new DunlinError(`${path}: cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
  }
  return parser.end();
}

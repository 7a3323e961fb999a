/**
 * The connections that one frame goes to, collected by gateway, so that each gateway gets the frame once. Arrays are kept
 * from frame to frame: a delivery allocates nothing.
 */

import { TARGET_BYTES, TargetFlag } from '../../core/batch.js';
import { At, Flag } from '../../core/frame.js';
import { FRAME_HEADER_BYTES } from '../../core/limits.js';
import type { Out } from '../../core/stage.js';

const WORDS = 4;
/** Targets of one entry; more go into further entries with the same frame, so that an entry always fits into a batch. */
const TARGETS_PER_ENTRY_MAX = 16_384;

interface TargetList {
  readonly gateway: number;
  /** connection, incarnation, token, flags of each target. */
  words: Uint32Array;
  positions: Float64Array;
  count: number;
  /** Some target gets the payload. */
  payload: boolean;
}

const PAYLOAD_LEFT_OUT = TargetFlag.SENT | TargetFlag.ENVELOPE;

export class Targets {
  readonly #byGateway = new Map<number, TargetList>();
  readonly #active: TargetList[] = [];

  add(gateway: number, connection: number, incarnation: number, token: number, position: number, flags: number): void {
    let list = this.#byGateway.get(gateway);
    if (list === undefined) {
      list = { gateway, words: new Uint32Array(16 * WORDS), positions: new Float64Array(16), count: 0, payload: false };
      this.#byGateway.set(gateway, list);
    }
    if (list.count === 0) {
      this.#active.push(list);
      list.payload = false;
    } else if (list.count === list.positions.length) {
      grow(list);
    }
    const at = list.count * WORDS;
    list.words[at] = connection;
    list.words[at + 1] = incarnation;
    list.words[at + 2] = token;
    list.words[at + 3] = flags;
    list.positions[list.count++] = position;
    if ((flags & PAYLOAD_LEFT_OUT) === 0) list.payload = true;
  }

  /**
   * Writes the frame once to each gateway with its targets, and forgets them. A gateway where every target leaves the
   * payload out gets the header alone.
   */
  flush(out: Out, bytes: Uint8Array, at: number, length: number): void {
    for (let i = 0; i < this.#active.length; i++) {
      const list = this.#active[i]!;
      for (let from = 0; from < list.count; from += TARGETS_PER_ENTRY_MAX) {
        writeEntry(out, list, from, Math.min(list.count, from + TARGETS_PER_ENTRY_MAX), bytes, at, length);
      }
      list.count = 0;
    }
    this.#active.length = 0;
  }
}

function writeEntry(
  out: Out,
  list: TargetList,
  from: number,
  end: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): void {
  const frameBytes = list.payload ? length : FRAME_HEADER_BYTES;
  const builder = out.gateway(list.gateway, frameBytes + 4 + (end - from) * TARGET_BYTES);
  const to = builder.frame(bytes, at, frameBytes);
  if (frameBytes !== length) {
    builder.view.setUint32(to + At.LENGTH, 0);
    builder.bytes[to + At.FLAGS] = (builder.bytes[to + At.FLAGS]! & ~Flag.DEVICE_TABLE) | Flag.ENVELOPE;
  }
  builder.list();
  const { words } = list;
  for (let n = from; n < end; n++) {
    const word = n * WORDS;
    builder.target(words[word]!, words[word + 1]!, words[word + 2]!, list.positions[n]!, words[word + 3]!);
  }
}

function grow(list: TargetList): void {
  const words = new Uint32Array(list.words.length * 2);
  const positions = new Float64Array(list.positions.length * 2);
  words.set(list.words);
  positions.set(list.positions);
  list.words = words;
  list.positions = positions;
}

/**
 * What user stages send to connections, and at which logged time: the frames themselves do not say when the server sent them,
 * and on the network they may be late. Guarantees about server time (G11, G12) are judged by it.
 */
import { type Batch, BatchAt, type BatchBuilder, TARGET_BYTES, TargetAt, TargetFlag } from '../core/batch.js';
import { At, frameLength, isSequenced, Kind, readU53 } from '../core/frame.js';
import { fromWords } from '../core/ids.js';
import type { ChunkSink, Fetched, KeySink, Out, Stage } from '../core/stage.js';

/** The device of a connection, if it stands. */
export type DeviceOf = (gateway: number, incarnation: number, connection: number) => number | undefined;

/** PRESENCE and TYPING on their way to a device. */
interface Update {
  readonly key: string;
  readonly atMs: number;
}

const UPDATES_MAX = 512;

export class Emissions {
  readonly #deviceOf: DeviceOf;
  /** By device, then by position: when it was sent last. */
  readonly #entries = new Map<number, Map<number, number>>();
  readonly #updates = new Map<number, Update[]>();
  /** By user partition: the highest offset that was stepped over. What comes again is a lane that goes over its log again. */
  readonly #stepped: number[] = [];

  /** Latest logged time of a step. */
  nowMs = 0;

  constructor(deviceOf: DeviceOf) {
    this.#deviceOf = deviceOf;
  }

  /** Watches a user stage. */
  wrap(stage: Stage): Stage {
    return new WatchedStage(stage, this);
  }

  /** True, and noted, if no lane has stepped over this batch before. */
  isFirst({ partition, offset, time }: Batch['header']): boolean {
    this.nowMs = Math.max(this.nowMs, time);
    if (offset <= (this.#stepped[partition] ?? -1)) return false;
    this.#stepped[partition] = offset;
    return true;
  }

  /** What a step wrote for a gateway: the entries from `from` on. */
  sent(gateway: number, { bytes, view, at: end }: BatchBuilder, from: number, timeMs: number, isFirst: boolean): void {
    for (let at = from; at < end; ) {
      const length = frameLength(view, at);
      const count = view.getUint32(at + length, true);
      const kind = bytes[at + At.KIND]!;
      const targets = at + length + 4;
      const isUpdate = kind === Kind.PRESENCE || kind === Kind.TYPING;
      if (isUpdate || isSequenced(kind)) {
        for (let n = 0; n < count; n++) {
          const target = targets + n * TARGET_BYTES;
          const connection = view.getUint32(target + TargetAt.CONNECTION, true);
          const device = this.#deviceOf(gateway, view.getUint32(target + TargetAt.INCARNATION, true), connection);
          if (device === undefined) continue;
          if (isUpdate) this.#update(device, keyOf(view, at, kind), isFirst ? timeMs : 0);
          else if ((view.getUint32(target + TargetAt.FLAGS, true) & TargetFlag.SENT) === 0) {
            this.#entry(device, view, target, timeMs);
          }
        }
      }
      at = targets + count * TARGET_BYTES;
    }
  }

  #entry(device: number, view: DataView, target: number, timeMs: number): void {
    const low = view.getUint32(target + TargetAt.POSITION_LOW, true);
    const high = view.getUint32(target + TargetAt.POSITION_HIGH, true);
    let positions = this.#entries.get(device);
    if (positions === undefined) this.#entries.set(device, (positions = new Map()));
    positions.set(fromWords(low, high), timeMs);
  }

  #update(device: number, key: string, atMs: number): void {
    const updates = this.#updates.get(device);
    if (updates === undefined) this.#updates.set(device, [{ key, atMs }]);
    else updates.push({ key, atMs });
    if (updates !== undefined && updates.length > UPDATES_MAX) updates.shift();
  }

  /** When the entry was sent that has just come to the device; 0: not known. */
  takeEntry(device: number, position: number): number {
    const positions = this.#entries.get(device);
    const atMs = positions?.get(position) ?? 0;
    positions?.delete(position);
    return atMs;
  }

  /** The same for PRESENCE. 0 also if it was sent before, by a lane that died since. */
  takePresence(device: number, user: number, isOnline: boolean): number {
    return this.#take(device, `${Kind.PRESENCE} 0 ${user} 0 ${isOnline ? 1 : 0}`);
  }

  takeTyping(device: number, a: number, b: number, sender: number, started: boolean): number {
    return this.#take(device, `${Kind.TYPING} ${a} ${b} ${sender} ${started ? 1 : 0}`);
  }

  /** Updates come in the order in which they were sent, if they come. */
  #take(device: number, key: string): number {
    const updates = this.#updates.get(device) ?? [];
    const index = updates.findIndex((update) => update.key === key);
    if (index < 0) return 0;
    const { atMs } = updates[index]!;
    updates.splice(0, index + 1);
    return atMs;
  }
}

function keyOf(view: DataView, at: number, kind: number): string {
  const [a, b, device] = [At.CONV_A, At.CONV_B, At.DEVICE].map((field) => readU53(view, at + field));
  return `${kind} ${a!} ${b!} ${device!} ${view.getUint32(at + At.EXTRA)}`;
}

/** Where a builder stood before a step. */
interface Mark {
  readonly gateway: number;
  readonly from: number;
}

class WatchedStage implements Stage {
  readonly #stage: Stage;
  readonly #emissions: Emissions;

  constructor(stage: Stage, emissions: Emissions) {
    this.#stage = stage;
    this.#emissions = emissions;
  }

  needs(batch: Batch, keys: KeySink): void {
    this.#stage.needs(batch, keys);
  }

  step(batch: Batch, out: Out, fetched: Fetched): void {
    const { time } = batch.header;
    const marks = new Map<BatchBuilder, Mark>();
    this.#stage.step(batch, watched(out, marks), fetched);
    const isFirst = this.#emissions.isFirst(batch.header);
    for (const [builder, { gateway, from }] of marks) this.#emissions.sent(gateway, builder, from, time, isFirst);
  }

  get wakeAtMs(): number {
    return this.#stage.wakeAtMs;
  }

  get syncWantedAt(): number {
    return this.#stage.syncWantedAt;
  }

  get dirtyBytes(): number {
    return this.#stage.dirtyBytes;
  }

  exportDirty(sink: ChunkSink): void {
    this.#stage.exportDirty(sink);
  }

  exportAll(cursor: number, bytes: number, sink: ChunkSink): number {
    return this.#stage.exportAll(cursor, bytes, sink);
  }

  importChunk(chunk: Uint8Array): void {
    this.#stage.importChunk(chunk);
  }

  importDone(): void {
    this.#stage.importDone();
  }

  stateHash(): number {
    return this.#stage.stateHash();
  }
}

function watched(out: Out, marks: Map<BatchBuilder, Mark>): Out {
  return {
    user: (partition, bytes) => out.user(partition, bytes),
    userFrames: (partition, bytes) => out.userFrames(partition, bytes),
    conversation: (partition, bytes) => out.conversation(partition, bytes),
    gateway: (gateway, bytes) => {
      const builder = out.gateway(gateway, bytes);
      if (!marks.has(builder)) marks.set(builder, { gateway, from: Math.max(builder.at, BatchAt.ENTRIES) });
      return builder;
    },
    put: (key, value) => out.put(key, value),
    remove: (key) => out.remove(key),
  };
}

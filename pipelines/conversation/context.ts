/** What one step works with: the partition's rows, the batch being read and where output goes. Reused for every step. */
import type { Batch } from '../../core/batch.js';
import { At } from '../../core/frame.js';
import type { Out } from '../../core/stage.js';
import type { Rows } from './rows.js';

export class StepContext {
  readonly rows: Rows;
  readonly userPartitions: number;
  bytes: Uint8Array = new Uint8Array(0);
  view: DataView = new DataView(new ArrayBuffer(0));
  timeMs = 0;
  #out: Out | undefined;

  /** The frame being handled: where it lies and how long it is. */
  at = 0;
  length = 0;
  /** Its conversation and sender, as words. */
  aLow = 0;
  aHigh = 0;
  bLow = 0;
  bHigh = 0;
  deviceLow = 0;
  deviceHigh = 0;
  userLow = 0;
  userHigh = 0;
  counter = 0;
  /** Head of a conversation that is new: above all that an earlier one, which the log lost, may have given out. */
  firstHead = 0;

  constructor(rows: Rows, userPartitions: number) {
    this.rows = rows;
    this.userPartitions = userPartitions;
  }

  get out(): Out {
    return this.#out!;
  }

  begin(batch: Batch, out: Out): void {
    this.bytes = batch.bytes;
    this.view = batch.view;
    this.timeMs = batch.header.time;
    this.#out = out;
  }

  /** Reads the fields that every kind has. */
  open(at: number, length: number): void {
    const { view } = this;
    this.at = at;
    this.length = length;
    this.aHigh = view.getUint32(at + At.CONV_A);
    this.aLow = view.getUint32(at + At.CONV_A + 4);
    this.bHigh = view.getUint32(at + At.CONV_B);
    this.bLow = view.getUint32(at + At.CONV_B + 4);
    this.deviceHigh = view.getUint32(at + At.DEVICE);
    this.deviceLow = view.getUint32(at + At.DEVICE + 4);
    // user = device key / 128
    this.userLow = ((this.deviceLow >>> 7) | (this.deviceHigh << 25)) >>> 0;
    this.userHigh = this.deviceHigh >>> 7;
    this.counter = view.getUint32(at + At.COUNTER);
  }

  get kind(): number {
    return this.bytes[this.at + At.KIND]!;
  }

  get flags(): number {
    return this.bytes[this.at + At.FLAGS]!;
  }

  get extra(): number {
    return this.view.getUint32(this.at + At.EXTRA);
  }

  get isDirect(): boolean {
    return this.aLow !== 0 || this.aHigh !== 0;
  }

  get payloadAt(): number {
    return this.at + At.PAYLOAD;
  }

  get end(): number {
    return this.at + this.length;
  }

  /** True if the frame comes from a user, as all do that a gateway or the user stage lets through. */
  get hasUser(): boolean {
    return (this.userLow !== 0 || this.userHigh !== 0) && this.userHigh < 2 ** 13;
  }

  /** True if it comes from one of the user's devices, not from the user as a whole. */
  get deviceIsSender(): boolean {
    return (this.deviceLow & 127) !== 0;
  }
}

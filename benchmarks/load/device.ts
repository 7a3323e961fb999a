/**
 * One simulated device: a client core of the SDK and the socket that it wants. Connects, reconnects with the core's own
 * backoff, and tells its host what happened.
 */

import { ClientCore, type ClientEvents, type FrameView, LinkState } from '../../client/core.js';
import { BACKOFF_MAX_MS } from '../../core/limits.js';
import type { Prng } from '../../core/prng.js';
import { LoadSocket, type SocketTarget } from './socket.js';
import type { Sleeper } from './wake-queue.js';

export interface DeviceHost {
  readonly target: SocketTarget;
  readonly caBundle: string | undefined;
  now(): number;
  /** A token for this device, or undefined while it is being made; then `tokenReady` is called. */
  tokenOf(device: Device): string | undefined;
  /** False: not now, too many connect at once. */
  mayConnect(): boolean;
  /** It may have something to send. */
  changed(device: Device): void;
  /** It has nothing to send before `core.wakeAtMs`. */
  waits(device: Device): void;
  liveChanged(device: Device, isLive: boolean): void;
  refused(device: Device, code: number, reason: string): void;
  /** The connection is over for good, though nobody asked for it. */
  ended(device: Device, code: number, reason: string): void;
  message(device: Device, frame: FrameView): void;
  groupChange(device: Device, frame: FrameView): void;
  sent(device: Device, convA: number, convB: number, counter: number, seq: number, tag: number): void;
  rejected(
    device: Device,
    convA: number,
    convB: number,
    counter: number,
    code: number,
    text: string,
    final: boolean,
    tag: number,
  ): void;
  gap(device: Device, convA: number, convB: number, through: number, reason: number): void;
  receipt(device: Device, convA: number, convB: number, user: number, delivered: number, read: number): void;
  protocolViolation(device: Device, text: string): void;
}

/** The HTTP status and headers of a refused upgrade end up in the close reason; this is where Retry-After stands there. */
const RETRY_AFTER = /retry-after:\s*(\d+)/i;

/** With more than this unsent the core keeps what it has. */
const UNSENT_BYTES_MAX = 256 * 1_024;

export class Device implements ClientEvents, Sleeper {
  readonly index: number;
  readonly core: ClientCore;
  readonly #host: DeviceHost;
  #socket: LoadSocket | undefined;
  /** In the host's list of devices with output. */
  isDirty = false;
  wakeSlot = Number.POSITIVE_INFINITY;
  /** The message that is being taken in, from `currentStart` to `currentEnd`: what a violation shows. */
  current: Uint8Array | undefined;
  currentStart = 0;
  currentEnd = 0;
  wasLive = false;
  /** The last cut was the generator's own doing. */
  cutPlanned = false;
  /** When the connection was lost; 0 while it stands. */
  cutAtMs = 0;
  stopped = false;

  constructor(index: number, deviceKey: number, host: DeviceHost, random: Prng) {
    this.index = index;
    this.#host = host;
    this.core = new ClientCore({ device: deviceKey, random, freshDevice: true }, this);
  }

  get isLive(): boolean {
    return this.core.isLive;
  }

  /** Connects when the core wants to; lets its time pass. Call it at `core.wakeAtMs`. */
  tick(nowMs: number): void {
    this.core.tick(nowMs);
    if (this.core.wantsConnection(nowMs)) this.#connect(nowMs);
    this.#host.changed(this);
  }

  #connect(nowMs: number): void {
    const token = this.#host.tokenOf(this);
    if (token === undefined || !this.#host.mayConnect()) return;
    this.core.connecting(nowMs);
    const socket: LoadSocket = new LoadSocket(
      this.#host.target,
      token,
      {
        opened: () => {
          if (this.#socket !== socket) return;
          this.core.opened(this.#host.now());
          this.flush(this.#host.now());
        },
        messageIn: (bytes, start, end) => {
          if (this.#socket === socket) this.#received(bytes, start, end);
        },
        closed: (code, reason) => {
          if (this.#socket !== socket) return;
          this.#socket = undefined;
          this.#lost(code, reason);
        },
      },
      this.#host.caBundle,
    );
    this.#socket = socket;
  }

  #received(bytes: Uint8Array, start: number, end: number): void {
    const nowMs = this.#host.now();
    this.current = bytes;
    this.currentStart = start;
    this.currentEnd = end;
    this.core.received(bytes, nowMs, start, end);
    this.current = undefined;
    if (this.core.hasOutput(nowMs)) this.#host.changed(this);
    else this.#host.waits(this);
  }

  #lost(code: number, reason: string): void {
    const isStatus = code >= 200 && code < 600;
    if (isStatus) this.#host.refused(this, code, reason);
    const retryMs = Math.min(BACKOFF_MAX_MS, Number(RETRY_AFTER.exec(reason)?.[1] ?? 0) * 1_000);
    this.core.closed(isStatus ? 1006 : code, this.#host.now(), retryMs);
    this.#host.changed(this);
    if (this.core.state === LinkState.CLOSED && !this.stopped) this.#host.ended(this, code, reason);
  }

  /** Hands the core's output to the socket. */
  flush(nowMs: number): void {
    const socket = this.#socket;
    if (socket === undefined || !socket.isOpen) return;
    while (socket.unsentBytes <= UNSENT_BYTES_MAX) {
      const output = this.core.takeOutput(nowMs);
      if (output === undefined) return;
      socket.send(output);
    }
    this.#host.changed(this);
  }

  /** Cuts the connection as a lost network does. */
  cut(): void {
    this.#socket?.cut();
  }

  start(nowMs: number): void {
    this.stopped = false;
    this.core.start(nowMs);
    this.#host.changed(this);
  }

  /** Says goodbye, and stays away. */
  stop(nowMs: number): void {
    this.stopped = true;
    this.core.stop(nowMs);
    this.flush(nowMs);
  }

  // --- ClientEvents --------------------------------------------------------------------------------------------------------

  disconnect(code: number, reason: string): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(code);
    if (this.core.state === LinkState.CLOSED && !this.stopped) this.#host.ended(this, code, reason);
  }

  state(state: number): void {
    const isLive = state === LinkState.LIVE;
    if (isLive === this.wasLive) return;
    this.wasLive = isLive;
    this.#host.liveChanged(this, isLive);
  }

  message(frame: FrameView): void {
    this.#host.message(this, frame);
  }

  groupChange(frame: FrameView): void {
    this.#host.groupChange(this, frame);
  }

  sent(convA: number, convB: number, counter: number, seq: number, _timeMs: number, tag: number): void {
    this.#host.sent(this, convA, convB, counter, seq, tag);
  }

  rejected(
    convA: number,
    convB: number,
    counter: number,
    code: number,
    text: string,
    final: boolean,
    tag: number,
  ): void {
    this.#host.rejected(this, convA, convB, counter, code, text, final, tag);
  }

  gap(convA: number, convB: number, _from: number, through: number, reason: number): void {
    this.#host.gap(this, convA, convB, through, reason);
  }

  receipt(convA: number, convB: number, user: number, delivered: number, read: number): void {
    this.#host.receipt(this, convA, convB, user, delivered, read);
  }

  violation(text: string): void {
    this.#host.protocolViolation(this, text);
  }
}

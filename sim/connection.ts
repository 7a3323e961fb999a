/**
 * One WebSocket between a device and a gateway: bytes arrive whole and in order, late, slowly, or not at all once it is cut.
 * Each side learns of the end in its own time.
 */
import { At, Kind } from '../core/frame.js';
import { FRAME_HEADER_BYTES, MESSAGE_BYTES_MAX, SOCKET_BUFFER_BYTES_MAX } from '../core/limits.js';
import type { Session, Socket } from '../gateway/hub.js';
import { type Context, Happening } from './context.js';
import type { GatewayProcess } from './gateway-process.js';
import type { LinkKind } from './plan.js';

/** The device's end. */
export interface ClientEnd {
  /** What its links are like now. */
  link(): LinkKind;
  received(connection: Connection, bytes: Uint8Array): void;
  /** The transport is gone. */
  ended(connection: Connection, code: number): void;
}

/** As in gateway/sockets.ts. */
const BACKPRESSURE_BYTES_MAX = 4 * (SOCKET_BUFFER_BYTES_MAX + MESSAGE_BYTES_MAX);
const SLOW_US_PER_BYTE = 100;
/** Lowest and highest delay of a connection one way, without the tail of a mobile one. */
const LATENCY_US: Readonly<Record<LinkKind, readonly [low: number, high: number]>> = {
  any: [200, 120_000],
  lan: [30, 500],
  mobile: [20_000, 300_000],
};
const TAIL_DOUBLINGS_MAX = 6;

/** PING or PONG, alone: it moves no message, and among many devices there is always one. */
function isHeartbeat(bytes: Uint8Array): boolean {
  const kind = bytes[At.KIND]!;
  return bytes.length === FRAME_HEADER_BYTES && (kind === Kind.PING || kind === Kind.PONG);
}

export class Connection implements Socket {
  readonly device: number;
  session: Session | undefined;
  /** When the server last heard of the client. */
  heardMs = 0;
  readonly #context: Context;
  readonly #gateway: GatewayProcess;
  readonly #client: ClientEnd;
  readonly #latencyUs: number;
  #isCut = false;
  #isServerDone = false;
  #isClientDone = false;
  /** Bytes that the client's side has not taken. */
  #buffered = 0;
  #downFreeUs = 0;
  #downArrivalUs = 0;
  #upArrivalUs = 0;
  #downStalledUs = 0;
  #upStalledUs = 0;
  #slowUntilUs = 0;

  constructor(context: Context, device: number, gateway: GatewayProcess, client: ClientEnd) {
    this.#context = context;
    this.device = device;
    this.#gateway = gateway;
    this.#client = client;
    const [lowUs, highUs] = LATENCY_US[client.link()];
    this.#latencyUs = context.delayUs(lowUs, highUs);
    this.heardMs = context.nowMs;
  }

  get gatewayNumber(): number {
    return this.#gateway.place.number;
  }

  get isClientDone(): boolean {
    return this.#isClientDone;
  }

  #latency(): number {
    const { delays } = this.#context;
    const latencyUs = this.#latencyUs + delays.below(1 + (this.#latencyUs >>> 1));
    if (this.#client.link() !== 'mobile' || !delays.chance(1, 30)) return latencyUs;
    // Most are late by little, few by very much: 0.1 s doubled up to six times.
    let tailUs = delays.between(50_000, 100_000);
    for (let doublings = 0; doublings < TAIL_DOUBLINGS_MAX && delays.chance(1, 2); doublings++) tailUs *= 2;
    return latencyUs + tailUs;
  }

  // --- server → client ------------------------------------------------------------------------------------------------------------

  send(bytes: Uint8Array): boolean {
    if (this.#isServerDone) return false;
    if (this.#buffered + bytes.length > BACKPRESSURE_BYTES_MAX) {
      this.#context.mark('socket gave up');
      return false;
    }
    const copy = bytes.slice();
    const { nowUs } = this.#context.queue;
    const from = Math.max(nowUs, this.#downFreeUs, this.#downStalledUs);
    const until = nowUs < this.#slowUntilUs ? from + copy.length * SLOW_US_PER_BYTE : from;
    this.#downFreeUs = until;
    if (until > nowUs) {
      this.#buffered += copy.length;
      if (this.#buffered > SOCKET_BUFFER_BYTES_MAX) this.#context.mark('socket full');
      this.#context.queue.at(until, () => this.#taken(copy.length));
    }
    this.#downArrivalUs = Math.max(this.#downArrivalUs, until + this.#latency());
    this.#context.queue.at(this.#downArrivalUs, () => {
      if (this.#isCut || this.#isClientDone) return;
      if (!isHeartbeat(copy)) this.#context.activity++;
      this.#context.hash.add(Happening.TO_CLIENT, this.device, copy.length);
      this.#context.hash.addBytes(copy);
      this.#client.received(this, copy);
    });
    return true;
  }

  #taken(bytes: number): void {
    this.#buffered -= bytes;
    if (this.session !== undefined && !this.#isServerDone) this.#gateway.drained(this.session);
  }

  bufferedBytes(): number {
    return this.#buffered;
  }

  /** The server closes: the client gets what was sent, then the end. */
  close(code: number, _reason: string): void {
    if (this.#isServerDone) return;
    this.#isServerDone = true;
    this.#context.queue.at(Math.max(this.#downArrivalUs, this.#downStalledUs) + 1, () => this.#endClient(code));
    this.#gateway.closed(this.session!);
  }

  // --- client → server ---------------------------------------------------------------------------------------------------------------

  /** The client's bytes are copied. */
  clientSends(bytes: Uint8Array): void {
    if (this.#isClientDone) return;
    const copy = bytes.slice();
    const from = Math.max(this.#context.queue.nowUs, this.#upStalledUs);
    this.#upArrivalUs = Math.max(this.#upArrivalUs, from + this.#latency());
    this.#context.queue.at(this.#upArrivalUs, () => {
      if (this.#isCut || this.#isServerDone) return;
      this.heardMs = this.#context.nowMs;
      if (!isHeartbeat(copy)) this.#context.activity++;
      this.#context.hash.add(Happening.TO_SERVER, this.device, copy.length);
      this.#gateway.message(this.session!, copy);
    });
  }

  /** The client lets go; the server learns of it after what was sent before. */
  clientCloses(): void {
    if (this.#isClientDone) return;
    this.#isClientDone = true;
    const from = Math.max(this.#context.queue.nowUs, this.#upStalledUs, this.#upArrivalUs);
    this.#context.queue.at(from + this.#latency(), () => this.#endServer());
  }

  // --- what breaks -------------------------------------------------------------------------------------------------------------------

  /** Nothing that is under way arrives. */
  cut(): void {
    if (this.#isCut) return;
    this.#isCut = true;
    const { queue, delays } = this.#context;
    queue.after(delays.between(100, 2_000_000), () => this.#endServer());
    queue.after(delays.between(100, 2_000_000), () => this.#endClient(1006));
  }

  serverDied(): void {
    this.#isServerDone = true;
    this.#context.queue.after(this.#context.delays.between(100, 500_000), () => this.#endClient(1006));
  }

  stall(way: 'up' | 'down' | 'both', ms: number): void {
    const untilUs = this.#context.queue.nowUs + ms * 1_000;
    if (way !== 'up') this.#downStalledUs = Math.max(this.#downStalledUs, untilUs);
    if (way !== 'down') this.#upStalledUs = Math.max(this.#upStalledUs, untilUs);
  }

  slow(ms: number): void {
    this.#slowUntilUs = this.#context.queue.nowUs + ms * 1_000;
  }

  /** All faults of the link are over. One that hangs, or has much to carry yet, breaks: what it holds would come late. */
  heal(): void {
    const { nowUs } = this.#context.queue;
    this.#slowUntilUs = 0;
    if (Math.max(this.#downStalledUs, this.#upStalledUs, this.#downFreeUs) > nowUs) this.cut();
  }

  /** The socket library's own ping is answered, if the link lets it through. */
  breathe(): void {
    const { nowUs } = this.#context.queue;
    if (!this.#isCut && nowUs >= this.#downStalledUs && nowUs >= this.#upStalledUs) this.heardMs = this.#context.nowMs;
  }

  #endClient(code: number): void {
    if (this.#isClientDone) return;
    this.#isClientDone = true;
    this.#client.ended(this, code);
  }

  #endServer(): void {
    if (this.#isServerDone) return;
    this.#isServerDone = true;
    this.#gateway.closed(this.session!);
  }
}

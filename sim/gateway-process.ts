/** A gateway's thread: the production gateway, its batches from the lanes, and the server's ends of connections. */
import { openBatch } from '../core/batch.js';
import { deviceKey } from '../core/ids.js';
import { ADMISSIONS_PER_SECOND, BATCH_LINGER_MS, IDLE_TIMEOUT_MS } from '../core/limits.js';
import type { LogProducer } from '../core/ports.js';
import type { Prng } from '../core/prng.js';
import { Gateway } from '../gateway/gateway.js';
import { GatewayMetrics } from '../gateway/gateway-metrics.js';
import type { Session } from '../gateway/hub.js';
import type { Connection } from './connection.js';
import { type Context, Happening } from './context.js';
import type { Topology } from './plan.js';

export interface GatewayPlace {
  readonly context: Context;
  readonly topology: Topology;
  readonly number: number;
  readonly random: Prng;
  readonly isBusy: () => boolean;
}

const SWEEP_US = 1_000_000;
const DRAIN_STEP_US = 100_000;
const GOODBYES = 2;

/** The token of a device, as the world's verifier reads it. */
export function tokenOf(user: number, device: number): string {
  return `${user}.${device}`;
}

export class GatewayProcess {
  readonly place: GatewayPlace;
  readonly producer: LogProducer;
  readonly connections = new Map<Session, Connection>();
  gateway: Gateway | undefined;
  /** Of its last start. */
  incarnation = 0;
  isListening = false;
  fullUntilMs = 0;
  readonly #arrived: Uint8Array[] = [];
  #lastArrivalUs = 0;
  #life = 0;
  #dueUs = Infinity;
  #isFlushDue = false;

  constructor(place: GatewayPlace, producer: LogProducer) {
    this.place = place;
    this.producer = producer;
  }

  get isUp(): boolean {
    return this.gateway !== undefined;
  }

  start(incarnation: number): void {
    const { context, topology, number, random, isBusy } = this.place;
    const { admissionsPerSecond = ADMISSIONS_PER_SECOND, admissionsBurst } = topology;
    const life = ++this.#life;
    this.incarnation = incarnation;
    this.#dueUs = Infinity;
    this.#isFlushDue = false;
    this.gateway = new Gateway({
      gatewayNumber: number,
      incarnation,
      conversationPartitions: topology.conversationPartitions,
      userPartitions: topology.userPartitions,
      producer: this.producer,
      egress: {
        poll: () => {
          const bytes = this.#arrived.shift();
          return bytes === undefined ? undefined : openBatch(bytes);
        },
      },
      clock: { wallMs: () => context.wallMs, monotonicMs: () => context.nowMs },
      verify: (token) => {
        const [user, device] = token.split('.').map(Number) as [number, number];
        return { user, device, expiresAtMs: Infinity };
      },
      metrics: new GatewayMetrics(),
      framesPerSecond: 1_000,
      connectionsPerAddress: 1_000,
      admissionsPerSecond,
      admissionsBurst,
      isBusy,
      random: () => random.unit(),
    });
    this.gateway.announce();
    this.isListening = true;
    this.ring();
    this.#sweep(life);
  }

  /** The thread dies: its sockets with it. */
  die(): void {
    if (this.gateway === undefined) return;
    this.#life++;
    this.gateway = undefined;
    this.isListening = false;
    const connections = [...this.connections.values()];
    this.connections.clear();
    for (const connection of connections) connection.serverDied();
  }

  /** SIGTERM: everybody is sent away, then it ends, and another one starts. */
  drain(ended: () => void): void {
    const life = this.#life;
    this.gateway?.beginDrain();
    this.isListening = false;
    const step = (): void => {
      if (life !== this.#life) return;
      const gateway = this.gateway!;
      const isDone = gateway.goodbye(GOODBYES);
      gateway.flush();
      gateway.poll();
      if (isDone && gateway.isSettled) {
        this.die();
        ended();
      } else this.place.context.queue.after(DRAIN_STEP_US, step);
    };
    step();
  }

  // --- from the lanes ---------------------------------------------------------------------------------------------------------

  /** See Egress. What is on its way to a gateway that is down is dropped, as in production. */
  offer(batch: Uint8Array): boolean {
    const { context } = this.place;
    if (!this.isUp) return true;
    if (context.nowMs < this.fullUntilMs) {
      context.mark('egress full');
      return false;
    }
    const bytes = batch.slice();
    const life = this.#life;
    this.#lastArrivalUs = Math.max(this.#lastArrivalUs, context.queue.nowUs + context.delayUs(20, 2_000));
    context.queue.at(this.#lastArrivalUs, () => {
      // A ring outlives the thread that read it: what was in it is met by the next one, and known by its incarnation.
      if (life !== this.#life) context.mark('egress for an earlier gateway');
      this.#arrived.push(bytes);
      this.ring();
    });
    return true;
  }

  // --- turns --------------------------------------------------------------------------------------------------------------------

  ring(): void {
    const { queue, delays } = this.place.context;
    this.#wakeAt(queue.nowUs + delays.between(5, 60));
  }

  #wakeAt(atUs: number): void {
    if (this.gateway === undefined || atUs >= this.#dueUs || atUs === Infinity) return;
    this.#dueUs = atUs;
    const life = this.#life;
    this.place.context.queue.at(atUs, () => {
      if (life !== this.#life || this.#dueUs !== atUs) return;
      this.#dueUs = Infinity;
      this.#poll();
    });
  }

  #poll(): void {
    const { context, number } = this.place;
    const gateway = this.gateway!;
    this.#guard(() => {
      const more = gateway.poll();
      context.hash.add(Happening.GATEWAY, number, gateway.hub.size);
      if (this.gateway !== gateway) return;
      this.scheduleFlush();
      const { nowUs } = context.queue;
      this.#wakeAt(more ? nowUs + context.delayUs(20, 200) : Math.max(nowUs + 1, gateway.wakeAtMs * 1_000));
    });
  }

  scheduleFlush(): void {
    if (this.#isFlushDue || this.gateway?.wantsFlush !== true) return;
    this.#isFlushDue = true;
    const life = this.#life;
    this.place.context.queue.after(BATCH_LINGER_MS * 1_000, () => {
      if (life !== this.#life) return;
      this.#isFlushDue = false;
      this.#guard(() => this.gateway!.flush());
      this.scheduleFlush();
    });
  }

  #sweep(life: number): void {
    const { context } = this.place;
    context.queue.after(SWEEP_US, () => {
      if (life !== this.#life) return;
      this.#guard(() => this.gateway!.sweep());
      for (const connection of this.connections.values()) {
        // The socket library pings by itself; who does not answer for too long is gone.
        connection.breathe();
        if (connection.heardMs + IDLE_TIMEOUT_MS < context.nowMs) {
          context.mark('idle connection closed');
          connection.close(1006, 'idle');
        }
      }
      this.#sweep(life);
    });
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      const stack = error instanceof Error ? error.stack : String(error);
      this.place.context.flaw('crash', `gateway ${this.place.number} threw: ${stack}`);
      this.die();
    }
  }

  // --- connections -----------------------------------------------------------------------------------------------------------------

  /** An upgrade: the session, or how many milliseconds to stay away. */
  accept(user: number, device: number, connection: Connection): number | Session {
    const { gateway } = this;
    if (gateway === undefined || !this.isListening) return 0;
    const result = gateway.accept({ token: tokenOf(user, device), address: String(deviceKey(user, device)) });
    if ('status' in result) {
      this.place.context.mark(`upgrade refused ${result.status.slice(0, 3)}`);
      return (result.retryAfterS ?? 0) * 1_000;
    }
    result.socket = connection;
    this.connections.set(result, connection);
    gateway.opened(result);
    return result;
  }

  message(session: Session, bytes: Uint8Array): void {
    this.#guard(() => {
      this.gateway!.message(session, bytes);
      this.scheduleFlush();
    });
  }

  drained(session: Session): void {
    this.#guard(() => {
      this.gateway!.drained(session);
      this.scheduleFlush();
    });
  }

  closed(session: Session): void {
    this.connections.delete(session);
    session.socket = undefined;
    this.#guard(() => {
      this.gateway?.closed(session);
      this.scheduleFlush();
    });
  }
}

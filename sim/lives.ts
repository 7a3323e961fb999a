/** Who lived when: the lives of lanes and gateways, read off the backbone after every step. */
import type { Lane } from '../pipelines/lane.js';
import type { Backbone } from './backbone.js';
import type { GatewayProcess } from './gateway-process.js';
import type { LaneProcess } from './lane-process.js';

/** Lives that are kept; more are counted. */
const LIVES_MAX = 4_000;
const PAUSES_MAX = 200;

export interface Span {
  readonly fromMs: number;
  toMs: number;
}

/** From a start to the death, or to the end of the run. Virtual milliseconds. */
export interface LaneLife extends Span {
  readonly lane: number;
  readonly isUser: boolean;
  readonly incarnation: number;
  readonly partitions: readonly number[];
  /** By index of `partitions`: under which epoch it wrote; 0: it came to none. */
  readonly epochs: number[];
  readonly pauses: Span[];
  /** When it had recovered. */
  runningMs: number | undefined;
  /** When another owner took over. */
  deposedMs: number | undefined;
  /** Why it died; undefined: it did not. */
  end: string | undefined;
}

export interface GatewayLife extends Span {
  readonly gateway: number;
  drainMs: number | undefined;
}

interface Known<Thread, Life> {
  readonly thread: Thread;
  readonly life: Life;
}

export class Lives {
  readonly lanes: LaneLife[] = [];
  readonly gateways: GatewayLife[] = [];
  /** Lives that were not kept, because there were so many. */
  leftOut = 0;
  readonly #openLanes = new Map<LaneProcess, Known<Lane, LaneLife>>();
  readonly #openGateways = new Map<GatewayProcess, Known<unknown, GatewayLife>>();

  look({ lanes, gateways }: Backbone, nowMs: number): void {
    // Also those that were replaced: the backbone forgets them before they die.
    for (const [process, { thread, life }] of this.#openLanes) {
      if (process.lane === thread) look(process, life, nowMs);
      else {
        finish(life, nowMs);
        life.end = process.deathReason;
        this.#openLanes.delete(process);
      }
    }
    for (const process of lanes) this.#begin(process, nowMs);
    for (const process of gateways) this.#lookAtGateway(process, nowMs);
  }

  #begin(process: LaneProcess, nowMs: number): void {
    const { lane, place, isUser, incarnation } = process;
    if (lane === undefined || this.#openLanes.has(process)) return;
    const { number, partitions } = place;
    const life: LaneLife = {
      lane: number,
      isUser,
      incarnation,
      partitions,
      fromMs: nowMs,
      toMs: nowMs,
      epochs: partitions.map(() => 0),
      pauses: [],
      runningMs: undefined,
      deposedMs: undefined,
      end: undefined,
    };
    this.#openLanes.set(process, { thread: lane, life });
    this.#keep(this.lanes, life);
    look(process, life, nowMs);
  }

  #lookAtGateway(process: GatewayProcess, nowMs: number): void {
    const { gateway, isListening, place } = process;
    const known = this.#openGateways.get(process);
    if (known !== undefined && known.thread === gateway) {
      if (!isListening) known.life.drainMs ??= nowMs;
      return;
    }
    if (known !== undefined) {
      known.life.toMs = nowMs;
      this.#openGateways.delete(process);
    }
    if (gateway === undefined) return;
    const life = { gateway: place.number, fromMs: nowMs, toMs: nowMs, drainMs: undefined };
    this.#openGateways.set(process, { thread: gateway, life });
    this.#keep(this.gateways, life);
  }

  #keep<Life>(lives: Life[], life: Life): void {
    if (lives.length < LIVES_MAX) lives.push(life);
    else this.leftOut++;
  }

  /** The run is over; who lives is alive until here. */
  finish(nowMs: number): void {
    for (const { life } of this.#openLanes.values()) finish(life, nowMs);
    for (const { life } of this.#openGateways.values()) life.toMs = nowMs;
  }
}

function look(process: LaneProcess, life: LaneLife, nowMs: number): void {
  if (process.isRunning) life.runningMs ??= nowMs;
  if (process.isDeposed) life.deposedMs ??= nowMs;
  process.lane!.partitions.forEach(({ epoch }, index) => {
    life.epochs[index] = epoch;
  });
  lookAtPause(life.pauses, process.pausedUntilUs / 1_000, nowMs);
}

/** It hangs until `untilMs`, as things are now. */
export function lookAtPause(pauses: Span[], untilMs: number, nowMs: number): void {
  const last = pauses.at(-1);
  if (last !== undefined && last.toMs > nowMs) last.toMs = Math.max(nowMs, untilMs);
  else if (untilMs > nowMs && pauses.length < PAUSES_MAX) pauses.push({ fromMs: nowMs, toMs: untilMs });
}

/** The life is over, or the run is. */
export function finish(life: Span & { readonly pauses: Span[] }, nowMs: number): void {
  life.toMs = nowMs;
  const last = life.pauses.at(-1);
  if (last !== undefined) last.toMs = Math.min(last.toMs, nowMs);
}

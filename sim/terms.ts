/** Which broker led which partition of the log, and which were up when: read off the cluster after every step. */
import type { BrokerCluster } from './broker-cluster.js';
import type { Metadata } from './broker-controller.js';
import { finish, lookAtPause, type Span } from './lives.js';

/** Terms and lives that are kept; more are counted. */
const KEPT_MAX = 4_000;

/** By the controller: the leader itself may not know yet. `index` counts over the partitions of all topics. */
export interface Term extends Span {
  readonly index: number;
  readonly leader: number;
  readonly epoch: number;
}

export interface BrokerLife extends Span {
  readonly broker: number;
  readonly life: number;
  readonly pauses: Span[];
}

export class Terms {
  readonly terms: Term[] = [];
  readonly lives: BrokerLife[] = [];
  leftOut = 0;
  readonly #current: Term[] = [];
  readonly #alive: (BrokerLife | undefined)[] = [];
  #seen: Metadata | undefined;

  look({ controller, brokers }: BrokerCluster, nowMs: number): void {
    if (controller.metadata !== this.#seen) this.#lookAtLeaders(controller.metadata, nowMs);
    for (const { id, isUp, life, pausedUntilUs } of brokers) {
      const known = this.#alive[id];
      if (known !== undefined && (!isUp || known.life !== life)) {
        finish(known, nowMs);
        this.#alive[id] = undefined;
      }
      if (!isUp) continue;
      const alive = (this.#alive[id] ??= this.#begin(id, life, nowMs));
      lookAtPause(alive.pauses, pausedUntilUs / 1_000, nowMs);
    }
  }

  #lookAtLeaders(metadata: Metadata, nowMs: number): void {
    this.#seen = metadata;
    metadata.partitions.forEach(({ leader, leaderEpoch }, index) => {
      const known = this.#current[index];
      if (known !== undefined && known.leader === leader && known.epoch === leaderEpoch) return;
      if (known !== undefined) known.toMs = nowMs;
      const term = { index, leader, epoch: leaderEpoch, fromMs: nowMs, toMs: nowMs };
      this.#current[index] = term;
      this.#keep(this.terms, term);
    });
  }

  #begin(broker: number, life: number, nowMs: number): BrokerLife {
    const begun = { broker, life, pauses: [], fromMs: nowMs, toMs: nowMs };
    this.#keep(this.lives, begun);
    return begun;
  }

  #keep<Value>(values: Value[], value: Value): void {
    if (values.length < KEPT_MAX) values.push(value);
    else this.leftOut++;
  }

  finish(nowMs: number): void {
    for (const term of this.#current) term.toMs = nowMs;
    for (const life of this.#alive) if (life !== undefined) finish(life, nowMs);
  }
}

/** What a ClientCore is made with, and what a send is told. */
import type { Prng } from '../core/prng.js';
import type { AcknowledgeMode } from './inbox.js';

export interface ClientCoreOptions {
  /** Device key: user × 128 + device number. The token must name the same device. */
  readonly device: number;
  readonly random: Prng;
  /** Bytes of an earlier `snapshot`. Throws a DunlinError if it is damaged, or another device's. */
  readonly snapshot?: Uint8Array | undefined;
  /**
   * True: this device number was never used before, so its counters start at 1 everywhere. Otherwise the core asks with
   * INFO before its first send in each conversation that its saved state does not know. Default false.
   */
  readonly freshDevice?: boolean | undefined;
  /** When a received frame counts as processed: see the head of this file. Default 'auto'. */
  readonly acknowledge?: AcknowledgeMode | undefined;
  /** True: the shell gets a new token for every attempt, so an expired one is no reason to stay away. Default false. */
  readonly renewsToken?: boolean | undefined;
  readonly heartbeatMs?: number | undefined;
  readonly idleTimeoutMs?: number | undefined;
  readonly outboxMax?: number | undefined;
  /** Own pace; below the server's limits by default. */
  readonly framesPerSecond?: number | undefined;
  readonly bytesPerSecond?: number | undefined;
}

export interface SendOptions {
  /** A sequenced kind; default MESSAGE. */
  readonly kind?: number;
  /** MESSAGE: 1 … 30 days; default 0, which is 30 days. */
  readonly ttlSeconds?: number;
  /** GROUP_ROLE: 1 admin, 0 member. */
  readonly role?: number;
  /** MESSAGE: Flag.DEVICE_TABLE. */
  readonly flags?: number;
  /** A number below 2^53 that comes back with the outcome, also after a restart. */
  readonly tag?: number;
}

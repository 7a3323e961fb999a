/** What the benchmark's process and its generator tell each other. */
import type { Violation } from './columns.js';
import type { FleetOptions } from './fleet.js';

export type Command =
  | { readonly type: 'connect'; readonly options: FleetOptions }
  /** Every device sends so many bursts; with `isCut` some lose their connection in the middle. */
  | { readonly type: 'run'; readonly bursts: number; readonly isCut: boolean }
  | { readonly type: 'close' };

/** Counted since the start. */
export interface Counts {
  readonly sent: number;
  readonly answered: number;
  readonly delivered: number;
  readonly receipts: number;
  readonly framesIn: number;
  readonly messagesIn: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export type Report =
  | { readonly type: 'ready'; readonly conversations: number; readonly pairs: number; readonly counts: Counts }
  | {
      readonly type: 'ran';
      /** From the first send to when the last message was with everybody, and its sender knew. */
      readonly seconds: number;
      readonly counts: Counts;
      readonly hash: number;
      readonly violated: number;
      readonly violations: readonly Violation[];
    };

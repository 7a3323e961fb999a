/**
 * Watches a world: tells the checkers of core/checks what devices did and saw, and who is a member when. Memberships are read
 * off what the conversation lanes append, before anybody can hear of it.
 */
import { BatchAt, BatchKind, RECIPIENT_BYTES } from '../core/batch.js';
import {
  HistoryChecker,
  type HistoryEvent,
  type HistoryOptions,
  judgeHistory,
  type Verdict,
  VIOLATIONS_KEPT_MAX,
} from '../core/checks/index.js';
import { At, frameLength, isSequenced, Kind, readFrame, readU53, viewOf } from '../core/frame.js';
import { userOfDevice } from '../core/ids.js';
import { GROUP_MEMBERS_MAX } from '../core/limits.js';
import { readMembers } from '../core/members.js';
import { Topic } from '../core/ports.js';
import { Beginnings } from './beginnings.js';
import type { Context } from './context.js';
import type { Emissions } from './emissions.js';
import { Membership } from './membership.js';
import { Record } from './record.js';
import { SequenceAudit } from './sequence-audit.js';

/** Violations whose time is kept: more are not kept in full either. */
const TIMES_MAX = VIOLATIONS_KEPT_MAX;

/** A message that has its place, of a device's counter. */
interface Sequenced {
  readonly atMs: number;
  readonly a: number;
  readonly b: number;
  readonly seq: number;
  readonly device: number;
  readonly counter: number;
}

export class Observer {
  readonly checker: HistoryChecker;
  readonly record = new Record();
  readonly emissions: Emissions;
  readonly beginnings = new Beginnings();
  /** What devices did and saw, and when; only if it is kept. */
  readonly history: { readonly atMs: number; readonly event: HistoryEvent }[] = [];
  /** What the conversation lanes said first, and when; only if the journal is kept. */
  readonly sequenced: Sequenced[] = [];
  /** When each violation was seen that an event showed: the first ones of the verdict, in their order. */
  readonly foundAtMs: number[] = [];
  /** Is told of every event too. */
  watch: ((event: HistoryEvent) => void) | undefined;
  readonly #context: Context;
  readonly #keepsHistory: (event: HistoryEvent) => boolean;
  readonly #groups = new Map<number, Membership>();
  /** Who has ever blocked whom, as the blocker's and the blocked user's ids. */
  readonly blocks = new Set<string>();
  readonly #audit = new SequenceAudit();
  /** No receipt can have expired before it was told. */
  areReceiptsKept = true;
  deliveries = 0;
  sends = 0;

  constructor(
    context: Context,
    keepsHistory: (event: HistoryEvent) => boolean,
    emissions: Emissions,
    options: HistoryOptions = {},
  ) {
    this.#context = context;
    this.#keepsHistory = keepsHistory;
    this.emissions = emissions;
    this.checker = new HistoryChecker(options);
  }

  feed(event: HistoryEvent): void {
    const beginning = this.beginnings.before(event);
    if (beginning !== undefined) this.#tell(beginning);
    this.#tell(event);
  }

  #tell(event: HistoryEvent): void {
    const { nowMs } = this.#context;
    if (this.#keepsHistory(event)) this.history.push({ atMs: nowMs, event });
    if (event.op === 'deliver') this.deliveries++;
    this.watch?.(event);
    this.checker.feed(event);
    while (this.foundAtMs.length < Math.min(TIMES_MAX, this.checker.found)) this.foundAtMs.push(nowMs);
  }

  /** A batch that is about to be written. */
  readonly tap = (topic: number, batch: Uint8Array): void => {
    if (topic !== Topic.USER || batch[BatchAt.KIND] !== BatchKind.FANOUT) return;
    const view = viewOf(batch);
    const count = view.getUint32(BatchAt.COUNT, true);
    const hasBeginnings = !this.beginnings.isEmpty;
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < count; entry++) {
      const length = frameLength(view, at);
      const kind = batch[at + At.KIND]!;
      if (isSequenced(kind)) {
        this.#named(view, at);
        this.#tellSequenced(view, at);
        this.record.add(batch, view, at);
        if (hasBeginnings) this.#fannedOut(view, at);
        if (view.getUint32(at + At.CONV_A) === 0) this.#groupFrame(batch, view, at);
      }
      at += length + 4 + view.getUint32(at + length, true) * RECIPIENT_BYTES;
    }
  };

  #tellSequenced(view: DataView, at: number): void {
    if (this.#context.journal === undefined) return;
    const a = readU53(view, at + At.CONV_A);
    const b = readU53(view, at + At.CONV_B);
    const seq = view.getUint32(at + At.SEQ);
    if (this.record.at(a, b, seq) !== undefined) return;
    const device = readU53(view, at + At.DEVICE);
    this.sequenced.push({ atMs: this.#context.nowMs, a, b, seq, device, counter: view.getUint32(at + At.COUNTER) });
  }

  #named(view: DataView, at: number): void {
    const a = readU53(view, at + At.CONV_A);
    const b = readU53(view, at + At.CONV_B);
    const seq = view.getUint32(at + At.SEQ);
    const device = readU53(view, at + At.DEVICE);
    const counter = view.getUint32(at + At.COUNTER);
    if (this.#audit.name(a, b, seq, device, counter)) return;
    const sentence = `sequence ${seq} of (${a}, ${b}) was given to a second message: counter ${counter} of device ${device}`;
    this.#context.flaw('G16', sentence, { device, convA: a, convB: b, seq });
  }

  #fannedOut(view: DataView, at: number): void {
    const [a, b] = [readU53(view, at + At.CONV_A), readU53(view, at + At.CONV_B)];
    this.beginnings.fannedOut(a, b, view.getUint32(at + At.SEQ));
  }

  #groupFrame(bytes: Uint8Array, view: DataView, at: number): void {
    const frame = readFrame(bytes, view, at);
    if (frame.convA !== 0) return;
    const { convB: b, seq } = frame;
    let group = this.#groups.get(b);
    if (group === undefined) {
      group = new Membership((isJoin, user, changedAt) =>
        this.feed({ op: isJoin ? 'join' : 'leave', a: 0, b, user, seq: changedAt }),
      );
      this.#groups.set(b, group);
    }
    // Said again by a lane that started again, or to users of another partition.
    if (!group.begin(seq)) return;
    const users = readMembers(frame.payload, 0, frame.payload.length, GROUP_MEMBERS_MAX) ?? [];
    const sender = userOfDevice(frame.device);
    if (frame.kind === Kind.GROUP_CREATE) group.change(seq, sender, true);
    if (frame.kind === Kind.GROUP_CREATE || frame.kind === Kind.GROUP_ADD) {
      for (const user of users) group.change(seq, user, true);
    } else if (frame.kind === Kind.GROUP_REMOVE) for (const user of users) group.change(seq, user, false);
    else if (frame.kind === Kind.GROUP_LEAVE) group.change(seq, sender, false);
    this.#context.mark(`group change ${frame.kind}`);
  }

  /** A device was told that these sequences have expired: they must have, unless somebody's block hides that it is not the reason. */
  toldExpired(device: number, a: number, b: number, from: number, through: number): void {
    const { nowMs } = this.emissions;
    const first = Math.max(from, this.beginnings.firstOf(device, a, b, through));
    for (let seq = first; seq <= through; seq++) {
      const standing = this.record.at(a, b, seq);
      if (standing === undefined || standing.deadlineMs <= nowMs) continue;
      if (this.blocks.has(`${userOfDevice(device)} ${userOfDevice(standing.device)}`)) continue;
      const leftMs = standing.deadlineMs - nowMs;
      const sentence = `device ${device} was told that ${seq} of (${a}, ${b}) has expired, ${leftMs} ms before its deadline`;
      this.#context.flaw('G11', sentence, { device, convA: a, convB: b, seq });
    }
  }

  /** `isWhole`: everything must have come. */
  judge(isWhole: boolean): Verdict {
    for (const event of this.beginnings.rest()) this.#tell(event);
    return judgeHistory([this.checker], { isQuiescent: isWhole, areReceiptsComplete: isWhole && this.areReceiptsKept });
  }
}

/**
 * Watches a world: tells the checkers of core/checks what devices did and saw, and who is a member when. Memberships are read
 * off what the conversation lanes append, before anybody can hear of it.
 */
import { BatchAt, BatchKind, RECIPIENT_BYTES } from '../core/batch.js';
import {
  HistoryChecker,
  type HistoryEvent,
  judgeHistory,
  type Verdict,
  VIOLATIONS_KEPT_MAX,
} from '../core/checks/index.js';
import { At, frameLength, isSequenced, Kind, readFrame, viewOf } from '../core/frame.js';
import { userOfDevice } from '../core/ids.js';
import { GROUP_MEMBERS_MAX } from '../core/limits.js';
import { readMembers } from '../core/members.js';
import { Topic } from '../core/ports.js';
import type { Context } from './context.js';

/** Violations whose time is kept: more are not kept in full either. */
const TIMES_MAX = VIOLATIONS_KEPT_MAX;

interface Group {
  head: number;
  readonly members: Set<number>;
}

export class Observer {
  readonly checker: HistoryChecker;
  /** What devices did and saw, and when; only if it is kept. */
  readonly history: { readonly atMs: number; readonly event: HistoryEvent }[] = [];
  /** When each violation was seen that an event showed: the first ones of the verdict, in their order. */
  readonly foundAtMs: number[] = [];
  /** Is told of every event too. */
  watch: ((event: HistoryEvent) => void) | undefined;
  readonly #context: Context;
  readonly #keepsHistory: (event: HistoryEvent) => boolean;
  readonly #groups = new Map<number, Group>();
  deliveries = 0;
  sends = 0;

  constructor(context: Context, keepsHistory: (event: HistoryEvent) => boolean) {
    this.#context = context;
    this.#keepsHistory = keepsHistory;
    this.checker = new HistoryChecker();
  }

  feed(event: HistoryEvent): void {
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
    let at: number = BatchAt.ENTRIES;
    for (let entry = 0; entry < count; entry++) {
      const length = frameLength(view, at);
      const kind = batch[at + At.KIND]!;
      if (isSequenced(kind) && view.getUint32(at + At.CONV_A) === 0) this.#groupFrame(batch, view, at);
      at += length + 4 + view.getUint32(at + length, true) * RECIPIENT_BYTES;
    }
  };

  #groupFrame(bytes: Uint8Array, view: DataView, at: number): void {
    const frame = readFrame(bytes, view, at);
    if (frame.convA !== 0) return;
    let group = this.#groups.get(frame.convB);
    if (group === undefined) {
      group = { head: 0, members: new Set() };
      this.#groups.set(frame.convB, group);
    }
    // Said again by a lane that started again, or to users of another partition.
    if (frame.seq <= group.head) return;
    group.head = frame.seq;
    const { members } = group;
    const { convB: b, seq } = frame;
    const users = readMembers(frame.payload, 0, frame.payload.length, GROUP_MEMBERS_MAX) ?? [];
    const sender = userOfDevice(frame.device);
    const join = (user: number): void => {
      if (members.has(user)) return;
      members.add(user);
      this.feed({ op: 'join', a: 0, b, user, seq });
    };
    const leave = (user: number): void => {
      if (members.delete(user)) this.feed({ op: 'leave', a: 0, b, user, seq });
    };
    if (frame.kind === Kind.GROUP_CREATE) join(sender);
    if (frame.kind === Kind.GROUP_CREATE || frame.kind === Kind.GROUP_ADD) for (const user of users) join(user);
    else if (frame.kind === Kind.GROUP_REMOVE) for (const user of users) leave(user);
    else if (frame.kind === Kind.GROUP_LEAVE) leave(sender);
    this.#context.mark(`group change ${frame.kind}`);
  }

  isMember(group: number, user: number): boolean {
    return this.#groups.get(group)?.members.has(user) ?? false;
  }

  judge(): Verdict {
    return judgeHistory([this.checker], { isQuiescent: true, areReceiptsComplete: true });
  }
}

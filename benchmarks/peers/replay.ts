/**
 * A slice of real chats for every rival: the first messages of a trace, in the order of time, faster. Who speaks in it is a member
 * from the start: no rival but Dunlin orders a join among the messages.
 */
import { type TraceColumns, TraceKind } from '../load/trace.js';

export interface Replay {
  /** Members by group: users from 1. */
  readonly groups: readonly (readonly number[])[];
  /** In the order of time; `group` counts from 0. */
  readonly messages: readonly ReplayMessage[];
  readonly deliveries: number;
  /** How many times as fast as it happened. */
  readonly speed: number;
}

export interface ReplayMessage {
  readonly atMs: number;
  readonly group: number;
  readonly sender: number;
  readonly bytes: number;
}

/** The first `limit` messages in `seconds`, its people spread over `users`. Conversations with one speaker are left out. */
export function planReplay(trace: TraceColumns, limit: number, users: number, seconds: number): Replay {
  const rows = Array.from({ length: trace.rows }, (_, row) => row)
    .filter((row) => trace.kind[row] === TraceKind.MESSAGE)
    .toSorted((one, other) => trace.atMs[one]! - trace.atMs[other]! || one - other)
    .slice(0, limit);
  const chats = new Map<number, number[]>();
  for (const row of rows) {
    const chat = chats.get(trace.conversation[row]!);
    if (chat === undefined) chats.set(trace.conversation[row]!, [row]);
    else chat.push(row);
  }
  const groups: number[][] = [];
  const messages: ReplayMessage[] = [];
  let nextUser = 0;
  for (const chat of chats.values()) {
    const speakers = [...new Set(chat.map((row) => trace.sender[row]!))].slice(0, users);
    if (speakers.length < 2) continue;
    // Neighbours in the pool: nobody is two people of one chat.
    const firstUser = nextUser;
    nextUser += speakers.length;
    const userOf = new Map(speakers.map((speaker, n) => [speaker, ((firstUser + n) % users) + 1]));
    for (const row of chat) {
      const sender = userOf.get(trace.sender[row]!);
      if (sender === undefined) continue;
      messages.push({ atMs: trace.atMs[row]!, group: groups.length, sender, bytes: trace.bytes[row]! });
    }
    groups.push([...userOf.values()]);
  }
  messages.sort((one, other) => one.atMs - other.atMs);
  const spanMs = Math.max(1, messages.at(-1)?.atMs ?? 1);
  const speed = spanMs / (seconds * 1_000);
  return {
    groups,
    messages: messages.map((message) => ({ ...message, atMs: message.atMs / speed })),
    deliveries: messages.reduce((sum, { group }) => sum + groups[group]!.length - 1, 0),
    speed,
  };
}

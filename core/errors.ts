/**
 * The closed list of error codes. A code travels in a REJECT frame's `extra`, or as a WebSocket close code; beside it goes
 * one sentence that names the value, the limit and what to do. Clients decide by the code, people read the sentence.
 */

export interface ErrorCode {
  readonly code: number;
  readonly name: string;
  /** Sending the same frame again, later, can succeed. A retryable rejection does not consume the client counter. */
  readonly canRetry: boolean;
  readonly sentence: string;
}

function define(code: number, name: string, canRetry: boolean, sentence: string): ErrorCode {
  return { code, name, canRetry, sentence };
}

export const ErrorCodes = {
  // 1 .. 31: the frame itself
  BAD_FRAME: define(1, 'BAD_FRAME', false, 'The frame is not an array of 11 items with the right types and sizes.'),
  UNKNOWN_KIND: define(2, 'UNKNOWN_KIND', false, 'The frame kind is not one that a client may send.'),
  TOO_LARGE: define(3, 'TOO_LARGE', false, 'The payload is over its limit.'),
  BAD_CONVERSATION: define(
    4,
    'BAD_CONVERSATION',
    false,
    'The conversation is neither two different users in ascending order nor (0, group).',
  ),
  BAD_TABLE: define(5, 'BAD_TABLE', false, 'The device table is malformed, unsorted or over its limit.'),
  BAD_MEMBERS: define(6, 'BAD_MEMBERS', false, 'The member list is malformed, empty or names a wrong id.'),
  BAD_VALUE: define(7, 'BAD_VALUE', false, 'A field has a value that its kind does not allow.'),
  // 32 .. 63: what the conversation says
  NOT_MEMBER: define(32, 'NOT_MEMBER', false, 'You are not a member of this conversation.'),
  NOT_ADMIN: define(33, 'NOT_ADMIN', false, 'Only an admin of the group can do this.'),
  GROUP_EXISTS: define(34, 'GROUP_EXISTS', false, 'A group with this id exists already; choose another id.'),
  NO_GROUP: define(35, 'NO_GROUP', false, 'There is no group with this id.'),
  GROUP_FULL: define(36, 'GROUP_FULL', false, 'The group would have more than 1,024 members.'),
  COUNTER_GAP: define(
    37,
    'COUNTER_GAP',
    true,
    'The client counter skips at least one message; send again from the counter in `seq`.',
  ),
  DUPLICATE: define(
    38,
    'DUPLICATE',
    false,
    'The client counter was used before; `seq` has the last counter that was taken.',
  ),
  SEQUENCE_END: define(39, 'SEQUENCE_END', false, 'The conversation has no sequence numbers left.'),
  NO_CHANGE: define(40, 'NO_CHANGE', false, 'The change is in force already.'),
  BEYOND_HEAD: define(41, 'BEYOND_HEAD', false, 'The watermark is beyond the head of the conversation.'),
  // 64 .. 95: what the user stage says
  TOO_MANY_BLOCKS: define(65, 'TOO_MANY_BLOCKS', false, 'The block list is full.'),
  TOO_MANY_WATCHERS: define(66, 'TOO_MANY_WATCHERS', true, 'Too many watch this user, or you watch too many.'),
  // 96 .. 127: the backbone's own state; all retryable
  BUSY: define(96, 'BUSY', true, 'The backbone is at its limit; send again later, more slowly.'),
  DISK_FULL: define(97, 'DISK_FULL', true, 'The disk is full: new sends are refused until there is room again.'),
  RATE_LIMITED: define(98, 'RATE_LIMITED', true, 'You send faster than your limit; slow down.'),
  UNAVAILABLE: define(99, 'UNAVAILABLE', true, 'The outcome is not known; send again, the counter prevents doubles.'),
  NOT_READY: define(100, 'NOT_READY', true, 'Say hello first; frames before it are not taken.'),
} as const;

export type ErrorName = keyof typeof ErrorCodes;

const byCode = new Map<number, ErrorCode>(Object.values(ErrorCodes).map((error) => [error.code, error]));

export function errorOfCode(code: number): ErrorCode | undefined {
  return byCode.get(code);
}

/** WebSocket close codes. 4000–4099: reconnect after the backoff. 4100–4199: do not reconnect before something changes. */
export interface CloseCode {
  readonly code: number;
  readonly reason: string;
  readonly reconnect: boolean;
}

function close(code: number, reason: string, reconnect: boolean): CloseCode {
  return { code, reason, reconnect };
}

export const CloseCodes = {
  NORMAL: close(1000, 'bye', false),
  DRAINING: close(4000, 'the gateway is draining: reconnect now, elsewhere', true),
  IDLE: close(4001, 'nothing was heard for too long', true),
  BUSY: close(4002, 'too many sessions start at once: reconnect later', true),
  HELLO_TIMEOUT: close(4003, 'no hello in time', true),
  BACKBONE_LOST: close(4004, 'the pipeline behind the gateway is gone: reconnect', true),
  TOO_MANY_CONNECTIONS: close(4005, 'too many connections of this address or user', true),
  RATE_LIMITED: close(4006, 'far over the rate limit: reconnect later', true),
  REPLACED: close(4100, 'another connection of this device took over', false),
  BAD_PROTOCOL: close(4101, 'the bytes are not the protocol', false),
  TOKEN_EXPIRED: close(4102, 'the token expired: get a new one', false),
  VERSION: close(4103, 'this protocol version is not spoken here', false),
  DEVICE_REMOVED: close(4104, 'this device was removed or there are too many', false),
} as const;

export function mayReconnect(code: number): boolean {
  for (const known of Object.values(CloseCodes)) if (known.code === code) return known.reconnect;
  return code < 4100 || code > 4199;
}

/** An error with a sentence for people, for edges (flags, files, start-up). Never carries a stack to a client. */
export class DunlinError extends Error {
  override readonly name: string = 'DunlinError';
}

/** A log has not any more what readers had, or were promised: from an offset of a partition on. */
export class LogLossError extends DunlinError {
  override readonly name = 'LogLossError';
  readonly partition: number;
  /** Offset of the first batch that is gone. */
  readonly from: number;

  constructor(partition: number, from: number, where = 'the log') {
    super(`what was at offset ${from} of partition ${partition} and behind it is not in ${where} any more.`);
    this.partition = partition;
    this.from = from;
  }
}

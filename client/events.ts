/** What a client core tells its application. All calls are synchronous, in the order of what happened. */
import type { FrameView } from './view.js';

/** Why sequences of a conversation will never come; 0 to 3 are GAP's `extra`. */
export const GapReason = {
  /** An honest loss: the server says so, or did not have them on several connections in a row. */
  LOST: 0,
  EXPIRED: 1,
  BLOCKED: 2,
  BEFORE_JOIN: 3,
  /** This device sent them, in a life whose storage was lost. */
  FORGOTTEN: 4,
} as const;

/**
 * Every handler may be left out. Arguments are numbers of the protocol; a `FrameView` holds only during the call.
 * Handlers may call the core, except `received`, `restore` and `takeOutput`.
 */
export interface ClientEvents {
  /** The shell must close the transport; the core counts it as closed already. */
  disconnect?(code: number, reason: string): void;
  /** The link changed: a LinkState. */
  state?(state: number): void;
  /** The connection, or an attempt, ended. Final: the core will not connect again before `start` is called. */
  closed?(code: number, final: boolean, reconnectAtMs: number): void;
  /** The session stands. `head`: the last position of the inbox now. */
  welcome?(head: number, heartbeatMs: number): void;
  /** Everything that waited has been delivered; what is in the outbox goes out now. */
  caughtUp?(position: number): void;

  /** A message: from somebody else, or from another device of this user. Each once, in the order of its conversation. */
  message?(frame: FrameView): void;
  /** A group change by another device (kinds 2 to 6), in order with the messages. */
  groupChange?(frame: FrameView): void;
  /** The sequences `from` to `through` of a conversation will not come; `reason` is a GapReason. */
  gap?(convA: number, convB: number, from: number, through: number, reason: number): void;

  /** An entry of the outbox was taken. `seq` is 0 if the server no longer knows it. The one outcome of this entry. */
  sent?(convA: number, convB: number, counter: number, seq: number, timeMs: number, tag: number): void;
  /**
   * Something was refused. With `final` it is the one outcome of this entry; without, the core sends it again by itself.
   * Counter 0: not an entry of the outbox, but READ, INFO, WATCH, BLOCK or DEVICE_REMOVE.
   */
  rejected?(
    convA: number,
    convB: number,
    counter: number,
    code: number,
    text: string,
    final: boolean,
    tag: number,
  ): void;
  /** An entry got another counter, since the server says that its old one belongs to something else. */
  renumbered?(convA: number, convB: number, from: number, to: number, tag: number): void;

  /** A watermark rose. `user` 0: all members of the group; this user: another device read. Both values only grow. */
  receipt?(convA: number, convB: number, user: number, delivered: number, read: number): void;
  typing?(convA: number, convB: number, device: number, started: boolean): void;
  presence?(user: number, online: boolean, lastSeenMs: number): void;
  block?(user: number, blocked: boolean): void;
  /** INFO: `members` as `readMemberRows` of core/members.ts reads them; valid only during the call. */
  info?(convA: number, convB: number, head: number, lastCounter: number, members: Uint8Array): void;
  /** DEVICES: as `readDeviceRows` reads them; valid only during the call. */
  devices?(devices: Uint8Array): void;
  pong?(value: number): void;

  /** The server broke the protocol. The core has dealt with it, mostly by connecting again. */
  violation?(text: string): void;
}

/**
 * What a rival is to the driver: something that starts, takes connections of users, and carries messages between them. One small
 * adapter a rival implements it; Dunlin is one of them.
 *
 * Users and groups are whole numbers from 1. Bodies are the ASCII bytes of body.ts, so that no protocol has to encode them.
 */

/**
 * What an acknowledgement says about the disk.
 * - `synced`: the message was written and synced (fsync, fdatasync or O_DSYNC) before it was acknowledged.
 * - `written`: it was given to the system's page cache at most; it is lost with the machine, not with the process.
 * - `memory`: nothing is kept.
 */
export type Durability = 'synced' | 'written' | 'memory';

export interface Peer {
  readonly name: string;
  readonly durability: Durability;
  /** How it is set, in a sentence: what makes it as durable, and as fast, as it can be. */
  readonly setting: string;
  /** What a chat needs and this does not do, each a few words. */
  readonly lacks: readonly string[];
  /** True if `lacks` has no groups. */
  readonly hasGroups: boolean;
  /** Messages of each user under way with which it does the most for the CPU it takes, among powers of two. */
  readonly window: number;
  /** Brings what it needs onto this machine, once. A sentence if it cannot run here. */
  prepare(progress: (sentence: string) => void): Promise<string | undefined>;
  start(place: Place): Promise<PeerServer>;
}

/** Where a server runs. */
export interface Place {
  /** An empty directory of its own. */
  readonly directory: string;
  /** The first of PORTS_PER_SERVER ports on loopback that are free. */
  readonly port: number;
}

export const PORTS_PER_SERVER = 8;

export interface PeerServer {
  readonly version: string;
  /** All that was set, a setting a line: what somebody has to write before the first message. For a library, the program. */
  readonly configuration: string;
  /** The first process of each tree that serves. */
  readonly pids: readonly number[];
  /** Rejects if the user cannot come in. */
  connect(user: number, events: PeerEvents): Promise<PeerConnection>;
  /** Called before members connect. Not there if the rival has no groups. */
  makeGroup?(group: number, members: readonly number[]): Promise<void>;
  stop(): Promise<void>;
}

export interface PeerEvents {
  /** The next `count` messages of this connection, in the order sent, were taken. */
  acked(count: number): void;
  /** The bytes are only valid during the call. A user's own message to a group may come back. */
  delivered(body: Uint8Array): void;
  /** The connection, or a message, is lost. */
  failed(sentence: string): void;
}

export interface PeerConnection {
  /** Messages to a user, in order, as few packets as the rival's protocol allows. */
  send(to: number, bodies: readonly Uint8Array[]): void;
  sendToGroup?(group: number, bodies: readonly Uint8Array[]): void;
  close(): void;
}

/** Who is here: the sessions of this gateway, by connection and by device, and how many an address and a user has. */
import type { CloseCode } from '../core/errors.js';
import { userOfDevice } from '../core/ids.js';
import { CONNECTION_BYTES_BURST, CONNECTION_FRAMES_BURST } from '../core/limits.js';
import { type Bucket, SessionState } from './session.js';

/** A connection's way out; implemented by sockets.ts and by tests. */
export interface Socket {
  /** Takes the bytes (copies what it cannot send at once). False: it had to drop them, and the connection is of no more use. */
  send(bytes: Uint8Array): boolean;
  /** Bytes taken and not yet sent. */
  bufferedBytes(): number;
  close(code: number, reason: string): void;
}

export class Session {
  state: SessionState = SessionState.HELLO;
  token = 1;
  /** Highest inbox position that was sent. */
  lastSent = 0;
  /** A piece of the inbox is wanted as soon as the socket has drained. */
  wantsPull = false;
  /** The client said goodbye. */
  isClean = false;
  badFrames = 0;
  /** Chain of frames to be sent in this pass (outbound.ts). */
  chainHead = -1;
  chainTail = -1;
  /** It is looked at when the pass ends. */
  isTouched = false;
  /** Receipts that wait for something to go out with: their slot (outbound.ts), −1: none. */
  heldSlot = -1;
  heldBytes = 0;
  heldFrames = 0;
  /** In the list of those whose held receipts fall due. */
  isHeldListed = false;
  /** READs that came, that are with the log, that the log has, and that the client was told of, and when (read-tally.ts). */
  readsIn = 0;
  readsMarked = 0;
  readsSafe = 0;
  readsTold = 0;
  readsToldAtMs = -Infinity;
  isReadListed = false;
  /** One was dropped without an answer: how many are safe cannot be said any more. */
  isReadLost = false;
  closeWith: CloseCode | undefined = undefined;
  socket: Socket | undefined = undefined;
  readonly frames: Bucket;
  readonly bytes: Bucket;

  readonly device: number;
  readonly connection: number;
  readonly address: string;
  readonly openedAtMs: number;
  readonly expiresAtMs: number;

  constructor(device: number, connection: number, address: string, openedAtMs: number, expiresAtMs: number) {
    this.device = device;
    this.connection = connection;
    this.address = address;
    this.openedAtMs = openedAtMs;
    this.expiresAtMs = expiresAtMs;
    this.frames = { left: CONNECTION_FRAMES_BURST, atMs: openedAtMs };
    this.bytes = { left: CONNECTION_BYTES_BURST, atMs: openedAtMs };
  }
}

function count(counts: Map<number | string, number>, key: number | string, by: number): void {
  const value = (counts.get(key) ?? 0) + by;
  if (value > 0) counts.set(key, value);
  else counts.delete(key);
}

export class Hub {
  readonly #byConnection = new Map<number, Session>();
  readonly #byDevice = new Map<number, Session>();
  readonly #ofAddress = new Map<number | string, number>();
  readonly #ofUser = new Map<number | string, number>();
  #nextConnection = 1;

  get size(): number {
    return this.#byConnection.size;
  }

  /** All sessions; safe against removal while iterating. */
  sessions(): IterableIterator<Session> {
    return this.#byConnection.values();
  }

  connectionsOfAddress(address: string): number {
    return this.#ofAddress.get(address) ?? 0;
  }

  connectionsOfUser(user: number): number {
    return this.#ofUser.get(user) ?? 0;
  }

  /** A number that no connection of this incarnation has had: 32 bits last for 2^32 connections. */
  newConnection(): number {
    return this.#nextConnection++ >>> 0;
  }

  add(session: Session): void {
    this.#byConnection.set(session.connection, session);
    this.#byDevice.set(session.device, session);
    count(this.#ofAddress, session.address, 1);
    count(this.#ofUser, userOfDevice(session.device), 1);
  }

  remove(session: Session): void {
    if (!this.#byConnection.delete(session.connection)) return;
    if (this.#byDevice.get(session.device) === session) this.#byDevice.delete(session.device);
    count(this.#ofAddress, session.address, -1);
    count(this.#ofUser, userOfDevice(session.device), -1);
  }

  connection(connection: number): Session | undefined {
    return this.#byConnection.get(connection);
  }

  /** The newest connection of a device. */
  device(device: number): Session | undefined {
    return this.#byDevice.get(device);
  }
}

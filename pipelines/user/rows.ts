/**
 * The rows of the user stage, word by word. A word is 32 bits; a *pair* is two words, low first, holding a whole number
 * below 2^53. A reference is the word index of another row, 0 for none. `next` and `previous` link the rows of one user.
 *
 * ```text
 * user ─┬─ devices    by device number
 *       ├─ entries    the inbox in memory ("hot"), by position; each entry points at a blob that recipients share
 *       ├─ chunks     the older inbox in the store ("cold"), by position; all before the first entry
 *       ├─ blocks     users that this user blocked
 *       ├─ watchers   devices that are told about this user's presence, by device key
 *       └─ updates    presence and typing that this user is told about, in order of arrival
 * ```
 */

/**
 * A user. A row of a Table, keyed by the user id; never removed. A row is two lines of the cache; the first has all that an
 * ordinary delivery and its acknowledgement look at.
 */
export const UserAt = {
  /** Pair: user id. */
  ID: 0,
  /** Pair: the highest inbox position handed out. */
  LAST: 2,
  /** Pair: up to here some device has acknowledged, and DELIVERED was emitted. */
  DELIVERED: 4,
  FIRST_ENTRY: 6,
  LAST_ENTRY: 7,
  /** Bytes of the entries' frames, ENTRY_OVERHEAD_BYTES for each included. */
  HOT_BYTES: 8,
  FIRST_DEVICE: 9,
  FIRST_CHUNK: 10,
  BLOCKS: 11,
  /** Pair: logged time of the alarm that is set, 0 for none. Derived; never later than what is due. */
  ALARM: 12,
  /** UserFlag.* */
  FLAGS: 14,
  DEVICES: 15,
  LAST_CHUNK: 16,
  CHUNKS: 17,
  /** Serial number of the chunk written last; part of its key. */
  CHUNK_SERIAL: 18,
  FIRST_BLOCK: 19,
  FIRST_WATCHER: 20,
  WATCHERS: 21,
  FIRST_UPDATE: 22,
  LAST_UPDATE: 23,
  UPDATES: 24,
  /** Updates that wait for the next window. */
  PENDING: 25,
  /** Number of the window in which updates were sent last: logged time divided by the window's length. */
  WINDOW: 26,
  WINDOW_UPDATES: 27,
  /** Pair: logged time at which a device was there last. */
  LAST_SEEN: 28,
} as const;
/** Two words more than it has, so that rows begin on lines. */
export const USER_WORDS = 32;

export const UserFlag = {
  ONLINE: 1,
  /** Parts that changed since the last export. DIRTY is set whenever any is. */
  DIRTY: 2,
  DIRTY_BLOCKS: 4,
  DIRTY_WATCHERS: 8,
  DIRTY_UPDATES: 16,
  DIRTY_CHUNKS: 32,
} as const;
export const USER_DIRTY_MASK = 2 | 4 | 8 | 16 | 32;

/** A registered device. Pool row, linked in ascending order of number. */
export const DeviceAt = {
  NEXT: 0,
  NUMBER: 1,
  /** Mode.* */
  MODE: 2,
  /** Pair: acknowledged up to here. */
  CURSOR: 3,
  /** The connection, in modes CATCH_UP and LIVE: gateway number, its incarnation, the connection's id, the egress token. */
  GATEWAY: 5,
  INCARNATION: 6,
  CONNECTION: 7,
  TOKEN: 8,
  /** Pair: position of the last entry that this connection was sent while catching up, under this token. */
  SENT: 9,
  /** Pair: catch-up has looked at everything up to here; above SENT when entries were not for this device. */
  SCANNED: 11,
  /** Pair: logged time of the last connect or disconnect. */
  LAST_SEEN: 13,
  /** Pair: in mode GRACE, when the session ends. */
  GRACE_ENDS: 15,
  /** Pieces in a row that brought nothing, since the store did not have a chunk. */
  MISSES: 17,
  /** Pair: 1 + the offset of the batch that registered it, until it is known to survive a power failure; then 0. */
  UNSYNCED: 18,
} as const;
export const DEVICE_WORDS = 20;

export const Mode = {
  OFFLINE: 0,
  /** The connection broke; the session, and the user's presence, last until GRACE_ENDS. */
  GRACE: 1,
  /** Connected; gets its inbox piece by piece, as it asks. Live entries wait in the inbox. */
  CATCH_UP: 2,
  /** Connected; gets every entry when it comes. */
  LIVE: 3,
} as const;

/** An inbox entry in memory. Pool row. */
export const EntryAt = {
  NEXT: 0,
  PREVIOUS: 1,
  /** Pair: inbox position. */
  POSITION: 2,
  BLOB: 4,
  /** Low 8 bits: the frame's kind; ENTRY_EXPORTED, ENTRY_WRITTEN. */
  INFO: 5,
  /** RECEIPT only: whose inbox it is in, and the next entry of its chain (receipt-index.ts). Not exported. */
  OWNER: 6,
  CHAIN: 7,
} as const;
export const ENTRY_WORDS = 8;
/** An export of changes has this entry: the next one need not. Entries with the flag come before those without. */
export const ENTRY_EXPORTED = 0x100;
/** Any export has this entry: its end must be exported. An export of the whole may never count, so it sets only this. */
export const ENTRY_WRITTEN = 0x200;
/** What an entry counts beside its frame. */
export const ENTRY_OVERHEAD_BYTES = 32;

/** A frame that entries share. A block of the memory's allocator, named by its word index. */
export const BlobAt = {
  REFERENCES: 0,
  /** Bytes of the frame. */
  LENGTH: 1,
  /** Pair: logged time from which the frame must not be delivered any more; 0 for never. */
  DEADLINE: 2,
  /** Pair: logged time at which it came here. */
  ARRIVED: 4,
  /** The export that wrote it last, and its number there. 0: none yet. */
  EXPORT_RUN: 6,
  EXPORT_ID: 7,
  FRAME: 8,
} as const;
export const BLOB_HEADER_BYTES = BlobAt.FRAME * 4;

/** A run of entries in the store. Pool row. Its values never change; a rewritten run gets a new serial. */
export const ChunkAt = {
  NEXT: 0,
  PREVIOUS: 1,
  /** Pairs: positions of the first and the last entry. */
  FIRST: 2,
  LAST: 4,
  BYTES: 6,
  SERIAL: 7,
  /** Pair: latest deadline of its entries; 0: nothing in it expires any more. */
  DEADLINE: 8,
  /** CHUNK_EXPORTED and CHUNK_WRITTEN, as for entries; CHUNK_BROKEN. */
  FLAGS: 10,
} as const;
export const CHUNK_WORDS = 11;
export const CHUNK_EXPORTED = 1;
export const CHUNK_WRITTEN = 2;
/** The store did not have its values when it was to be rewritten: that is not tried again. */
export const CHUNK_BROKEN = 4;

/** A block: row of a Table, keyed by both users. */
export const BlockAt = {
  /** Pair: who blocks. */
  USER: 0,
  /** Pair: who is blocked. */
  BLOCKED: 2,
  NEXT: 4,
  PREVIOUS: 5,
} as const;
export const BLOCK_WORDS = 6;

/** Pool row, linked in ascending order of device key. */
export const WatcherAt = {
  NEXT: 0,
  /** Pair: device key of the watcher. */
  DEVICE: 1,
  /** Pair: logged time at which the watch ends. */
  EXPIRES: 3,
} as const;
export const WATCHER_WORDS = 5;

/** The latest presence of a watched user, or typing that waits. Pool row. */
export const UpdateAt = {
  NEXT: 0,
  PREVIOUS: 1,
  /** Kind.PRESENCE or Kind.TYPING. */
  KIND: 2,
  /** 1: to be sent when a window has room. */
  PENDING: 3,
  /** Pairs. PRESENCE: (0, subject, 0). TYPING: conversation and who types. */
  CONV_A: 4,
  CONV_B: 6,
  DEVICE: 8,
  STATE: 10,
  /** Pair: PRESENCE: last seen. */
  TIME: 11,
  /** Pair: logged time, at the subject, of the change. */
  STAMP: 13,
  /** Pair: when it is forgotten. */
  EXPIRES: 15,
} as const;
export const UPDATE_WORDS = 17;

const TWO_32 = 2 ** 32;

export function getPair(u32: Uint32Array, at: number): number {
  return u32[at + 1]! * TWO_32 + u32[at]!;
}

export function setPair(u32: Uint32Array, at: number, value: number): void {
  u32[at] = value >>> 0;
  u32[at + 1] = Math.floor(value / TWO_32);
}

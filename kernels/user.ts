/**
 * The user stage's ordinary entries and frames, in AssemblyScript over the linear memory that the plain TypeScript works on: the
 * same rows, the same bytes written. What is not ordinary is handed back and done by pipelines/user/, one entry or frame at a time;
 * the two can take turns at any of them. Ordinary is
 *
 * - a sequenced frame without a device table that has not expired, and a RECEIPT, for users who exist and have blocked nobody;
 * - an ACK of a device of such a user, whose inbox is in memory.
 *
 * Before anything is written it is sure that there is room for all that comes of it: rows, a block for the frame, output.
 *
 * With some hundred thousand users nearly every row is far away from the processor. So entries are taken in windows, and a window
 * is walked several times: one walk asks for the slots of the index, the next for the rows behind them, then for devices and the
 * ends of inboxes. Walks are short loops whose steps do not depend on each other, so that the processor waits for many lines at once.
 *
 * Layouts are those of core/frame.ts, core/batch.ts, core/table.ts, core/memory.ts, pool.ts, receipt-index.ts and rows.ts, in bytes.
 * A reference in a row is a word index; here it becomes an address at once.
 */

// --- frame (core/frame.ts): offsets of values, big-endian ---------------------------------------------------------------------
const AT_KIND: usize = 2;
const AT_FLAGS: usize = 4;
const AT_CONV_A: usize = 6;
const AT_CONV_B: usize = 15;
const AT_DEVICE: usize = 24;
const AT_COUNTER: usize = 33;
const AT_SEQ: usize = 38;
const AT_INBOX: usize = 43;
const AT_TIME: usize = 52;
const AT_EXTRA: usize = 61;
const AT_LENGTH: usize = 66;
const HEADER_BYTES: u32 = 70;
const KIND_MESSAGE: u32 = 1;
const KIND_GROUP_ROLE: u32 = 6;
const KIND_DELIVERED: u32 = 19;
const KIND_ACK: u32 = 33;
const KIND_RECEIPT: u32 = 50;
const KIND_CONNECT: u32 = 64;
const KIND_PULL: u32 = 66;
const KIND_SYNCED: u32 = 71;
const FLAG_DEVICE_TABLE: u32 = 1;
const FLAG_ENVELOPE: u32 = 2;

// --- lists of a batch (core/batch.ts) ----------------------------------------------------------------------------------------------
const RECIPIENT_BYTES: u32 = 8;
const RECIPIENT_HIGH: u32 = 0xffff;
const EXCEPT_SHIFT: u32 = 16;
const TARGET_BYTES: u32 = 24;
const TARGET_SENT: u32 = 2;
/** Targets of one entry (targets.ts). */
const TARGETS_MAX: u32 = 16_384;

// --- rows (pipelines/user/rows.ts) -------------------------------------------------------------------------------------------------
const USER_LAST: usize = 8;
const USER_DELIVERED: usize = 16;
const USER_FIRST_ENTRY: usize = 24;
const USER_LAST_ENTRY: usize = 28;
const USER_HOT_BYTES: usize = 32;
const USER_FIRST_DEVICE: usize = 36;
const USER_FIRST_CHUNK: usize = 40;
const USER_BLOCKS: usize = 44;
const USER_ALARM: usize = 48;
const USER_FLAGS: usize = 56;
const USER_SHIFT: u32 = 7;
const FLAG_DIRTY: u32 = 2;
const DEVICE_NUMBER: usize = 4;
const DEVICE_MODE: usize = 8;
const DEVICE_CURSOR: usize = 12;
const DEVICE_GATEWAY: usize = 20;
const DEVICE_INCARNATION: usize = 24;
const DEVICE_CONNECTION: usize = 28;
const DEVICE_TOKEN: usize = 32;
const MODE_LIVE: u32 = 3;
const ENTRY_NEXT: usize = 0;
const ENTRY_PREVIOUS: usize = 4;
const ENTRY_POSITION: usize = 8;
const ENTRY_BLOB: usize = 16;
const ENTRY_INFO: usize = 20;
const ENTRY_OWNER: usize = 24;
const ENTRY_CHAIN: usize = 28;
const ENTRY_BYTES: u32 = 32;
const ENTRY_EXPORTED: u32 = 0x100;
const ENTRY_WRITTEN: u32 = 0x200;
const ENTRY_OVERHEAD_BYTES: u32 = 32;
const BLOB_REFERENCES: usize = 0;
const BLOB_LENGTH: usize = 4;
const BLOB_DEADLINE: usize = 8;
const BLOB_ARRIVED: usize = 16;
const BLOB_EXPORT_RUN: usize = 24;
const BLOB_FRAME: usize = 32;
/** What exports count (state.ts, blobs.ts). */
const USER_EXPORT_BYTES: i64 = 220;
const ENTRY_EXPORT_BYTES: i64 = 16;
const BLOB_EXPORT_BYTES: i64 = 40;

// --- the allocator (core/memory.ts), pools (pool.ts), tables (core/table.ts) -----------------------------------------------------------
const MEMORY_FREE: usize = 64;
const MEMORY_TOP: usize = 200;
const MEMORY_LIVE_BYTES: usize = 208;
const LINE_BYTES: u64 = 64;
const PAGE_SHIFT: u64 = 16;
const POOL_FREE: usize = 0;
const POOL_NEXT: usize = 4;
const POOL_SIZE: usize = 12;
const POOL_ROWS: usize = 16;
const CHUNK_SHIFT: u32 = 10;
const CHUNK_MASK: u32 = 1_023;
const EMPTY: u32 = 0;
const DELETED: u32 = 0xffff_ffff;
const TAG_MASK: u32 = 0xff00_0000;
const TAG_FACTOR: u32 = 0x9e37_79b1;

// --- a window: places of entries, and of the users that they are for -------------------------------------------------------------------
const WINDOW: u32 = 128;
const RECIPIENTS_MAX: u32 = 1_024;
const PLACE_BYTES: u32 = 32;
const PLACE_FRAME: usize = 0;
const PLACE_LENGTH: usize = 4;
/** The frame's kind if it may be ordinary, otherwise 0. */
const PLACE_KIND: usize = 8;
/** Its users: address of the first place, and how many. */
const PLACE_PEOPLE: usize = 12;
const PLACE_COUNT: usize = 16;
/** A user: its id, and above that the number of the device that need not get the frame. */
const PERSON_BYTES: u32 = 32;
const PERSON_ID: usize = 0;
const PERSON_HIGH: usize = 4;
/** Slot of the index that is looked at, what it holds, and the tag that is looked for. */
const PERSON_SLOT: usize = 8;
const PERSON_ENTRY: usize = 12;
const PERSON_TAG: usize = 16;
/** Address of the row; 0: none. */
const PERSON_USER: usize = 20;
/** What lies behind that and is needed next, by address. */
const PERSON_NEXT: usize = 24;

// --- destinations: gateways by number, then conversation partitions -----------------------------------------------------------------------
const GATEWAYS: u32 = 256;
const PARTITIONS: u32 = 256;
const DESTINATION_SHIFT: u32 = 5;
/** Where its output is collected; 0: nowhere yet. How far that is filled, and by how many entries. */
const TO_AREA: usize = 0;
const TO_FILL: usize = 4;
const TO_ENTRIES: usize = 8;
/** Targets of the entry that is made, and whether one of them gets the payload. */
const TO_TARGETS: usize = 12;
const TO_PAYLOAD: usize = 16;

/** What the plain code must be told (pipelines/user/kernel.ts): word index of a user with the kind of note above it, and a value. */
const NOTE_BYTES: u32 = 16;
const NOTES_MAX: u32 = 4_096;
const NOTE_DIRTY: u32 = 0;
const NOTE_ALARM: u32 = 1;
const NOTE_DROPPED: u32 = 2;
const OUTPUTS_MAX: u32 = 4_096;
/** Conversations that one ACK reports: their frames fit into one area. */
const MARKS_MAX: u32 = 256;
const MARK_BYTES: u32 = 24;
/** Where a conversation's mark is: its number below the round that it is of; slots of earlier rounds are empty. */
const MARK_SLOTS_SHIFT: u32 = 10;
const MARK_SLOTS: u32 = 1 << MARK_SLOTS_SHIFT;
const ROUND_SHIFT: u32 = 9;
/** Sums of a run, as f64: see `tell`. */
const SUMS: u32 = 8;

/** What is walked: entries of a FANOUT batch, frames, or (2) frames only to find those that may read something of the store. */
const FAN_OUT: u32 = 0;
const FRAMES: u32 = 1;

/** What `run` answers. */
const DONE: u32 = 0;
const HAND_OVER: u32 = 1;
const FULL: u32 = 2;
const OPEN: u32 = 3;
const GROW: u32 = 4;

/** Ids and times above this are left to the plain code, which calculates with doubles. */
const EXACT_BITS: u64 = 52;

let usersTable: usize = 0;
let entriesPool: usize = 0;
let receiptsIndex: usize = 0;
let window: usize = 0;
let people: usize = 0;
let pending: usize = 0;
let destinations: usize = 0;
let actives: usize = 0;
let gatewaysOfEntry: usize = 0;
let notes: usize = 0;
let outputs: usize = 0;
let marks: usize = 0;
let markSlots: usize = 0;
let markRound: u32 = 0;
let sums: usize = 0;
/** Where the sum of what walks read only to have it near is put, so that it is read. */
let sink: usize = 0;
let areaBytes: u32 = 0;
let conversationPartitions: u64 = 0;
let queueTtlMs: u64 = 0;
let spillBytes: u64 = 0;

let userIndex: usize = 0;
let userMask: u32 = 0;
let userDirectory: usize = 0;

let what: u32 = 0;
let next: usize = 0;
let end: usize = 0;
let left: u32 = 0;
let place: u32 = 0;
let size: u32 = 0;
let persons: u32 = 0;
let hasCold: bool = false;
let nowMs: u64 = 0;
let lowestPosition: u64 = 0;
let spillAtMs: u64 = 0;

let active: u32 = 0;
let highestFill: u32 = 0;
let noteCount: u32 = 0;
let outputCount: u32 = 0;
let gatewayCount: u32 = 0;
let markCount: u32 = 0;
let wanted: u32 = 0;

let entries: u32 = 0;
let liveDeliveries: u32 = 0;
let delivered: u32 = 0;
let replaced: u32 = 0;
let blobs: i32 = 0;
let dirtyBytes: i64 = 0;

/** Bytes of `scratch`, which is zeroed. */
export function scratchBytes(): u32 {
  return (
    WINDOW * PLACE_BYTES +
    (WINDOW + RECIPIENTS_MAX) * (PERSON_BYTES + 4) +
    ((GATEWAYS + PARTITIONS) << DESTINATION_SHIFT) +
    (GATEWAYS + PARTITIONS + GATEWAYS) * 4 +
    NOTES_MAX * NOTE_BYTES +
    OUTPUTS_MAX * 4 +
    MARKS_MAX * MARK_BYTES +
    MARK_SLOTS * 4 +
    (SUMS + 1) * 8
  );
}

export function configure(
  users: usize,
  pool: usize,
  receipts: usize,
  scratch: usize,
  bytesOfArea: u32,
  partitions: u32,
  ttlMs: f64,
  inboxBytes: f64,
): void {
  usersTable = users;
  entriesPool = pool;
  receiptsIndex = receipts;
  window = scratch;
  people = window + WINDOW * PLACE_BYTES;
  pending = people + (WINDOW + RECIPIENTS_MAX) * PERSON_BYTES;
  destinations = pending + (WINDOW + RECIPIENTS_MAX) * 4;
  actives = destinations + ((GATEWAYS + PARTITIONS) << DESTINATION_SHIFT);
  gatewaysOfEntry = actives + (GATEWAYS + PARTITIONS) * 4;
  notes = gatewaysOfEntry + GATEWAYS * 4;
  outputs = notes + NOTES_MAX * NOTE_BYTES;
  marks = outputs + OUTPUTS_MAX * 4;
  markSlots = marks + MARKS_MAX * MARK_BYTES;
  sums = markSlots + MARK_SLOTS * 4;
  sink = sums + SUMS * 8;
  areaBytes = bytesOfArea;
  conversationPartitions = partitions;
  queueTtlMs = <u64>ttlMs;
  spillBytes = <u64>inboxBytes;
}

/** Begins a batch: its entries lie in [from, to). `spillMs`: when what comes now is written behind. */
export function begin(
  kindOfWalk: u32,
  from: usize,
  to: usize,
  count: u32,
  timeMs: f64,
  generation: u32,
  spillMs: f64,
  isCold: bool,
): void {
  what = kindOfWalk;
  next = from;
  end = to;
  left = count;
  nowMs = <u64>timeMs;
  lowestPosition = (<u64>generation) << 32;
  spillAtMs = <u64>spillMs;
  hasCold = isCold;
  size = 0;
  place = 0;
}

/** Goes on, behind what was handed over if `skip` is 1, until the batch is done or something is in the way. */
export function run(skip: u32): u32 {
  openTable();
  place += skip;
  while (true) {
    while (place < size) {
      const answer = handle(window + place * PLACE_BYTES);
      if (answer !== DONE) return answer;
      place++;
    }
    if (left === 0) return DONE;
    fill();
  }
}

/** Where the entry or frame lies that was handed over. */
export function handedOver(): usize {
  return load<u32>(window + place * PLACE_BYTES, PLACE_FRAME);
}

/** The destination that has no area yet. */
export function wantedDestination(): u32 {
  return wanted;
}

export function open(destination: u32, area: usize): void {
  store<u32>(destinations + (destination << DESTINATION_SHIFT), <u32>area, TO_AREA);
}

/** Writes the sums of the run; returns where they lie. */
export function tell(): usize {
  store<f64>(sums, <f64>noteCount);
  store<f64>(sums, <f64>outputCount, 8);
  store<f64>(sums, <f64>entries, 16);
  store<f64>(sums, <f64>liveDeliveries, 24);
  store<f64>(sums, <f64>delivered, 32);
  store<f64>(sums, <f64>replaced, 40);
  store<f64>(sums, <f64>blobs, 48);
  store<f64>(sums, <f64>dirtyBytes, 56);
  return sums;
}

export function notesAt(): usize {
  return notes;
}

/** For each output its destination, in order. */
export function outputsAt(): usize {
  return outputs;
}

export function activeCount(): u32 {
  return active;
}

export function activeAt(n: u32): u32 {
  return load<u32>(actives + (n << 2));
}

export function areaOf(destination: u32): usize {
  return load<u32>(destinations + (destination << DESTINATION_SHIFT), TO_AREA);
}

export function bytesOf(destination: u32): u32 {
  return load<u32>(destinations + (destination << DESTINATION_SHIFT), TO_FILL);
}

export function entriesOf(destination: u32): u32 {
  return load<u32>(destinations + (destination << DESTINATION_SHIFT), TO_ENTRIES);
}

/** Output, notes and sums were taken. */
export function clear(): void {
  for (let n: u32 = 0; n < active; n++) {
    const to = destinations + (load<u32>(actives + (n << 2)) << DESTINATION_SHIFT);
    store<u32>(to, 0, TO_FILL);
    store<u32>(to, 0, TO_ENTRIES);
  }
  active = 0;
  highestFill = 0;
  noteCount = 0;
  outputCount = 0;
  entries = 0;
  liveDeliveries = 0;
  delivered = 0;
  replaced = 0;
  blobs = 0;
  dirtyBytes = 0;
}

// --- the index of users ---------------------------------------------------------------------------------------------------------------

/** It may have moved since the last call. */
function openTable(): void {
  userIndex = load<u32>(usersTable);
  userMask = load<u32>(usersTable, 4) - 1;
  userDirectory = load<u32>(usersTable, 8);
}

function userAt(row: u32): usize {
  return (load<u32>(userDirectory + ((row >>> CHUNK_SHIFT) << 2)) << 2) + ((row & CHUNK_MASK) << USER_SHIFT);
}

function mix(word: u32): u32 {
  let h = word;
  h = (h ^ (h >>> 16)) * 0x85ebca6b;
  h = (h ^ (h >>> 13)) * 0xc2b2ae35;
  return h ^ (h >>> 16);
}

function hash(aLow: u32, aHigh: u32, bLow: u32, bHigh: u32): u32 {
  let h = mix(aLow ^ 0x9e3779b9);
  h = mix(h ^ aHigh);
  h = mix((h * 5) ^ bLow);
  return mix(h ^ bHigh);
}

// --- a window ------------------------------------------------------------------------------------------------------------------------

function fill(): void {
  place = 0;
  size = 0;
  persons = 0;
  while (left > 0 && hasRoom()) {
    const at = window + size++ * PLACE_BYTES;
    store<u32>(at, 0, PLACE_KIND);
    store<u32>(at, <u32>next, PLACE_FRAME);
    store<u32>(at, <u32>(people + persons * PERSON_BYTES), PLACE_PEOPLE);
    store<u32>(at, 0, PLACE_COUNT);
    left--;
    if (what === FAN_OUT) readEntry(at);
    else readFrame(at);
  }
  findPeople();
  if (what === FAN_OUT) reachInboxes();
  else if (what === FRAMES) reachAcknowledged();
}

function hasRoom(): bool {
  return size < WINDOW && persons < WINDOW;
}

/** Length of the frame at `next`; 0: it is cut, and the batch ends here. */
function frameLength(): u32 {
  const room = <u32>(end - next);
  const payloadBytes = room >= HEADER_BYTES ? bswap<u32>(load<u32>(next, AT_LENGTH)) : 0;
  if (room >= HEADER_BYTES && payloadBytes <= room - HEADER_BYTES) return HEADER_BYTES + payloadBytes;
  left = 0;
  return 0;
}

function readEntry(at: usize): void {
  const frame = next;
  const length = frameLength();
  const list = frame + length;
  if (length === 0 || <u32>(end - list) < 4) {
    left = 0;
    return;
  }
  const count = load<u32>(list);
  if (count > <u32>(end - list - 4) / RECIPIENT_BYTES) {
    left = 0;
    return;
  }
  next = list + 4 + count * RECIPIENT_BYTES;
  const kind: u32 = load<u8>(frame, AT_KIND);
  const isSequenced = kind >= KIND_MESSAGE && kind <= KIND_GROUP_ROLE;
  const hasTable = (load<u8>(frame, AT_FLAGS) & FLAG_DEVICE_TABLE) !== 0;
  if (count > RECIPIENTS_MAX || !((isSequenced && !hasTable) || kind === KIND_RECEIPT)) return;
  const highest = bswap<u64>(load<u64>(frame, AT_DEVICE)) | bswap<u64>(load<u64>(frame, AT_TIME));
  if (highest >>> EXACT_BITS !== 0) return;
  store<u32>(at, length, PLACE_LENGTH);
  store<u32>(at, kind, PLACE_KIND);
  store<u32>(at, count, PLACE_COUNT);
  for (let n: u32 = 0; n < count; n++) {
    const recipient = load<u64>(list + 4 + n * RECIPIENT_BYTES);
    addPerson(<u32>recipient, <u32>(recipient >>> 32));
  }
}

function readFrame(at: usize): void {
  const frame = next;
  const length = frameLength();
  if (length === 0) return;
  next += length;
  const kind: u32 = load<u8>(frame, AT_KIND);
  if (what === FRAMES) {
    if (kind !== KIND_ACK) return;
  } else {
    if (kind === KIND_SYNCED) return;
    store<u32>(at, kind, PLACE_KIND);
    if (!hasCold || (kind !== KIND_ACK && kind !== KIND_PULL && kind !== KIND_CONNECT)) return;
  }
  const user = bswap<u64>(load<u64>(frame, AT_DEVICE)) >>> 7;
  // No user has such an id.
  if (user >>> 48 !== 0) {
    store<u32>(at, 0, PLACE_KIND);
    return;
  }
  store<u32>(at, kind, PLACE_KIND);
  store<u32>(at, 1, PLACE_COUNT);
  addPerson(<u32>user, <u32>(user >>> 32));
}

function addPerson(low: u32, high: u32): void {
  const person = people + persons++ * PERSON_BYTES;
  store<u32>(person, low, PERSON_ID);
  store<u32>(person, high, PERSON_HIGH);
  const slot = hash(low, high & RECIPIENT_HIGH, 0, 0);
  store<u32>(person, slot & userMask, PERSON_SLOT);
  store<u32>(person, slot * TAG_FACTOR, PERSON_TAG);
}

/** From the slot on, the next entry with the tag, or an empty one. */
function findTag(person: usize): void {
  const tag = load<u32>(person, PERSON_TAG);
  let slot = load<u32>(person, PERSON_SLOT);
  let entry = load<u32>(userIndex + (slot << 2));
  while (entry !== EMPTY && (((entry ^ tag) & TAG_MASK) !== 0 || entry === DELETED)) {
    slot = (slot + 1) & userMask;
    entry = load<u32>(userIndex + (slot << 2));
  }
  store<u32>(person, slot, PERSON_SLOT);
  store<u32>(person, entry, PERSON_ENTRY);
}

function findPeople(): void {
  const last = people + persons * PERSON_BYTES;
  let sum: u32 = 0;
  for (let person = people; person < last; person += PERSON_BYTES) {
    sum += load<u32>(userIndex + (load<u32>(person, PERSON_SLOT) << 2));
  }
  for (let person = people; person < last; person += PERSON_BYTES) {
    findTag(person);
    candidate(person);
  }
  for (let person = people; person < last; person += PERSON_BYTES) sum += load<u32>(load<u32>(person, PERSON_USER));
  store<u32>(sink, sum);
  for (let person = people; person < last; person += PERSON_BYTES) {
    const id = load<u64>(person, PERSON_ID) & 0xffff_ffff_ffff;
    while (load<u32>(person, PERSON_ENTRY) !== EMPTY && load<u64>(load<u32>(person, PERSON_USER)) !== id) {
      store<u32>(person, (load<u32>(person, PERSON_SLOT) + 1) & userMask, PERSON_SLOT);
      findTag(person);
      candidate(person);
    }
  }
}

function candidate(person: usize): void {
  const entry = load<u32>(person, PERSON_ENTRY);
  store<u32>(person, entry === EMPTY ? 0 : <u32>userAt((entry & ~TAG_MASK) - 1), PERSON_USER);
}

/** Asks for first devices and last entries; for receipts also for the entry that may be the older one. */
function reachInboxes(): void {
  const last = window + size * PLACE_BYTES;
  let sum: u32 = 0;
  for (let at = window; at < last; at += PLACE_BYTES) {
    let person: usize = load<u32>(at, PLACE_PEOPLE);
    const lastPerson = person + load<u32>(at, PLACE_COUNT) * PERSON_BYTES;
    const isReceipt = load<u32>(at, PLACE_KIND) === KIND_RECEIPT;
    const frame: usize = load<u32>(at, PLACE_FRAME);
    const conversation = isReceipt ? hashOfReceipt(frame) : 0;
    const whose = isReceipt ? load<u32>(frame, AT_DEVICE) ^ load<u32>(frame, AT_DEVICE + 4) : 0;
    for (; person < lastPerson; person += PERSON_BYTES) {
      const user: usize = load<u32>(person, PERSON_USER);
      sum += load<u32>(load<u32>(user, USER_FIRST_DEVICE) << 2) + load<u32>(load<u32>(user, USER_LAST_ENTRY) << 2);
      const bucket = isReceipt ? bucketOf(conversation, bswap<u32>(whose), <u32>user >>> 2) : 0;
      store<u32>(person, load<u32>(bucket) << 2, PERSON_NEXT);
    }
  }
  // Of nothing, and of what is no receipt, word 0 of the memory.
  const lastPerson = people + persons * PERSON_BYTES;
  for (let person = people; person < lastPerson; person += PERSON_BYTES) {
    const older: usize = load<u32>(person, PERSON_NEXT);
    if (older !== 0) store<u32>(person, load<u32>(older, ENTRY_BLOB) << 2, PERSON_NEXT);
  }
  for (let person = people; person < lastPerson; person += PERSON_BYTES)
    sum += load<u32>(load<u32>(person, PERSON_NEXT));
  store<u32>(sink, sum);
}

/** Asks for devices, and for the first entry of each inbox with its frame. */
function reachAcknowledged(): void {
  const last = people + persons * PERSON_BYTES;
  let sum: u32 = 0;
  for (let person = people; person < last; person += PERSON_BYTES) {
    const user: usize = load<u32>(person, PERSON_USER);
    const entry = user === 0 ? 0 : load<u32>(user, USER_FIRST_ENTRY) << 2;
    sum += load<u32>(load<u32>(user, USER_FIRST_DEVICE) << 2) + load<u32>(entry);
    store<u32>(person, entry, PERSON_NEXT);
  }
  for (let person = people; person < last; person += PERSON_BYTES) {
    const entry: usize = load<u32>(person, PERSON_NEXT);
    store<u32>(person, entry === 0 ? 0 : load<u32>(entry, ENTRY_BLOB) << 2, PERSON_NEXT);
  }
  for (let person = people; person < last; person += PERSON_BYTES) {
    const blob: usize = load<u32>(person, PERSON_NEXT);
    sum += load<u32>(blob) + load<u32>(blob, BLOB_FRAME + AT_SEQ);
  }
  store<u32>(sink, sum);
}

// --- one of them -----------------------------------------------------------------------------------------------------------------------

function handle(at: usize): u32 {
  const kind = load<u32>(at, PLACE_KIND);
  if (kind === 0) return HAND_OVER;
  if (what === FAN_OUT) return kind === KIND_RECEIPT ? takeReceipt(at) : takeSequenced(at);
  const user: usize = load<u32>(at, PLACE_COUNT) === 0 ? 0 : load<u32>(load<u32>(at, PLACE_PEOPLE), PERSON_USER);
  if (what === FRAMES) return acknowledge(at, user);
  return user !== 0 && load<u32>(user, USER_FIRST_CHUNK) !== 0 ? HAND_OVER : DONE;
}

/** True if `bytes` more fit into every area. */
function fits(bytes: u32): bool {
  return highestFill + bytes <= areaBytes;
}

/**
 * DONE if all that the entry's users need is there. Users who do not exist yet, or have blocked somebody, are for the plain code; if
 * one was made since the window was filled, it is, too.
 */
function check(at: usize, length: u32): u32 {
  const count = load<u32>(at, PLACE_COUNT);
  let person: usize = load<u32>(at, PLACE_PEOPLE);
  const last = person + count * PERSON_BYTES;
  let targets: u32 = 0;
  for (; person < last; person += PERSON_BYTES) {
    const user: usize = load<u32>(person, PERSON_USER);
    if (user === 0 || load<u32>(user, USER_BLOCKS) !== 0) return HAND_OVER;
    let device: usize = load<u32>(user, USER_FIRST_DEVICE) << 2;
    for (; device !== 0; device = load<u32>(device) << 2) {
      if (load<u32>(device, DEVICE_MODE) !== MODE_LIVE) continue;
      const gateway = load<u32>(device, DEVICE_GATEWAY);
      if (gateway >= GATEWAYS) return HAND_OVER;
      if (load<u32>(destinations + (gateway << DESTINATION_SHIFT), TO_AREA) === 0) {
        wanted = gateway;
        return OPEN;
      }
      targets++;
    }
  }
  if (targets > TARGETS_MAX) return HAND_OVER;
  if (!fits(length + 4 + targets * TARGET_BYTES)) return FULL;
  if (noteCount + 3 * count > NOTES_MAX || outputCount + min(targets, GATEWAYS) > OUTPUTS_MAX) return FULL;
  return load<u32>(entriesPool, POOL_ROWS) - load<u32>(entriesPool, POOL_SIZE) < count ? GROW : DONE;
}

/** As `deadlineOf`. */
function deadlineOf(frame: usize, seconds: u64): u64 {
  const time = bswap<u64>(load<u64>(frame, AT_TIME));
  const sentMs = time === 0 ? nowMs : time;
  return sentMs + (seconds === 0 ? queueTtlMs : min(seconds * 1_000, queueTtlMs));
}

function takeSequenced(at: usize): u32 {
  const frame: usize = load<u32>(at, PLACE_FRAME);
  const length = load<u32>(at, PLACE_LENGTH);
  const isMessage = load<u32>(at, PLACE_KIND) === KIND_MESSAGE;
  const deadline = deadlineOf(frame, isMessage ? bswap<u32>(load<u32>(frame, AT_EXTRA)) : 0);
  if (deadline <= nowMs) return HAND_OVER;
  const answer = check(at, length);
  if (answer !== DONE) return answer;
  const count = load<u32>(at, PLACE_COUNT);
  // It would be freed at once.
  if (count === 0) return DONE;
  const blob = makeBlob(frame, length, deadline);
  if (blob === 0) return GROW;
  store<u32>(blob, count, BLOB_REFERENCES);
  const device = bswap<u64>(load<u64>(frame, AT_DEVICE));
  const number = <u32>(device & 127);
  let person: usize = load<u32>(at, PLACE_PEOPLE);
  const last = person + count * PERSON_BYTES;
  for (; person < last; person += PERSON_BYTES) {
    const user: usize = load<u32>(person, PERSON_USER);
    const position = append(user, blob, length, load<u32>(at, PLACE_KIND));
    collectLive(user, position, length, load<u64>(user) === device >>> 7 ? number : 0);
  }
  sendCollected(frame, length);
  return DONE;
}

function takeReceipt(at: usize): u32 {
  const frame: usize = load<u32>(at, PLACE_FRAME);
  const length = load<u32>(at, PLACE_LENGTH);
  const answer = check(at, length);
  if (answer !== DONE) return answer;
  const count = load<u32>(at, PLACE_COUNT);
  if (count === 0) return DONE;
  if (load<u32>(receiptsIndex, 8) + count > load<u32>(receiptsIndex, 4)) return GROW;
  const blob = makeBlob(frame, length, deadlineOf(frame, 0));
  if (blob === 0) return GROW;
  store<u32>(blob, 1, BLOB_REFERENCES);
  const conversation = hashOfReceipt(frame);
  let person: usize = load<u32>(at, PLACE_PEOPLE);
  const last = person + count * PERSON_BYTES;
  for (; person < last; person += PERSON_BYTES) {
    const user: usize = load<u32>(person, PERSON_USER);
    if (isNotNeeded(user, load<u32>(person, PERSON_HIGH) >>> EXCEPT_SHIFT)) continue;
    const bucket = bucketOfReceipt(conversation, frame, user);
    replaceOlder(user, frame, bucket);
    store<u32>(blob, load<u32>(blob, BLOB_REFERENCES) + 1, BLOB_REFERENCES);
    const position = append(user, blob, length, KIND_RECEIPT);
    addReceipt(user, load<u32>(user, USER_LAST_ENTRY), bucket);
    collectLive(user, position, length, 0);
  }
  releaseBlob(blob);
  sendCollected(frame, length);
  return DONE;
}

/** True if the only device that the user has is the one with this number. */
function isNotNeeded(user: usize, number: u32): bool {
  const device: usize = load<u32>(user, USER_FIRST_DEVICE) << 2;
  return number !== 0 && device !== 0 && load<u32>(device) === 0 && load<u32>(device, DEVICE_NUMBER) === number;
}

// --- blobs (blobs.ts, core/memory.ts) ----------------------------------------------------------------------------------------------------

function classOf(bytes: u32): u32 {
  return 32 - <u32>clz<u32>(bytes - 1);
}

/** A blob with a copy of the frame, arrived now; 0: there is no room for it, and nothing happened. Its references are the caller's. */
function makeBlob(frame: usize, length: u32, deadline: u64): usize {
  const shift = classOf(<u32>BLOB_FRAME + length);
  const blockBytes: u64 = 1 << (<u64>shift);
  const free = MEMORY_FREE + (shift << 2);
  let blob: usize = load<u32>(free);
  if (blob !== 0) store<u32>(free, load<u32>(blob));
  else {
    const at = (<u64>load<f64>(MEMORY_TOP) + LINE_BYTES - 1) & ~(LINE_BYTES - 1);
    if (at + blockBytes > (<u64>memory.size()) << PAGE_SHIFT) return 0;
    store<f64>(MEMORY_TOP, <f64>(at + blockBytes));
    blob = <usize>at;
  }
  store<f64>(MEMORY_LIVE_BYTES, load<f64>(MEMORY_LIVE_BYTES) + <f64>blockBytes);
  store<u32>(blob, length, BLOB_LENGTH);
  store<u64>(blob, deadline, BLOB_DEADLINE);
  store<u64>(blob, nowMs, BLOB_ARRIVED);
  store<u64>(blob, 0, BLOB_EXPORT_RUN);
  copy(blob + BLOB_FRAME, frame, length);
  blobs++;
  dirtyBytes += <i64>length + BLOB_EXPORT_BYTES;
  return blob;
}

function releaseBlob(blob: usize): void {
  const references = load<u32>(blob, BLOB_REFERENCES) - 1;
  store<u32>(blob, references, BLOB_REFERENCES);
  if (references !== 0) return;
  const length = load<u32>(blob, BLOB_LENGTH);
  if (load<u32>(blob, BLOB_EXPORT_RUN) === 0) dirtyBytes -= <i64>length + BLOB_EXPORT_BYTES;
  blobs--;
  const shift = classOf(<u32>BLOB_FRAME + length);
  const free = MEMORY_FREE + (shift << 2);
  store<u32>(blob, load<u32>(free));
  store<u32>(free, <u32>blob);
  store<f64>(MEMORY_LIVE_BYTES, load<f64>(MEMORY_LIVE_BYTES) - <f64>((<u64>1) << (<u64>shift)));
}

// --- the inbox (inbox.ts) ------------------------------------------------------------------------------------------------------------------

/** Appends an entry; returns its position. */
function append(user: usize, blob: usize, length: u32, kind: u32): u64 {
  const position = max(load<u64>(user, USER_LAST), lowestPosition) + 1;
  store<u64>(user, position, USER_LAST);
  const entry = takeRow();
  const previous = load<u32>(user, USER_LAST_ENTRY);
  store<u32>(entry, 0, ENTRY_NEXT);
  store<u32>(entry, previous, ENTRY_PREVIOUS);
  store<u64>(entry, position, ENTRY_POSITION);
  store<u32>(entry, <u32>blob >>> 2, ENTRY_BLOB);
  store<u32>(entry, kind, ENTRY_INFO);
  store<u64>(entry, 0, ENTRY_OWNER);
  if (previous === 0) store<u32>(user, <u32>entry >>> 2, USER_FIRST_ENTRY);
  else store<u32>(previous << 2, <u32>entry >>> 2, ENTRY_NEXT);
  store<u32>(user, <u32>entry >>> 2, USER_LAST_ENTRY);
  const hotBytes = load<u32>(user, USER_HOT_BYTES) + length + ENTRY_OVERHEAD_BYTES;
  store<u32>(user, hotBytes, USER_HOT_BYTES);
  touch(user);
  dirtyBytes += ENTRY_EXPORT_BYTES;
  entries++;
  if (<u64>hotBytes > spillBytes) setAlarm(user, nowMs);
  else if (previous === 0) setAlarm(user, spillAtMs);
  return position;
}

/** A row of the pool of entries, which has one. */
function takeRow(): usize {
  store<u32>(entriesPool, load<u32>(entriesPool, POOL_SIZE) + 1, POOL_SIZE);
  const free: usize = load<u32>(entriesPool, POOL_FREE) << 2;
  if (free !== 0) {
    store<u32>(entriesPool, load<u32>(free), POOL_FREE);
    return free;
  }
  const row = load<u32>(entriesPool, POOL_NEXT);
  store<u32>(entriesPool, row + (ENTRY_BYTES >>> 2), POOL_NEXT);
  return row << 2;
}

/** As `touch` of state.ts. */
function touch(user: usize): void {
  const flags = load<u32>(user, USER_FLAGS);
  if ((flags & FLAG_DIRTY) !== 0) return;
  store<u32>(user, flags | FLAG_DIRTY, USER_FLAGS);
  dirtyBytes += USER_EXPORT_BYTES;
  note(user, NOTE_DIRTY, 0);
}

function setAlarm(user: usize, time: u64): void {
  const set = load<u64>(user, USER_ALARM);
  if (set !== 0 && set <= time) return;
  store<u64>(user, time, USER_ALARM);
  note(user, NOTE_ALARM, time);
}

function note(user: usize, kind: u32, value: u64): void {
  const at = notes + noteCount++ * NOTE_BYTES;
  store<u32>(at, <u32>user >>> 2);
  store<u32>(at, kind, 4);
  store<u64>(at, value, 8);
}

function freeEntry(user: usize, entry: usize): void {
  const info = load<u32>(entry, ENTRY_INFO);
  const blob: usize = load<u32>(entry, ENTRY_BLOB) << 2;
  if ((info & 0xff) === KIND_RECEIPT) removeReceipt(user, entry, blob);
  const after = load<u32>(entry, ENTRY_NEXT);
  const before = load<u32>(entry, ENTRY_PREVIOUS);
  if (before === 0) store<u32>(user, after, USER_FIRST_ENTRY);
  else store<u32>(before << 2, after, ENTRY_NEXT);
  if (after === 0) store<u32>(user, before, USER_LAST_ENTRY);
  else store<u32>(after << 2, before, ENTRY_PREVIOUS);
  const bytes = load<u32>(blob, BLOB_LENGTH) + ENTRY_OVERHEAD_BYTES;
  store<u32>(user, load<u32>(user, USER_HOT_BYTES) - bytes, USER_HOT_BYTES);
  if ((info & ENTRY_EXPORTED) === 0) dirtyBytes -= ENTRY_EXPORT_BYTES;
  releaseBlob(blob);
  store<u32>(entry, load<u32>(entriesPool, POOL_FREE));
  store<u32>(entriesPool, <u32>entry >>> 2, POOL_FREE);
  store<u32>(entriesPool, load<u32>(entriesPool, POOL_SIZE) - 1, POOL_SIZE);
}

// --- receipts (receipt-index.ts) -------------------------------------------------------------------------------------------------------------

function hashOfReceipt(frame: usize): u32 {
  const a = bswap<u64>(load<u64>(frame, AT_CONV_A));
  const b = bswap<u64>(load<u64>(frame, AT_CONV_B));
  return hash(<u32>a, <u32>(a >>> 32), <u32>b, <u32>(b >>> 32));
}

function bucketOf(conversation: u32, whose: u32, user: u32): usize {
  const mask = load<u32>(receiptsIndex, 4) - 1;
  return load<u32>(receiptsIndex) + ((hash(conversation, whose, user, 0) & mask) << 2);
}

function bucketOfReceipt(conversation: u32, frame: usize, user: usize): usize {
  const whose = bswap<u32>(load<u32>(frame, AT_DEVICE) ^ load<u32>(frame, AT_DEVICE + 4));
  return bucketOf(conversation, whose, <u32>user >>> 2);
}

function addReceipt(user: usize, entry: u32, bucket: usize): void {
  store<u32>(entry << 2, <u32>user >>> 2, ENTRY_OWNER);
  store<u32>(entry << 2, load<u32>(bucket), ENTRY_CHAIN);
  store<u32>(bucket, entry);
  store<u32>(receiptsIndex, load<u32>(receiptsIndex, 8) + 1, 8);
}

function removeReceipt(user: usize, entry: usize, blob: usize): void {
  const frame = blob + BLOB_FRAME;
  // From a bucket or an entry to the next entry: where the reference lies.
  let reference = bucketOfReceipt(hashOfReceipt(frame), frame, user);
  while (load<u32>(reference) << 2 !== <u32>entry) reference = (load<u32>(reference) << 2) + ENTRY_CHAIN;
  store<u32>(reference, load<u32>(entry, ENTRY_CHAIN));
  store<u32>(receiptsIndex, load<u32>(receiptsIndex, 8) - 1, 8);
}

/** Takes out the user's older receipt of the same conversation and user, if there is one. */
function replaceOlder(user: usize, frame: usize, bucket: usize): void {
  let entry: usize = load<u32>(bucket) << 2;
  for (; entry !== 0; entry = load<u32>(entry, ENTRY_CHAIN) << 2) {
    if (load<u32>(entry, ENTRY_OWNER) << 2 !== <u32>user) continue;
    const other: usize = (load<u32>(entry, ENTRY_BLOB) << 2) + BLOB_FRAME;
    if (load<u64>(frame, AT_CONV_B) !== load<u64>(other, AT_CONV_B)) continue;
    if (load<u64>(frame, AT_CONV_A) !== load<u64>(other, AT_CONV_A)) continue;
    if (load<u64>(frame, AT_DEVICE) === load<u64>(other, AT_DEVICE)) break;
  }
  if (entry === 0) return;
  replaced++;
  const isWritten = (load<u32>(entry, ENTRY_INFO) & ENTRY_WRITTEN) !== 0;
  if (isWritten) note(user, NOTE_DROPPED, load<u64>(entry, ENTRY_POSITION));
  freeEntry(user, entry);
}

// --- deliveries (deliver.ts, targets.ts) ---------------------------------------------------------------------------------------------------------

/**
 * Adds the user's live connections as targets of the frame of `length` bytes. They are written where they will stay, if one of
 * them gets the payload.
 */
function collectLive(user: usize, position: u64, length: u32, sender: u32): void {
  let device: usize = load<u32>(user, USER_FIRST_DEVICE) << 2;
  for (; device !== 0; device = load<u32>(device) << 2) {
    if (load<u32>(device, DEVICE_MODE) !== MODE_LIVE) continue;
    liveDeliveries++;
    const gateway = load<u32>(device, DEVICE_GATEWAY);
    const to = destinations + (gateway << DESTINATION_SHIFT);
    const count = load<u32>(to, TO_TARGETS);
    if (count === 0) {
      store<u32>(gatewaysOfEntry + (gatewayCount++ << 2), gateway);
      store<u32>(to, 0, TO_PAYLOAD);
    }
    store<u32>(to, count + 1, TO_TARGETS);
    const isSender = load<u32>(device, DEVICE_NUMBER) === sender;
    if (!isSender) store<u32>(to, 1, TO_PAYLOAD);
    const at = load<u32>(to, TO_AREA) + load<u32>(to, TO_FILL) + length + 4 + count * TARGET_BYTES;
    store<u32>(at, load<u32>(device, DEVICE_CONNECTION));
    store<u32>(at, load<u32>(device, DEVICE_INCARNATION), 4);
    store<u32>(at, load<u32>(device, DEVICE_TOKEN), 8);
    store<u64>(at, position, 12);
    store<u32>(at, isSender ? TARGET_SENT : 0, 20);
  }
}

/** Puts the frame before the targets of each gateway. Where every target leaves the payload out, the gateway gets the header alone. */
function sendCollected(frame: usize, length: u32): void {
  for (let n: u32 = 0; n < gatewayCount; n++) {
    const gateway = load<u32>(gatewaysOfEntry + (n << 2));
    const to = destinations + (gateway << DESTINATION_SHIFT);
    const count = load<u32>(to, TO_TARGETS);
    store<u32>(to, 0, TO_TARGETS);
    const at: usize = load<u32>(to, TO_AREA) + load<u32>(to, TO_FILL);
    const frameBytes = load<u32>(to, TO_PAYLOAD) !== 0 ? length : HEADER_BYTES;
    if (frameBytes !== length) {
      memory.copy(at + HEADER_BYTES + 4, at + length + 4, count * TARGET_BYTES);
      copy(at, frame, HEADER_BYTES);
      store<u32>(at, 0, AT_LENGTH);
      store<u8>(at, (load<u8>(at, AT_FLAGS) & ~FLAG_DEVICE_TABLE) | FLAG_ENVELOPE, AT_FLAGS);
    } else copy(at, frame, length);
    store<u32>(at + frameBytes, count);
    wrote(gateway, to, frameBytes + 4 + count * TARGET_BYTES);
  }
  gatewayCount = 0;
}

/** Notes that an entry of `bytes` was written behind the last one. */
function wrote(destination: u32, to: usize, bytes: u32): void {
  const filled = load<u32>(to, TO_FILL);
  if (filled === 0) store<u32>(actives + (active++ << 2), destination);
  store<u32>(to, filled + bytes, TO_FILL);
  store<u32>(to, load<u32>(to, TO_ENTRIES) + 1, TO_ENTRIES);
  highestFill = max(highestFill, filled + bytes);
  store<u32>(outputs + (outputCount++ << 2), destination);
}

// --- acknowledgements (acks.ts) --------------------------------------------------------------------------------------------------------------------

function acknowledge(at: usize, user: usize): u32 {
  // One that is not there may have come since the window was filled.
  if (user === 0) return HAND_OVER;
  const frame: usize = load<u32>(at, PLACE_FRAME);
  const number = load<u8>(frame, AT_DEVICE + 7) & 127;
  let device: usize = load<u32>(user, USER_FIRST_DEVICE) << 2;
  while (device !== 0 && load<u32>(device, DEVICE_NUMBER) !== number) device = load<u32>(device) << 2;
  if (device === 0) return DONE;
  const position = bswap<u64>(load<u64>(frame, AT_INBOX));
  if (position > load<u64>(user, USER_LAST)) return HAND_OVER;
  const cursor = load<u64>(device, DEVICE_CURSOR);
  if (position <= cursor) return DONE;
  if (load<u32>(user, USER_FIRST_CHUNK) !== 0 || load<u32>(user, USER_BLOCKS) !== 0) return HAND_OVER;
  if (noteCount === NOTES_MAX) return FULL;
  const reported = load<u64>(user, USER_DELIVERED);
  const from = max(reported, cursor);
  if (position > from) {
    if (!markEntries(user, from, position)) return HAND_OVER;
    const answer = reportDelivered(user);
    if (answer !== DONE) return answer;
    if (from === reported) store<u64>(user, position, USER_DELIVERED);
  }
  touch(user);
  store<u64>(device, position, DEVICE_CURSOR);
  freeAcknowledged(user);
  return DONE;
}

function freeAcknowledged(user: usize): void {
  let lowest: u64 = u64.MAX_VALUE;
  let device: usize = load<u32>(user, USER_FIRST_DEVICE) << 2;
  for (; device !== 0; device = load<u32>(device) << 2) lowest = min(lowest, load<u64>(device, DEVICE_CURSOR));
  let entry: usize = load<u32>(user, USER_FIRST_ENTRY) << 2;
  while (entry !== 0 && load<u64>(entry, ENTRY_POSITION) <= lowest) {
    const after: usize = load<u32>(entry, ENTRY_NEXT) << 2;
    freeEntry(user, entry);
    entry = after;
  }
}

/** As `markHot`, from both ends at once. False: that is for the plain code. */
function markEntries(user: usize, from: u64, to: u64): bool {
  beginMarks();
  let front: usize = load<u32>(user, USER_FIRST_ENTRY) << 2;
  let back: usize = load<u32>(user, USER_LAST_ENTRY) << 2;
  while (front !== 0 && back !== 0) {
    if (load<u64>(front, ENTRY_POSITION) > from) return markRun(front, ENTRY_NEXT, from, to);
    if (load<u64>(back, ENTRY_POSITION) <= to) return markRun(back, ENTRY_PREVIOUS, from, to);
    front = load<u32>(front, ENTRY_NEXT) << 2;
    back = load<u32>(back, ENTRY_PREVIOUS) << 2;
  }
  return true;
}

function markRun(first: usize, direction: usize, from: u64, to: u64): bool {
  for (let entry = first; entry !== 0; entry = load<u32>(entry + direction) << 2) {
    const position = load<u64>(entry, ENTRY_POSITION);
    if (position <= from || position > to) return true;
    const kind = load<u32>(entry, ENTRY_INFO) & 0xff;
    if (kind < KIND_MESSAGE || kind > KIND_GROUP_ROLE) continue;
    if (!mark((load<u32>(entry, ENTRY_BLOB) << 2) + BLOB_FRAME)) return false;
  }
  return true;
}

function beginMarks(): void {
  markCount = 0;
  if (++markRound >>> (32 - ROUND_SHIFT) === 0) return;
  memory.fill(markSlots, 0, MARK_SLOTS * 4);
  markRound = 1;
}

/** The highest sequence of each conversation, in order of first mention; ids as the frame has them. */
function mark(frame: usize): bool {
  const a = load<u64>(frame, AT_CONV_A);
  const b = load<u64>(frame, AT_CONV_B);
  const seq = bswap<u32>(load<u32>(frame, AT_SEQ));
  // A device acknowledges many conversations at once when much comes: a look at each mark would cost more than all else here.
  let slot = <u32>(((a * 0x1e3779b97f4a7d) ^ (b * 0x12b2ae3d27d4eb)) >>> (64 - MARK_SLOTS_SHIFT));
  for (;;) {
    const found = load<u32>(markSlots + (slot << 2));
    if (found >>> ROUND_SHIFT !== markRound) break;
    const at = marks + (found & ((1 << ROUND_SHIFT) - 1)) * MARK_BYTES;
    if (load<u64>(at) === a && load<u64>(at, 8) === b) {
      store<u32>(at, max(load<u32>(at, 16), seq), 16);
      return true;
    }
    slot = (slot + 1) & (MARK_SLOTS - 1);
  }
  if (markCount === MARKS_MAX || (bswap<u64>(a) | bswap<u64>(b)) >>> EXACT_BITS !== 0) return false;
  store<u32>(markSlots + (slot << 2), (markRound << ROUND_SHIFT) | markCount);
  const last = marks + markCount * MARK_BYTES;
  markCount++;
  store<u64>(last, a);
  store<u64>(last, b, 8);
  store<u32>(last, seq, 16);
  return true;
}

/** A DELIVERED for each conversation that was marked. */
function reportDelivered(user: usize): u32 {
  if (markCount === 0) return DONE;
  if (!fits(markCount * HEADER_BYTES) || outputCount + markCount > OUTPUTS_MAX) return FULL;
  const last = marks + markCount * MARK_BYTES;
  for (let at = marks; at < last; at += MARK_BYTES) {
    const destination = GATEWAYS + partitionOf(bswap<u64>(load<u64>(at)), bswap<u64>(load<u64>(at, 8)));
    if (load<u32>(destinations + (destination << DESTINATION_SHIFT), TO_AREA) === 0) {
      wanted = destination;
      return OPEN;
    }
    store<u32>(at, destination, 20);
  }
  const device = bswap<u64>(load<u64>(user) << 7);
  for (let at = marks; at < last; at += MARK_BYTES) {
    const destination = load<u32>(at, 20);
    const to = destinations + (destination << DESTINATION_SHIFT);
    writeDelivered(load<u32>(to, TO_AREA) + load<u32>(to, TO_FILL), at, device);
    wrote(destination, to, HEADER_BYTES);
    delivered++;
  }
  return DONE;
}

function partitionOf(a: u64, b: u64): u32 {
  const hashed = hash(<u32>a, <u32>(a >>> 32), <u32>b, <u32>(b >>> 32));
  return <u32>((<u64>hashed * conversationPartitions) >>> 32);
}

function writeDelivered(to: usize, marked: usize, device: u64): void {
  store<u32>(to, 0xcc00cc9b | (KIND_DELIVERED << 16));
  store<u16>(to, 0xcf00, 4);
  store<u64>(to, load<u64>(marked), AT_CONV_A);
  store<u8>(to, 0xcf, AT_CONV_B - 1);
  store<u64>(to, load<u64>(marked, 8), AT_CONV_B);
  store<u8>(to, 0xcf, AT_DEVICE - 1);
  store<u64>(to, device, AT_DEVICE);
  store<u8>(to, 0xce, AT_COUNTER - 1);
  store<u32>(to, 0, AT_COUNTER);
  store<u8>(to, 0xce, AT_SEQ - 1);
  store<u32>(to, bswap<u32>(load<u32>(marked, 16)), AT_SEQ);
  store<u8>(to, 0xcf, AT_INBOX - 1);
  store<u64>(to, 0, AT_INBOX);
  store<u8>(to, 0xcf, AT_TIME - 1);
  store<u64>(to, bswap<u64>(nowMs), AT_TIME);
  store<u8>(to, 0xce, AT_EXTRA - 1);
  store<u32>(to, 0, AT_EXTRA);
  store<u8>(to, 0xc6, AT_LENGTH - 1);
  store<u32>(to, 0, AT_LENGTH);
}

/** Copies `length` bytes, at least 16, and not one more; a call of memory.copy costs more than a frame of the usual size. */
function copy(to: usize, from: usize, length: u32): void {
  const last = from + length - 16;
  const lastTo = to + length - 16;
  while (from < last) {
    v128.store(to, v128.load(from));
    from += 16;
    to += 16;
  }
  v128.store(lastTo, v128.load(last));
}

/**
 * The conversation stage's ordinary frames, in AssemblyScript over the linear memory that the plain TypeScript works on: the
 * same rows, the same bytes written. What is not ordinary is handed back and done by pipelines/conversation/, one frame at a
 * time; the two can take turns at any frame. Ordinary is
 *
 * - a MESSAGE of a known device with the next counter, from a member, within the limits and without a device table,
 * - a DELIVERED or READ of a member, not beyond the head,
 *
 * in a conversation that exists. Before anything is written it is sure that the frame is ordinary and that its output fits.
 *
 * With a million conversations nearly every row is far away from the processor: about five lines of memory a message, 100 ns
 * each, one after the other. So frames are taken in windows, and a window is walked several times: one walk asks for the slots
 * of the index, the next for the rows behind them, and so on. Walks are short loops whose steps do not depend on each other, so
 * that the processor waits for many lines at once.
 *
 * Layouts are those of core/frame.ts, core/batch.ts, core/table.ts and rows.ts, here in bytes.
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
/** Kinds up to this one change groups. */
const KIND_GROUP_ROLE: u32 = 6;
const KIND_READ: u32 = 16;
const KIND_DELIVERED: u32 = 19;
const KIND_RECEIPT: u32 = 50;
const FLAG_DEVICE_TABLE: u32 = 1;
const PAYLOAD_BYTES_MAX: u32 = 65_536;
const MESSAGE_TTL_S_MAX: u32 = 2_592_000;
const SEQUENCE_MAX: u32 = 0xffff_ffff;

// --- rows (pipelines/conversation/rows.ts) --------------------------------------------------------------------------------------
const CONV_HEAD: usize = 16;
const CONV_FLAGS: usize = 20;
const CONV_DEVICE_COUNT: usize = 24;
const CONV_BLOCK: usize = 28;
const CONV_MEMBERS: usize = 36;
/** An aggregate; the members at that minimum are counted in the word behind it. */
const CONV_DELIVERED: usize = 40;
const CONV_READ: usize = 48;
const CONV_DEVICES: usize = 60;
/** Of a direct conversation, in place of the aggregates: two words each. */
const CONV_DIRECT_ROWS: usize = 40;
const CONV_DIRECT_PARTITIONS: usize = 48;
/** A member in a group's block. */
const BLOCK_LOW: usize = 4;
const BLOCK_PARTITION: usize = 12;
const BLOCK_SHIFT: u32 = 4;
const CONV_WORDS: u32 = 16;
const FLAG_DIRTY: u32 = 1;
const PART_LOW: usize = 4;
const PART_DELIVERED: usize = 20;
const PART_READ: usize = 24;
const PART_LAST_SENT: usize = 28;
const PART_PARTITION: usize = 36;
const PART_WORDS: u32 = 16;
const DEV_LOW: usize = 4;
const DEV_COUNTER: usize = 12;
const DEV_SEQ: usize = 16;
const DEV_CODE: usize = 20;
const DEV_WORDS: u32 = 8;
const EXPORT_HEAD_BYTES: u32 = 36;
const EXPORT_PARTICIPANT_BYTES: u32 = 32;
const EXPORT_DEVICE_BYTES: u32 = 20;

// --- the ledger (rows.ts) -------------------------------------------------------------------------------------------------------
const LEDGER_DIRTY: usize = 0;
const LEDGER_DIRTY_COUNT: usize = 4;
const LEDGER_DIRTY_BYTES: usize = 8;
const LEDGER_CONVERSATIONS: usize = 12;
const LEDGER_PARTICIPANTS: usize = 16;
const LEDGER_DEVICES: usize = 20;

// --- tables (core/table.ts) -----------------------------------------------------------------------------------------------------
const CHUNK_SHIFT: u32 = 10;
const CHUNK_MASK: u32 = 1_023;
const EMPTY: u32 = 0;
const DELETED: u32 = 0xffff_ffff;
/** The index of conversations is tagged: bits of the tag, and what makes one of a hash. */
const TAG_MASK: u32 = 0xff00_0000;
const TAG_FACTOR: u32 = 0x9e37_79b1;

// --- a place of the window --------------------------------------------------------------------------------------------------------
const WINDOW: u32 = 128;
const PLACE_BYTES: u32 = 64;
/** Words a low, a high, b low, b high, as the key of a row has them. */
const PLACE_KEY: usize = 0;
const PLACE_DEVICE: usize = 16;
const PLACE_COUNTER: usize = 24;
const PLACE_FRAME: usize = 28;
const PLACE_LENGTH: usize = 32;
/** The frame's kind if it may be ordinary, otherwise 0. */
const PLACE_KIND: usize = 36;
/** Slot of the index that is looked at, and what it holds. */
const PLACE_SLOT: usize = 40;
const PLACE_ENTRY: usize = 44;
/** The conversation's row, by address. */
const PLACE_CONV: usize = 48;
/** While it is looked for: the key's tag. Then the sender's participant row, by address; 0: none. */
const PLACE_TAG: usize = 52;
const PLACE_MEMBER: usize = 52;
/** Behind that: the newest device's row, and first and last member of a group's block, by address; 0: none. */
const PLACE_DEVICE_ROW: usize = 40;
const PLACE_BLOCK: usize = 44;
const PLACE_BLOCK_END: usize = 56;
/** The conversation's row, by number. */
const PLACE_ROW: usize = 60;
/** Members among whom one is looked for by walking; in larger groups by hash. */
const WALKED_MEMBERS: u32 = 32;

/** A RECEIPT with its list of one. */
const RECEIPT_BYTES: u32 = 82;
const RECIPIENT_BYTES: u32 = 8;
/** Frames are copied in steps of this, so a copy may write so much behind its end. */
const COPY_BYTES: u32 = 32;

/** What `run` answers (kernel.ts). */
const DONE: u32 = 0;
const HAND_OVER: u32 = 1;
const FULL: u32 = 2;

/** Where a recipient has the number of a device that need not get the frame (core/batch.ts). */
const EXCEPT_SHIFT: u64 = 48;

let ledger: usize = 0;
let window: usize = 0;
/** Places whose conversation is still looked for. */
let pending: usize = 0;
/** Where the sum of what walks read only to have it near is put, so that it is read. */
let sink: usize = 0;
/** Fan-out: for each partition its last recipient + 1 and how many it has; for each recipient its place in the block and the one before it. */
let chainHeads: usize = 0;
let chainCounts: usize = 0;
let chainMembers: usize = 0;
let chainNext: usize = 0;
let chainPartitions: usize = 0;
let chained: u32 = 0;
let chainSize: u32 = 0;

/** Output, for each partition an area, how far it is filled, and how many entries it has. */
let areas: usize = 0;
let areaBytes: u32 = 0;
let fills: usize = 0;
let counts: usize = 0;
/** Partitions that have output, in the order of their first. */
let actives: usize = 0;
let active: u32 = 0;
let highestFill: u32 = 0;

let next: usize = 0;
let end: usize = 0;
let left: u32 = 0;
let time: u64 = 0;
let size: u32 = 0;
let place: u32 = 0;

let convIndex: usize = 0;
let convMask: u32 = 0;
let convDirectory: usize = 0;
let partIndex: usize = 0;
let partMask: u32 = 0;
let partDirectory: usize = 0;
let devIndex: usize = 0;
let devMask: u32 = 0;
let devDirectory: usize = 0;

/** `scratch`: zeroed, as many bytes as kernel.ts says. */
export function configure(
  ledgerAt: usize,
  scratch: usize,
  partitions: u32,
  members: u32,
  areasAt: usize,
  bytes: u32,
): void {
  ledger = ledgerAt;
  window = scratch;
  pending = window + WINDOW * PLACE_BYTES;
  chainHeads = pending + WINDOW * 4;
  chainCounts = chainHeads + partitions * 4;
  chainPartitions = chainCounts + partitions * 4;
  fills = chainPartitions + partitions * 4;
  counts = fills + partitions * 4;
  actives = counts + partitions * 4;
  chainMembers = actives + partitions * 4;
  chainNext = chainMembers + members * 4;
  sink = chainNext + members * 4;
  areas = areasAt;
  areaBytes = bytes;
}

/** Begins a batch: its entries lie in [from, to). */
export function begin(from: usize, to: usize, entries: u32, timeHigh: u32, timeLow: u32): void {
  next = from;
  end = to;
  left = entries;
  time = bswap<u64>(((<u64>timeHigh) << 32) | <u64>timeLow);
  size = 0;
  place = 0;
}

/** Goes on, behind the frame that was handed over if `skip` is 1, until the batch is done or something is in the way. */
export function run(skip: u32): u32 {
  openTables();
  place += skip;
  if (skip !== 0) {
    const kind: u32 = load<u8>(load<u32>(window + (place - 1) * PLACE_BYTES, PLACE_FRAME), AT_KIND);
    // What was handed over may have changed who is a member.
    if (kind > KIND_MESSAGE && kind <= KIND_GROUP_ROLE) findMembers(window + place * PLACE_BYTES);
  }
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

/** Where the frame lies that was handed over. */
export function handedOver(): usize {
  return load<u32>(window + place * PLACE_BYTES, PLACE_FRAME);
}

export function activeCount(): u32 {
  return active;
}

export function activeAt(n: u32): u32 {
  return load<u32>(actives + n * 4);
}

export function bytesOf(partition: u32): u32 {
  return load<u32>(fills + partition * 4);
}

export function entriesOf(partition: u32): u32 {
  return load<u32>(counts + partition * 4);
}

/** The output was taken. */
export function clear(): void {
  for (let n: u32 = 0; n < active; n++) {
    const partition = load<u32>(actives + n * 4);
    store<u32>(fills + partition * 4, 0);
    store<u32>(counts + partition * 4, 0);
  }
  active = 0;
  highestFill = 0;
}

// --- tables ----------------------------------------------------------------------------------------------------------------------

/** They may have moved since the last call. */
function openTables(): void {
  let table: usize = load<u32>(ledger, LEDGER_CONVERSATIONS);
  convIndex = load<u32>(table);
  convMask = load<u32>(table, 4) - 1;
  convDirectory = load<u32>(table, 8);
  table = load<u32>(ledger, LEDGER_PARTICIPANTS);
  partIndex = load<u32>(table);
  partMask = load<u32>(table, 4) - 1;
  partDirectory = load<u32>(table, 8);
  table = load<u32>(ledger, LEDGER_DEVICES);
  devIndex = load<u32>(table);
  devMask = load<u32>(table, 4) - 1;
  devDirectory = load<u32>(table, 8);
}

function rowAt(directory: usize, words: u32, row: u32): usize {
  return (load<u32>(directory + ((row >>> CHUNK_SHIFT) << 2)) + (row & CHUNK_MASK) * words) << 2;
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

/** The row of a participant or device of a conversation; 0 if there is none. */
function findRow(index: usize, mask: u32, directory: usize, words: u32, conversation: u32, id: u64): usize {
  let slot = hash(conversation, <u32>id, <u32>(id >>> 32), 0) & mask;
  while (true) {
    const entry = load<u32>(index + (slot << 2));
    if (entry === EMPTY) return 0;
    if (entry !== DELETED) {
      const at = rowAt(directory, words, entry - 1);
      if (load<u32>(at) === conversation && load<u64>(at, 4) === id) return at;
    }
    slot = (slot + 1) & mask;
  }
}

// --- a window ---------------------------------------------------------------------------------------------------------------------

function fill(): void {
  place = 0;
  size = 0;
  let waiting: u32 = 0;
  while (size < WINDOW && left > 0) {
    const at = window + size++ * PLACE_BYTES;
    readFrame(at);
    store<u32>(pending + (waiting << 2), <u32>at);
    waiting += load<u32>(at, PLACE_KIND) === 0 ? 0 : 1;
  }
  for (let n: u32 = 0; n < waiting; n++) {
    const at: usize = load<u32>(pending + (n << 2));
    store<u32>(at, load<u32>(convIndex + (load<u32>(at, PLACE_SLOT) << 2)), PLACE_ENTRY);
  }
  for (let n: u32 = 0; n < waiting; n++) findTag(load<u32>(pending + (n << 2)));
  while (waiting > 0) waiting = compareKeys(waiting);
  const last = window + size * PLACE_BYTES;
  for (let at = window; at < last; at += PLACE_BYTES) reachConversation(at);
  let sum: u32 = 0;
  for (let at = window; at < last; at += PLACE_BYTES) {
    sum +=
      load<u32>(load<u32>(at, PLACE_DEVICE_ROW)) +
      load<u32>(load<u32>(at, PLACE_BLOCK)) +
      load<u32>(load<u32>(at, PLACE_BLOCK_END));
  }
  findMembers(window);
  for (let at = window; at < last; at += PLACE_BYTES) sum += load<u32>(load<u32>(at, PLACE_MEMBER));
  store<u32>(sink, sum);
}

/** Reads what every kind has, and counts the frame off. What cannot be ordinary is left to TypeScript by kind 0. */
function readFrame(at: usize): void {
  const frame = next;
  store<u32>(at, <u32>frame, PLACE_FRAME);
  left--;
  const room = <u32>(end - frame);
  const payloadBytes = room >= HEADER_BYTES ? bswap<u32>(load<u32>(frame, AT_LENGTH)) : 0;
  if (room < HEADER_BYTES || payloadBytes > room - HEADER_BYTES) {
    // It is cut, and the batch ends here.
    left = 0;
    store<u32>(at, 0, PLACE_KIND);
    return;
  }
  next += HEADER_BYTES + payloadBytes;
  store<u32>(at, HEADER_BYTES + payloadBytes, PLACE_LENGTH);
  const kind: u32 = load<u8>(frame, AT_KIND);
  const isKnown = kind === KIND_MESSAGE || kind === KIND_READ || kind === KIND_DELIVERED;
  store<u32>(at, isKnown ? kind : 0, PLACE_KIND);
  const a = v128.load64_zero(frame, AT_CONV_A);
  const b = v128.load64_zero(frame, AT_CONV_B);
  const key = i8x16.shuffle(a, b, 7, 6, 5, 4, 3, 2, 1, 0, 23, 22, 21, 20, 19, 18, 17, 16);
  v128.store(at, key, PLACE_KEY);
  // Device and counter, with the type byte between them.
  const sender = v128.load(frame, AT_DEVICE);
  v128.store(at, i8x16.shuffle(sender, sender, 7, 6, 5, 4, 3, 2, 1, 0, 12, 11, 10, 9, 0, 0, 0, 0), PLACE_DEVICE);
  store<u32>(at, <u32>frame, PLACE_FRAME);
  const slot = hash(
    i32x4.extract_lane(key, 0),
    i32x4.extract_lane(key, 1),
    i32x4.extract_lane(key, 2),
    i32x4.extract_lane(key, 3),
  );
  store<u32>(at, slot & convMask, PLACE_SLOT);
  store<u32>(at, slot * TAG_FACTOR, PLACE_TAG);
}

/** From the place's slot on, the next entry with the key's tag, or an empty one. */
function findTag(at: usize): void {
  const tag = load<u32>(at, PLACE_TAG);
  let slot = load<u32>(at, PLACE_SLOT);
  let entry = load<u32>(convIndex + (slot << 2));
  while (entry !== EMPTY && (((entry ^ tag) & TAG_MASK) !== 0 || entry === DELETED)) {
    slot = (slot + 1) & convMask;
    entry = load<u32>(convIndex + (slot << 2));
  }
  store<u32>(at, slot, PLACE_SLOT);
  store<u32>(at, entry, PLACE_ENTRY);
}

/**
 * Looks at the candidate of each place that waits; returns how many go on waiting. All rows are asked for before the first is
 * compared.
 */
function compareKeys(waiting: u32): u32 {
  for (let n: u32 = 0; n < waiting; n++) {
    const at: usize = load<u32>(pending + (n << 2));
    const entry = load<u32>(at, PLACE_ENTRY);
    const row = entry === EMPTY ? 0 : (entry & ~TAG_MASK) - 1;
    store<u32>(at, row, PLACE_ROW);
    store<u32>(at, <u32>rowAt(convDirectory, CONV_WORDS, row), PLACE_CONV);
  }
  let sum: u32 = 0;
  for (let n: u32 = 0; n < waiting; n++) sum += load<u32>(load<u32>(load<u32>(pending + (n << 2)), PLACE_CONV));
  store<u32>(sink, sum);
  let stay: u32 = 0;
  for (let n: u32 = 0; n < waiting; n++) {
    const at: usize = load<u32>(pending + (n << 2));
    const entry = load<u32>(at, PLACE_ENTRY);
    if (entry === EMPTY) {
      store<u32>(at, 0, PLACE_KIND);
      continue;
    }
    if (i32x4.all_true(i32x4.eq(v128.load(load<u32>(at, PLACE_CONV)), v128.load(at, PLACE_KEY)))) continue;
    store<u32>(at, (load<u32>(at, PLACE_SLOT) + 1) & convMask, PLACE_SLOT);
    findTag(at);
    store<u32>(pending + (stay++ << 2), <u32>at);
  }
  return stay;
}

/** Says where the newest device and, of a group, the block lie; the lines between its ends the processor fetches by itself. */
function reachConversation(at: usize): void {
  const isKnown = load<u32>(at, PLACE_KIND) !== 0;
  const conversation: usize = isKnown ? load<u32>(at, PLACE_CONV) : 0;
  const device = isKnown ? load<u32>(conversation, CONV_DEVICES) : 0;
  store<u32>(at, device === 0 ? 0 : <u32>rowAt(devDirectory, DEV_WORDS, device - 1), PLACE_DEVICE_ROW);
  const block = isKnown ? load<u32>(conversation, CONV_BLOCK) : 0;
  const bytes = isKnown ? load<u32>(conversation, CONV_MEMBERS) << BLOCK_SHIFT : 0;
  store<u32>(at, block, PLACE_BLOCK);
  store<u32>(at, block === 0 || bytes === 0 ? block : block + bytes - 16, PLACE_BLOCK_END);
}

/** Where a direct conversation has the sender's participant row, if the sender is one of its two. */
function directOffset(at: usize): usize {
  return load<u64>(at, PLACE_DEVICE) >>> 7 === load<u64>(at, PLACE_KEY) ? CONV_DIRECT_ROWS : CONV_DIRECT_ROWS + 4;
}

function isDirect(at: usize): bool {
  return load<u64>(at, PLACE_KEY) !== 0;
}

/** Finds the senders' participant rows. */
function findMembers(from: usize): void {
  const last = window + size * PLACE_BYTES;
  for (let at = from; at < last; at += PLACE_BYTES) {
    const isKnown = load<u32>(at, PLACE_KIND) !== 0;
    const member = isKnown ? findMember(at, load<u32>(at, PLACE_CONV), load<u64>(at, PLACE_DEVICE) >>> 7) : 0;
    store<u32>(at, <u32>member, PLACE_MEMBER);
  }
}

function findMember(at: usize, conversation: usize, user: u64): usize {
  if (isDirect(at)) {
    if (user !== load<u64>(at, PLACE_KEY) && user !== load<u64>(at, PLACE_KEY + 8)) return 0;
    return rowAt(partDirectory, PART_WORDS, load<u32>(conversation + directOffset(at)));
  }
  const members = load<u32>(conversation, CONV_MEMBERS);
  if (members > WALKED_MEMBERS)
    return findRow(partIndex, partMask, partDirectory, PART_WORDS, load<u32>(at, PLACE_ROW), user);
  let block: usize = load<u32>(conversation, CONV_BLOCK);
  const last = block + (members << BLOCK_SHIFT);
  for (; block < last; block += 1 << BLOCK_SHIFT) {
    if (load<u64>(block, BLOCK_LOW) === user) return rowAt(partDirectory, PART_WORDS, load<u32>(block));
  }
  return 0;
}

// --- a frame ----------------------------------------------------------------------------------------------------------------------

function handle(at: usize): u32 {
  const kind = load<u32>(at, PLACE_KIND);
  if (kind === 0) return HAND_OVER;
  return kind === KIND_MESSAGE ? message(at) : watermark(at, kind);
}

/** True if `bytes` more fit into every area. */
function fits(bytes: u32): bool {
  return highestFill + bytes + COPY_BYTES <= areaBytes;
}

function message(at: usize): u32 {
  const conversation: usize = load<u32>(at, PLACE_CONV);
  const frame: usize = load<u32>(at, PLACE_FRAME);
  const length = load<u32>(at, PLACE_LENGTH);
  const sender: usize = load<u32>(at, PLACE_MEMBER);
  const device = findDevice(at, conversation);
  if (sender === 0 || device === 0 || (load<u32>(at, PLACE_DEVICE) & 127) === 0) return HAND_OVER;
  const counter = load<u32>(at, PLACE_COUNTER);
  // Behind the last counter there is 0, which is none.
  if (counter !== load<u32>(device, DEV_COUNTER) + 1 || counter === 0) return HAND_OVER;
  if ((load<u8>(frame, AT_FLAGS) & FLAG_DEVICE_TABLE) !== 0) return HAND_OVER;
  if (length > HEADER_BYTES + PAYLOAD_BYTES_MAX) return HAND_OVER;
  if (bswap<u32>(load<u32>(frame, AT_EXTRA)) > MESSAGE_TTL_S_MAX) return HAND_OVER;
  const head = load<u32>(conversation, CONV_HEAD);
  if (head === SEQUENCE_MAX) return HAND_OVER;
  const members = load<u32>(conversation, CONV_MEMBERS);
  if (!fits(length + 4 + RECEIPT_BYTES + 2 * members * RECIPIENT_BYTES)) return FULL;
  const seq = head + 1;
  store<u32>(device, counter, DEV_COUNTER);
  store<u32>(device, seq, DEV_SEQ);
  store<u32>(device, 0, DEV_CODE);
  touch(conversation, load<u32>(at, PLACE_ROW));
  store<u32>(conversation, seq, CONV_HEAD);
  if (isDirect(at)) sendDirect(at, conversation, frame, length, seq);
  else {
    const block: usize = load<u32>(conversation, CONV_BLOCK);
    const last = block + (members << BLOCK_SHIFT);
    for (let member = block; member < last; member += 1 << BLOCK_SHIFT) chain(member);
    sendSequenced(frame, length, seq);
  }
  afterOwnSend(at, conversation, sender, seq);
  return DONE;
}

/** The one that came last is looked at first: most often it is the only one. */
function findDevice(at: usize, conversation: usize): usize {
  const device = load<u64>(at, PLACE_DEVICE);
  const newest = load<u32>(conversation, CONV_DEVICES);
  if (newest !== 0) {
    const row = rowAt(devDirectory, DEV_WORDS, newest - 1);
    if (load<u64>(row, DEV_LOW) === device) return row;
  }
  return findRow(devIndex, devMask, devDirectory, DEV_WORDS, load<u32>(at, PLACE_ROW), device);
}

/** As `Rows.touch`; there is room in the list for every entry of the batch. */
function touch(conversation: usize, row: u32): void {
  const flags = load<u32>(conversation, CONV_FLAGS);
  if ((flags & FLAG_DIRTY) !== 0) return;
  store<u32>(conversation, flags | FLAG_DIRTY, CONV_FLAGS);
  const count = load<u32>(ledger, LEDGER_DIRTY_COUNT);
  store<u32>(load<u32>(ledger, LEDGER_DIRTY) + (count << 2), row);
  store<u32>(ledger, count + 1, LEDGER_DIRTY_COUNT);
  const bytes =
    EXPORT_HEAD_BYTES +
    load<u32>(conversation, CONV_MEMBERS) * EXPORT_PARTICIPANT_BYTES +
    load<u32>(conversation, CONV_DEVICE_COUNT) * EXPORT_DEVICE_BYTES;
  store<u32>(ledger, load<u32>(ledger, LEDGER_DIRTY_BYTES) + bytes, LEDGER_DIRTY_BYTES);
}

// --- receipts (receipts.ts) ---------------------------------------------------------------------------------------------------------

function afterOwnSend(at: usize, conversation: usize, sender: usize, seq: u32): void {
  const oldDelivered = load<u32>(sender, PART_DELIVERED);
  const oldRead = load<u32>(sender, PART_READ);
  store<u32>(sender, seq, PART_LAST_SENT);
  const delivered = oldDelivered === seq - 1 ? seq : oldDelivered;
  const read = oldRead === seq - 1 ? seq : oldRead;
  store<u32>(sender, delivered, PART_DELIVERED);
  store<u32>(sender, read, PART_READ);
  if (!isDirect(at)) moveOn(at, conversation, oldDelivered, delivered, oldRead, read);
}

/** A READ or DELIVERED. */
function watermark(at: usize, kind: u32): u32 {
  const conversation: usize = load<u32>(at, PLACE_CONV);
  const frame: usize = load<u32>(at, PLACE_FRAME);
  const member: usize = load<u32>(at, PLACE_MEMBER);
  if (member === 0) return HAND_OVER;
  const head = load<u32>(conversation, CONV_HEAD);
  const asked = bswap<u32>(load<u32>(frame, AT_SEQ));
  if (kind === KIND_READ && asked > head) return HAND_OVER;
  const oldDelivered = load<u32>(member, PART_DELIVERED);
  const oldRead = load<u32>(member, PART_READ);
  const seq = min(asked, head);
  if (seq <= (kind === KIND_READ ? oldRead : oldDelivered)) return DONE;
  if (!fits(2 * RECEIPT_BYTES + load<u32>(conversation, CONV_MEMBERS) * RECIPIENT_BYTES)) return FULL;
  const delivered = max(oldDelivered, seq);
  const read = kind === KIND_READ ? seq : oldRead;
  touch(conversation, load<u32>(at, PLACE_ROW));
  store<u32>(member, delivered, PART_DELIVERED);
  store<u32>(member, read, PART_READ);
  const user = load<u64>(member, PART_LOW);
  if (isDirect(at)) {
    const isFirst = directOffset(at) === CONV_DIRECT_ROWS;
    const partition = load<u32>(conversation + CONV_DIRECT_PARTITIONS + (isFirst ? 4 : 0));
    const other = load<u64>(at + (isFirst ? PLACE_KEY + 8 : PLACE_KEY));
    sendReceipt(partition, other, frame, user << 7, delivered, read);
  } else moveOn(at, conversation, oldDelivered, delivered, oldRead, read);
  if (kind === KIND_READ) {
    // The device itself need not get it.
    const recipient = user | ((<u64>load<u8>(frame, AT_DEVICE + 7) & 127) << EXCEPT_SHIFT);
    sendReceipt(load<u32>(member, PART_PARTITION), recipient, frame, user << 7, delivered, read);
  }
  return DONE;
}

/** A group's member moved on; the aggregates follow, and are told to whom they concern. */
function moveOn(at: usize, conversation: usize, oldDelivered: u32, delivered: u32, oldRead: u32, read: u32): void {
  const beforeDelivered = load<u32>(conversation, CONV_DELIVERED);
  const beforeRead = load<u32>(conversation, CONV_READ);
  movedOn(conversation, CONV_DELIVERED, PART_DELIVERED, oldDelivered, delivered);
  movedOn(conversation, CONV_READ, PART_READ, oldRead, read);
  const nowDelivered = load<u32>(conversation, CONV_DELIVERED);
  const nowRead = load<u32>(conversation, CONV_READ);
  if (nowDelivered === beforeDelivered && nowRead === beforeRead) return;
  const block: usize = load<u32>(conversation, CONV_BLOCK);
  const last = block + (load<u32>(conversation, CONV_MEMBERS) << BLOCK_SHIFT);
  for (let member = block; member < last; member += 1 << BLOCK_SHIFT) {
    const lastSent = load<u32>(rowAt(partDirectory, PART_WORDS, load<u32>(member)), PART_LAST_SENT);
    const isDelivered = nowDelivered > beforeDelivered && lastSent > beforeDelivered;
    if (isDelivered || (nowRead > beforeRead && lastSent > beforeRead)) chain(member);
  }
  sendReceipts(load<u32>(at, PLACE_FRAME), nowDelivered, nowRead);
}

function movedOn(conversation: usize, aggregate: usize, part: usize, old: u32, value: u32): void {
  if (value === old || old !== load<u32>(conversation + aggregate)) return;
  const remaining = load<u32>(conversation + aggregate, 4) - 1;
  // As a signed number: in a state that was damaged it may be none.
  if (<i32>remaining > 0) store<u32>(conversation + aggregate, remaining, 4);
  else computeAggregate(conversation, aggregate, part);
}

function computeAggregate(conversation: usize, aggregate: usize, part: usize): void {
  let minimum: u32 = 0;
  let atMinimum: u32 = 0;
  const block: usize = load<u32>(conversation, CONV_BLOCK);
  const last = block + (load<u32>(conversation, CONV_MEMBERS) << BLOCK_SHIFT);
  for (let member = block; member < last; member += 1 << BLOCK_SHIFT) {
    const value = load<u32>(rowAt(partDirectory, PART_WORDS, load<u32>(member)) + part);
    if (atMinimum === 0 || value < minimum) {
      minimum = value;
      atMinimum = 0;
    }
    if (value === minimum) atMinimum++;
  }
  store<u32>(conversation + aggregate, minimum);
  store<u32>(conversation + aggregate, atMinimum, 4);
}

// --- fan-out (fanout.ts) --------------------------------------------------------------------------------------------------------------

/** To both of a direct conversation: as chains would have it, the last one added comes first. */
function sendDirect(at: usize, conversation: usize, frame: usize, length: u32, seq: u32): void {
  const a = load<u64>(at, PLACE_KEY);
  const b = load<u64>(at, PLACE_KEY + 8);
  const first = load<u32>(conversation, CONV_DIRECT_PARTITIONS);
  const second = load<u32>(conversation, CONV_DIRECT_PARTITIONS + 4);
  if (first === second) {
    const both = writeSequenced(open(first, length + 4 + 2 * RECIPIENT_BYTES), frame, length, seq) + length;
    store<u32>(both, 2);
    store<u64>(both, b, 4);
    store<u64>(both, a, 4 + RECIPIENT_BYTES);
    return;
  }
  const to = writeSequenced(open(first, length + 4 + RECIPIENT_BYTES), frame, length, seq);
  const other = open(second, length + 4 + RECIPIENT_BYTES);
  copy(other, to, length);
  store<u32>(to + length, 1);
  store<u64>(to + length, a, 4);
  store<u32>(other + length, 1);
  store<u64>(other + length, b, 4);
}

/** Writes the frame as it is sent on; without the device table no flag is left. */
function writeSequenced(to: usize, frame: usize, length: u32, seq: u32): usize {
  copy(to, frame, length);
  store<u8>(to, 0, AT_FLAGS);
  store<u32>(to, bswap<u32>(seq), AT_SEQ);
  store<u64>(to, 0, AT_INBOX);
  store<u64>(to, time, AT_TIME);
  return to;
}

/** Adds a member of a block. Chains of a partition run from the last one added to the first, as those of the plain code do. */
function chain(member: usize): void {
  const partition = load<u32>(member, BLOCK_PARTITION);
  const head = chainHeads + (partition << 2);
  const before = load<u32>(head);
  if (before === 0) store<u32>(chainPartitions + (chained++ << 2), partition);
  const recipient = chainSize++;
  store<u32>(chainMembers + (recipient << 2), <u32>member);
  store<u32>(chainNext + (recipient << 2), before);
  store<u32>(head, recipient + 1);
  const count = chainCounts + (partition << 2);
  store<u32>(count, load<u32>(count) + 1);
}

/** Bytes of an entry for the partition's chain. */
function entryBytes(length: u32, partition: u32): u32 {
  return length + 4 + load<u32>(chainCounts + (partition << 2)) * RECIPIENT_BYTES;
}

/** Sends the frame to all in the chains, and empties them. */
function sendSequenced(frame: usize, length: u32, seq: u32): void {
  let written: usize = 0;
  for (let n: u32 = 0; n < chained; n++) {
    const partition = load<u32>(chainPartitions + (n << 2));
    const to = open(partition, entryBytes(length, partition));
    if (written === 0) written = writeSequenced(to, frame, length, seq);
    else copy(to, written, length);
    list(to + length, partition);
  }
  chained = 0;
  chainSize = 0;
}

/** Sends a group's receipt to all in the chains, and empties them. */
function sendReceipts(frame: usize, delivered: u32, read: u32): void {
  for (let n: u32 = 0; n < chained; n++) {
    const partition = load<u32>(chainPartitions + (n << 2));
    const to = open(partition, entryBytes(HEADER_BYTES, partition));
    writeReceipt(to, frame, 0, delivered, read);
    list(to + HEADER_BYTES, partition);
  }
  chained = 0;
  chainSize = 0;
}

function sendReceipt(partition: u32, user: u64, frame: usize, device: u64, delivered: u32, read: u32): void {
  const to = open(partition, RECEIPT_BYTES);
  writeReceipt(to, frame, device, delivered, read);
  store<u32>(to, 1, HEADER_BYTES);
  store<u64>(to, user, HEADER_BYTES + 4);
}

function writeReceipt(to: usize, frame: usize, device: u64, delivered: u32, read: u32): void {
  store<u32>(to, 0xcc00cc9b | (KIND_RECEIPT << 16));
  store<u16>(to, 0xcf00, 4);
  store<u64>(to, load<u64>(frame, AT_CONV_A), AT_CONV_A);
  store<u8>(to, 0xcf, AT_CONV_B - 1);
  store<u64>(to, load<u64>(frame, AT_CONV_B), AT_CONV_B);
  store<u8>(to, 0xcf, AT_DEVICE - 1);
  store<u64>(to, bswap<u64>(device), AT_DEVICE);
  store<u8>(to, 0xce, AT_COUNTER - 1);
  store<u32>(to, 0, AT_COUNTER);
  store<u8>(to, 0xce, AT_SEQ - 1);
  store<u32>(to, bswap<u32>(delivered), AT_SEQ);
  store<u8>(to, 0xcf, AT_INBOX - 1);
  store<u64>(to, 0, AT_INBOX);
  store<u8>(to, 0xcf, AT_TIME - 1);
  store<u64>(to, time, AT_TIME);
  store<u8>(to, 0xce, AT_EXTRA - 1);
  store<u32>(to, bswap<u32>(read), AT_EXTRA);
  store<u8>(to, 0xc6, AT_LENGTH - 1);
  store<u32>(to, 0, AT_LENGTH);
}

/** Where an entry of `bytes` for the partition goes. */
function open(partition: u32, bytes: u32): usize {
  const fillAt = fills + (partition << 2);
  const filled = load<u32>(fillAt);
  if (filled === 0) store<u32>(actives + (active++ << 2), partition);
  const after = filled + bytes;
  store<u32>(fillAt, after);
  highestFill = max(highestFill, after);
  const countAt = counts + (partition << 2);
  store<u32>(countAt, load<u32>(countAt) + 1);
  return areas + partition * areaBytes + filled;
}

/** Writes the list of the partition's chain, and empties it. */
function list(at: usize, partition: u32): void {
  const countAt = chainCounts + (partition << 2);
  store<u32>(at, load<u32>(countAt));
  store<u32>(countAt, 0);
  const head = chainHeads + (partition << 2);
  let to = at + 4;
  for (let recipient = load<u32>(head); recipient !== 0; to += RECIPIENT_BYTES) {
    const member: usize = load<u32>(chainMembers + ((recipient - 1) << 2));
    store<u64>(to, load<u64>(member, BLOCK_LOW));
    recipient = load<u32>(chainNext + ((recipient - 1) << 2));
  }
  store<u32>(head, 0);
}

/** Copies `length` bytes and up to COPY_BYTES − 1 more; a call of memory.copy costs more than a frame of the usual size. */
function copy(to: usize, from: usize, length: u32): void {
  const last = from + length;
  while (from < last) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    from += COPY_BYTES;
    to += COPY_BYTES;
  }
}

/**
 * The gateway's ordinary frames, in AssemblyScript: found in a WebSocket message, checked, routed, and copied once, into the open
 * batch of their partition, with what a client may not claim written over. What is not ordinary ends a run, and is done by
 * gateway/inbound.ts; the two can take turns at any frame. Ordinary is a canonical frame within its limits that is
 *
 * - a MESSAGE without a device table, or a READ, in a conversation that can exist,
 * - an ACK,
 *
 * and fits into the batch that is open for it. Layouts are those of core/frame.ts and core/batch.ts.
 */

// --- frame: offsets of values, big-endian ---------------------------------------------------------------------------------------
const AT_KIND: usize = 2;
const AT_CONV_A: usize = 6;
const AT_CONV_B: usize = 15;
const AT_DEVICE: usize = 24;
const AT_SEQ: usize = 38;
const AT_INBOX: usize = 43;
const AT_TIME: usize = 52;
const AT_LENGTH: usize = 66;
const HEADER_BYTES: u32 = 70;
const KIND_MESSAGE: u32 = 1;
const KIND_READ: u32 = 16;
const KIND_ACK: u32 = 33;
const PAYLOAD_BYTES_MAX: u32 = 65_536;
const USER_ID_END: u64 = 1 << 45;
const GROUP_ID_END: u64 = 1 << 52;

// --- batch ------------------------------------------------------------------------------------------------------------------------
const BATCH_FLAGS: usize = 7;
const BATCH_FLAG_SENDS: u32 = 1;

// --- a place: the open batch of a partition -------------------------------------------------------------------------------------
const PLACE_SHIFT: u32 = 4;
/** Address of the batch; 0: none is open. */
const PLACE_BASE: usize = 0;
/** Its bytes, and its entries, so far. */
const PLACE_LENGTH: usize = 4;
const PLACE_COUNT: usize = 8;
/** 1: it is in the list of those that changed in this run. */
const PLACE_CHANGED: usize = 12;

// --- what a run did ---------------------------------------------------------------------------------------------------------------
const RESULT_FRAMES: usize = 0;
const RESULT_READS: usize = 4;
const RESULT_CHANGED: usize = 8;
/** Numbers of the places that changed. */
const RESULT_PLACES: usize = 12;

/** Frames are copied in steps of this, so a copy may read and write so much behind its end. */
const COPY_BYTES: u32 = 32;

let places: usize = 0;
let result: usize = 0;
let partitions: u64 = 0;
let batchBytes: u32 = 0;

export function configure(placesAt: usize, resultAt: usize, partitionCount: u32, batchBytesMax: u32): void {
  places = placesAt;
  result = resultAt;
  partitions = partitionCount;
  batchBytes = batchBytesMax;
}

function mix(word: u32): u32 {
  let h = word;
  h = (h ^ (h >>> 16)) * 0x85eb_ca6b;
  h = (h ^ (h >>> 13)) * 0xc2b2_ae35;
  return h ^ (h >>> 16);
}

/** core/ids.ts: hashConversation. */
function hashOf(a: u64, b: u64): u32 {
  let h = mix(<u32>a ^ 0x9e37_79b9);
  h = mix(h ^ <u32>(a >>> 32));
  h = mix((h * 5) ^ <u32>b);
  return mix(h ^ <u32>(b >>> 32));
}

/**
 * True if 70 bytes are the header of a canonical frame without Flag.DEVICE_TABLE: the type bytes, and of each u64 the 11 bits
 * that must be zero. As signed bytes: -101 is 0x9b, -52 0xcc, -50 0xce, -49 0xcf, -32 0xe0.
 */
function isHeader(at: usize): bool {
  const bad0 = v128.xor(
    v128.and(v128.load(at), i8x16(-1, -1, 0, -1, 1, -1, -1, -32, 0, 0, 0, 0, 0, 0, -1, -1)),
    i8x16(-101, -52, 0, -52, 0, -49, 0, 0, 0, 0, 0, 0, 0, 0, -49, 0),
  );
  const bad1 = v128.xor(
    v128.and(v128.load(at, 16), i8x16(-32, 0, 0, 0, 0, 0, 0, -1, -1, -32, 0, 0, 0, 0, 0, 0)),
    i8x16(0, 0, 0, 0, 0, 0, 0, -49, 0, 0, 0, 0, 0, 0, 0, 0),
  );
  const bad2 = v128.xor(
    v128.and(v128.load(at, 32), i8x16(-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, -1, -32, 0, 0, 0)),
    i8x16(-50, 0, 0, 0, 0, -50, 0, 0, 0, 0, -49, 0, 0, 0, 0, 0),
  );
  const bad3 = v128.xor(
    v128.and(v128.load(at, 48), i8x16(0, 0, 0, -1, -1, -32, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0)),
    i8x16(0, 0, 0, -49, 0, 0, 0, 0, 0, 0, 0, 0, -50, 0, 0, 0),
  );
  const bad = v128.or(v128.or(bad0, bad1), v128.or(bad2, bad3));
  return !v128.any_true(bad) && load<u8>(at, 65) === 0xc6;
}

function isConversation(a: u64, b: u64): bool {
  if (a === 0) return b !== 0 && b < GROUP_ID_END;
  return a < b && b < USER_ID_END;
}

/**
 * Takes ordinary frames from `from` on, at most `framesMax`, and none that ends behind `to`. `userPlace` is where ACKs go.
 * Returns where it stopped.
 */
export function run(from: usize, to: usize, deviceHigh: u32, deviceLow: u32, userPlace: u32, framesMax: u32): usize {
  const device = bswap<u64>(((<u64>deviceHigh) << 32) | <u64>deviceLow);
  let at = from;
  let frames: u32 = 0;
  let reads: u32 = 0;
  let changed: u32 = 0;
  while (frames < framesMax) {
    if (<u32>(to - at) < HEADER_BYTES || at >= to || !isHeader(at)) break;
    const payloadBytes = bswap<u32>(load<u32>(at, AT_LENGTH));
    if (payloadBytes > PAYLOAD_BYTES_MAX) break;
    const length = HEADER_BYTES + payloadBytes;
    if (<u32>(to - at) < length) break;
    const kind: u32 = load<u8>(at, AT_KIND);
    let number: u32 = userPlace;
    if (kind === KIND_MESSAGE || kind === KIND_READ) {
      const a = bswap<u64>(load<u64>(at, AT_CONV_A));
      const b = bswap<u64>(load<u64>(at, AT_CONV_B));
      if (!isConversation(a, b)) break;
      number = <u32>((<u64>hashOf(a, b) * partitions) >>> 32);
    } else if (kind !== KIND_ACK) break;
    const place = places + (number << PLACE_SHIFT);
    const base: usize = load<u32>(place, PLACE_BASE);
    const before = load<u32>(place, PLACE_LENGTH);
    if (base === 0 || before + length > batchBytes) break;
    const copy = base + before;
    copyFrame(copy, at, length);
    store<u64>(copy, device, AT_DEVICE);
    store<u64>(copy, 0, AT_TIME);
    if (kind !== KIND_READ) store<u32>(copy, 0, AT_SEQ);
    else reads++;
    if (kind !== KIND_ACK) store<u64>(copy, 0, AT_INBOX);
    if (kind === KIND_MESSAGE) store<u8>(base, BATCH_FLAG_SENDS, BATCH_FLAGS);
    store<u32>(place, before + length, PLACE_LENGTH);
    store<u32>(place, load<u32>(place, PLACE_COUNT) + 1, PLACE_COUNT);
    if (load<u32>(place, PLACE_CHANGED) === 0) {
      store<u32>(place, 1, PLACE_CHANGED);
      store<u32>(result + (changed << 2), number, RESULT_PLACES);
      changed++;
    }
    at += length;
    frames++;
  }
  store<u32>(result, frames, RESULT_FRAMES);
  store<u32>(result, reads, RESULT_READS);
  store<u32>(result, changed, RESULT_CHANGED);
  for (let n: u32 = 0; n < changed; n++) {
    store<u32>(places + (load<u32>(result + (n << 2), RESULT_PLACES) << PLACE_SHIFT), 0, PLACE_CHANGED);
  }
  return at;
}

function copyFrame(to: usize, from: usize, length: u32): void {
  const end = from + length;
  while (from < end) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    from += COPY_BYTES;
    to += COPY_BYTES;
  }
}

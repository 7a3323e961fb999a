/**
 * Every limit of the backbone, in one file, with its unit in its name. Cross-checked at load: see the assertions at the
 * end. A limit that an operator may change is a default here and a flag in `dunlin up` (docs/operating.md).
 */

const KIB = 1024;
const MIB = 1024 * KIB;

// --- ids: all fit in 53 bits, so that any msgpack library reads them as plain integers -------------------------------
/** Highest user id: 45 bits, so that a user and a device number together fit in 52 bits. */
export const USER_ID_MAX = 2 ** 45 - 1;
/** Device numbers are 1..127 (as in the Signal protocol). 0 means "the user, no device". */
export const DEVICE_NUMBER_MAX = 127;
/** Factor between a user id and its device keys: device key = user × 128 + device number. */
export const DEVICE_KEY_FACTOR = 128;
/** Highest group id. */
export const GROUP_ID_MAX = 2 ** 52 - 1;
/** Highest sequence in one conversation, and highest client counter: unsigned 32 bits. */
export const SEQUENCE_MAX = 2 ** 32 - 1;

// --- frames and messages ------------------------------------------------------------------------------------------
/** Bytes before the payload in a canonical frame. */
export const FRAME_HEADER_BYTES = 70;
/** Highest payload of one ciphertext for all. */
export const PAYLOAD_BYTES_MAX = 64 * KIB;
/** Highest payload of a table with one ciphertext a device. */
export const TABLE_PAYLOAD_BYTES_MAX = 256 * KIB;
/** Highest number of parts in a device table: a direct conversation's devices, or a group's sender-key hand-out. */
export const TABLE_PARTS_MAX = 2_048;
/** Highest length of a whole frame. */
export const FRAME_BYTES_MAX = FRAME_HEADER_BYTES + TABLE_PAYLOAD_BYTES_MAX;
/** Highest number of frames in one WebSocket message. */
export const FRAMES_PER_MESSAGE_MAX = 1_024;
/** Highest length of one WebSocket message, either way. */
export const MESSAGE_BYTES_MAX = 1 * MIB;

// --- batches and logs ------------------------------------------------------------------------------------------------
/** Bytes of a batch header. */
export const BATCH_HEADER_BYTES = 64;
/** Highest length of one batch; bounds what one `step` may take. */
export const BATCH_BYTES_MAX = 4 * MIB;
/** A gateway closes a batch at this size. Below BATCH_BYTES_MAX by more than one frame, so that a frame always fits. */
export const BATCH_TARGET_BYTES = 256 * KIB;
/** Highest number of partitions of a topic. */
export const PARTITIONS_MAX = 256;
/** Partitions of each topic when a data directory is made. */
export const PARTITIONS_DEFAULT = 4;
/** A log segment is closed at this size. */
export const SEGMENT_BYTES = 64 * MIB;
/** A log keeps at least this much of what everybody has read. */
export const RETAIN_BYTES = 256 * MIB;
/** Highest number of bytes written with one fdatasync. */
export const GROUP_COMMIT_BYTES_MAX = 8 * MIB;
/** Ring between two threads. More than two of the largest batches, so that one batch never blocks for ever. */
export const RING_BYTES = 16 * MIB;
/** New sends are refused when the disk has less than this left, so that what was accepted can still be finished. */
export const DISK_RESERVE_BYTES = 256 * MIB;

// --- store: FoundationDB's limits hold on every engine ------------------------------------------------------------------
/**
 * Highest length of a key; the lowest is 1. FoundationDB allows 10,000 bytes, LMDB with pages of 4 KiB 1,978: this is what
 * every engine keeps, with room for the first key behind the longest one, which a range may end with. Keys here are short.
 */
export const STORE_KEY_BYTES_MAX = 1_900;
export const STORE_VALUE_BYTES_MAX = 100_000;
export const STORE_TRANSACTION_BYTES_MAX = 10_000_000;
export const STORE_TRANSACTION_AGE_MS_MAX = 5_000;
/** State is packed in chunks near this size (a FoundationDB server takes 48 KB values at 3× the rate of small ones). */
export const STORE_CHUNK_BYTES = 48 * KIB;
/** A lane commits at the latest when its uncommitted state reaches this. */
export const COMMIT_BYTES = 4 * MIB;
/** A lane with uncommitted work commits at least this often. */
export const COMMIT_INTERVAL_MS = 5_000;
/** Highest length of log that recovery may have to read again in one partition before a commit is forced. */
export const RECOVERY_BYTES_MAX = 64 * MIB;

/**
 * More sequences than a conversation can have been given out of what its lane had not committed when its log lost it: so far its
 * head is moved when somebody accepts the loss.
 */
export const LOST_SEQUENCES_MAX = 2 ** 20;

// --- conversations ----------------------------------------------------------------------------------------------------
/** Highest number of members of a group (the design asks for 256; real messengers allow 1,024). */
export const GROUP_MEMBERS_MAX = 1_024;
/** In groups above this size, typing is not fanned out. */
export const TYPING_MEMBERS_MAX = 64;
/** One sender's typing in one conversation is fanned out at most once in this time, unless it changes. */
export const TYPING_INTERVAL_MS = 2_000;

// --- users ------------------------------------------------------------------------------------------------------------
/** Highest number of registered devices of one user. */
export const DEVICES_PER_USER_MAX = 10;
/** Highest number of users that one user can block. */
export const BLOCKS_PER_USER_MAX = 1_024;
/** What was not delivered by then expires (the design: 30 days). */
export const QUEUE_TTL_MS = 30 * 24 * 3_600_000;
/** A message's own time to live, when it has one, is at most the queue's. */
export const MESSAGE_TTL_S_MAX = QUEUE_TTL_MS / 1_000;
/** A device not seen for this long is unregistered, so that it no longer holds its user's queue. */
export const DEVICE_IDLE_MS_MAX = 60 * 24 * 3_600_000;
/** A lost connection keeps its session, and its user online, for this long (the design: 30 s). */
export const SESSION_GRACE_MS = 30_000;
/** Highest number of watchers of one user's presence. */
export const WATCHERS_PER_USER_MAX = 256;
/** Highest number of users that one user watches. */
export const WATCHED_PER_USER_MAX = 256;
/** A watch ends unless it is renewed within this time. */
export const WATCH_TTL_MS = 300_000;
/** Window in which updates to one watcher are counted. */
export const PRESENCE_WINDOW_MS = 1_000;
/** Highest number of presence and typing updates to one watcher in a window; the last state always follows. */
export const PRESENCE_UPDATES_PER_WINDOW = 20;
/**
 * Unacknowledged entries older than this are written behind to the store and leave memory. Well above what an overload delays
 * acks by: entries that are read back from the store to be acknowledged make an overload worse.
 */
export const SPILL_AGE_MS = 30_000;
/** A user's unacknowledged entries beyond this are written behind at once. */
export const SPILL_BYTES = 64 * KIB;
/** Cold inbox written in one step; the rest waits for the next, so that a commit stays within a transaction. */
export const SPILL_STEP_BYTES = 2 * MIB;
/** So many chunks of cold inbox in a row, each less than half full, are rewritten as one. */
export const CHUNKS_PER_MERGE = 8;
/** Chunks of cold inbox that one ack covers in one step; the rest follows in a step of its own. */
export const CHUNKS_PER_ACK_MAX = 16;
/** Entries at the end of an inbox among which an older GAP or BLOCK is looked for, to be replaced by a newer one. */
export const INBOX_COMPACT_ENTRIES = 16;
/** Bytes of inbox sent to a connection that catches up before it must ask for more. */
export const CATCH_UP_BYTES = 256 * KIB;
/** Highest number of inbox entries sent to a connection that catches up before it must ask for more. */
export const CATCH_UP_ENTRIES = 2_048;

// --- gateway ----------------------------------------------------------------------------------------------------------
/** Heartbeat in both directions (the design: 30 s). */
export const HEARTBEAT_MS = 30_000;
/** A connection from which nothing came for this long is lost. Two heartbeats and a bit. */
export const IDLE_TIMEOUT_MS = 64_000;
/** A connection must say hello within this time. */
export const HELLO_TIMEOUT_MS = 10_000;
/** Past this much unsent data a session turns to catch-up. */
export const SOCKET_BUFFER_BYTES_MAX = 256 * KIB;
/** A session in catch-up asks for more when its socket has less than this unsent. */
export const SOCKET_BUFFER_BYTES_LOW = 32 * KIB;
/** Token bucket a connection: frames a second, and burst. */
export const CONNECTION_FRAMES_PER_SECOND = 1_000;
export const CONNECTION_FRAMES_BURST = 2_000;
/** Token bucket a connection: bytes a second, and burst. */
export const CONNECTION_BYTES_PER_SECOND = 2 * MIB;
export const CONNECTION_BYTES_BURST = 4 * MIB;
/** Connections of one address. High, since carriers put very many users behind one address. */
export const CONNECTIONS_PER_ADDRESS_MAX = 20_000;
/** Connections of one user on one gateway: devices, plus those about to be replaced. */
export const CONNECTIONS_PER_USER_MAX = 2 * DEVICES_PER_USER_MAX;
/** Admission control: new sessions a second a gateway, and burst. Others are told when to come back. */
export const ADMISSIONS_PER_SECOND = 2_000;
export const ADMISSIONS_BURST = 4_000;
/** Frames rejected before a connection that keeps sending nonsense is closed. */
export const BAD_FRAMES_PER_CONNECTION_MAX = 100;
/** Graceful drain (the design: 30 s). */
export const DRAIN_MS = 30_000;
/** Receipts and SENT wait this long for something to go out with: a write to a socket is the dearest part of a delivery. */
export const ANSWER_HOLD_MS = 100;
/** How many of its READs are safe is told to a connection at most once in this time, and only along with something else. */
export const READS_TAKEN_INTERVAL_MS = 10_000;
/** A gateway waits this long for more frames before it closes a batch. */
export const BATCH_LINGER_MS = 2;
/** New sends are refused while a partition's lane is this far behind its log. */
export const BACKLOG_BYTES_MAX = 16 * MIB;
/** The same when a lane has been behind for this long with more than BACKLOG_BYTES_MIN: what is accepted shall arrive soon. */
export const BACKLOG_MS_MAX = 1_000;
/** Less than this that waits is no backlog, however long it waits. */
export const BACKLOG_BYTES_MIN = 256 * KIB;

/**
 * Young generation of a lane's and a gateway's heap, and of a load generator's: what lives for one batch must die before the
 * collector copies it. V8's own choice is half of this.
 */
export const YOUNG_GENERATION_MIB = 96;

// --- client -----------------------------------------------------------------------------------------------------------
/** Reconnect backoff: 1 s × 2ⁿ up to 30 s, with jitter (the design's client-side reconnection logic). */
export const BACKOFF_BASE_MS = 1_000;
export const BACKOFF_MAX_MS = 30_000;
/** A message that comes after a quiet time is acked within this time; an ack that is due within it goes along with what is sent. */
export const ACK_DELAY_MS = 200;
/** Under a stream of messages a client's acks are so far apart, for they are watermarks (docs/decisions/0015-acks.md). */
export const ACK_INTERVAL_MS = 500;
/** Entries for which an ack goes at once. */
export const ACK_ENTRIES = 64;
/** An ack of SENT, receipts and the like, which nobody waits to see delivered, only frees the inbox: it has this long. */
export const ACK_ANSWERS_DELAY_MS = 2_000;
/** READs of one client go together, at most once in this time (the design: read receipts are batched, and of low priority). */
export const READ_INTERVAL_MS = 500;
/** Sends without an outcome that a client has on the wire in one conversation. */
export const CLIENT_WINDOW = 256;
/** Sends that a client's outbox holds; one more is refused to the application. */
export const CLIENT_OUTBOX_MAX = 10_000;
/** Pause before a client sends again what was rejected for now: doubles with every further rejection, half of it jitter. */
export const CLIENT_RETRY_BASE_MS = 100;
export const CLIENT_RETRY_MAX_MS = 10_000;
/** A client that hears of no outcome in a conversation for this long sends again; counters make that harmless. */
export const CLIENT_OUTCOME_TIMEOUT_MS = 10_000;
/** A client gives up an attempt to connect after this time. */
export const CLIENT_CONNECT_TIMEOUT_MS = 15_000;
/** A client paces itself below the gateway's token bucket, so that it is never refused for its speed. */
export const CLIENT_FRAMES_PER_SECOND = 900;
export const CLIENT_FRAMES_BURST = 1_800;
export const CLIENT_BYTES_PER_SECOND = 1.8 * MIB;
export const CLIENT_BYTES_BURST = 3.5 * MIB;
/** A sequence that is missing on so many connections in a row is reported as lost, and the client goes on behind it. */
export const CLIENT_HOLE_ATTEMPTS = 3;

function check(condition: boolean, rule: string): void {
  if (!condition) throw new Error(`limits contradict each other: ${rule}`);
}

check(USER_ID_MAX * DEVICE_KEY_FACTOR + DEVICE_NUMBER_MAX <= Number.MAX_SAFE_INTEGER, 'device keys fit in 53 bits');
check(DEVICE_NUMBER_MAX < DEVICE_KEY_FACTOR, 'a device number stays below its factor');
check(DEVICES_PER_USER_MAX <= DEVICE_NUMBER_MAX, 'devices have numbers');
check(FRAME_BYTES_MAX <= MESSAGE_BYTES_MAX, 'the largest frame fits into a WebSocket message');
check(BATCH_TARGET_BYTES + FRAME_BYTES_MAX + BATCH_HEADER_BYTES <= BATCH_BYTES_MAX, 'a frame always fits into a batch');
check(
  FRAME_BYTES_MAX + GROUP_MEMBERS_MAX * 8 + 8 < BATCH_BYTES_MAX,
  'a frame with all its recipients fits into a batch',
);
check(GROUP_MEMBERS_MAX * 9 + 5 <= PAYLOAD_BYTES_MAX, 'a member list fits into a payload');
check(GROUP_MEMBERS_MAX * 48 + 5 <= PAYLOAD_BYTES_MAX, 'a group description fits into a payload');
check(RING_BYTES >= 2 * BATCH_BYTES_MAX, 'a ring holds two of the largest batches');
check(BATCH_BYTES_MAX <= GROUP_COMMIT_BYTES_MAX, 'a batch fits into a group commit');
check(GROUP_COMMIT_BYTES_MAX <= SEGMENT_BYTES, 'a group commit fits into a segment');
check(STORE_CHUNK_BYTES <= STORE_VALUE_BYTES_MAX, 'a chunk fits into a value');
check(2 * COMMIT_BYTES <= STORE_TRANSACTION_BYTES_MAX, 'a commit fits into a transaction');
check(SESSION_GRACE_MS <= IDLE_TIMEOUT_MS, 'a session does not outlive its connection');
check(IDLE_TIMEOUT_MS > 2 * HEARTBEAT_MS, 'one lost heartbeat does not end a connection');
check(
  RECOVERY_BYTES_MAX / FRAME_HEADER_BYTES < LOST_SEQUENCES_MAX,
  'what is not committed has fewer messages than are skipped for it',
);
check(MESSAGE_TTL_S_MAX <= SEQUENCE_MAX, 'a time to live fits into 32 bits');
check(SOCKET_BUFFER_BYTES_LOW < SOCKET_BUFFER_BYTES_MAX, 'catch-up has a hysteresis');
check(CLIENT_FRAMES_PER_SECOND < CONNECTION_FRAMES_PER_SECOND, 'a client stays below its rate of frames');
check(CLIENT_FRAMES_BURST < CONNECTION_FRAMES_BURST, 'a client stays below its burst of frames');
check(CLIENT_BYTES_PER_SECOND < CONNECTION_BYTES_PER_SECOND, 'a client stays below its rate of bytes');
check(CLIENT_BYTES_BURST < CONNECTION_BYTES_BURST, 'a client stays below its burst of bytes');
check(MESSAGE_BYTES_MAX <= CLIENT_BYTES_BURST, 'the largest WebSocket message can be paced');
check(CLIENT_WINDOW <= FRAMES_PER_MESSAGE_MAX, 'a window fits into a WebSocket message');
check(CATCH_UP_BYTES <= MESSAGE_BYTES_MAX, 'a piece of catch-up fits into a WebSocket message');

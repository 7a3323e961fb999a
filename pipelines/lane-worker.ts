/**
 * A lane's thread: wires a lane to the embedded engines and turns it until it is told to stop. Synchronous from start to end:
 * while it lives it never returns to its event loop.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { StageId } from '../core/keys.js';
import type { Clock, Egress } from '../core/ports.js';
import type { Stage } from '../core/stage.js';
import { Bells, Doorbell } from '../engines/doorbell.js';
import { type LogHandle, openLog, openProducer, type ProducerHandle } from '../engines/open-log.js';
import { RingWriter } from '../engines/ring.js';
import { openStorePort, type StoreHandle } from '../engines/store-lmdb/store-port.js';
import { MemoryStore } from '../engines/store-memory.js';
import { ThreadOrder } from '../engines/thread-order.js';
import { ConversationStage } from './conversation/stage.js';
import { Lane, LaneState } from './lane.js';
import { LaneFieldIndex } from './lane-status.js';
import { UserStage } from './user/stage.js';

export interface GatewayRing {
  readonly ring: SharedArrayBuffer;
  readonly doorbell: SharedArrayBuffer;
}

export interface LaneWorkerData {
  readonly stageId: typeof StageId.CONVERSATION | typeof StageId.USER;
  readonly partitions: readonly number[];
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  readonly kernel: boolean;
  readonly incarnation: number;
  readonly doorbell: SharedArrayBuffer;
  readonly log: LogHandle;
  readonly producer: ProducerHandle;
  /** False: what was stepped over cannot be read again, so state is not committed. */
  readonly isLogKept: boolean;
  /** Undefined: in this thread's memory. */
  readonly store: StoreHandle | undefined;
  /** By gateway number; empty for conversation lanes. */
  readonly gateways: readonly GatewayRing[];
  /** Int32 a gateway: 1 while it takes batches. */
  readonly gatewaysUp: SharedArrayBuffer;
  readonly status: SharedArrayBuffer;
  /** Int32: ThreadOrder. */
  readonly order: SharedArrayBuffer;
}

/** Longest sleep: orders are also announced by the doorbell, this is for clocks that jump. */
const SLEEP_MS_MAX = 1_000;
const SLEEP_MS_MIN = 1;
/** Turns between two updates of the shown status while there is work. */
const STATUS_TURNS = 64;

const clock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** Rings to the gateways. A batch for a gateway that is down is dropped: its connections are gone, and resume elsewhere. */
function createEgress(data: LaneWorkerData, bells: Bells): Egress {
  const up = new Int32Array(data.gatewaysUp);
  const writers = data.gateways.map(({ ring, doorbell }) => new RingWriter(ring, bells.held(doorbell)));
  return {
    offer: (gateway, batch) => {
      const writer = writers[gateway];
      if (writer === undefined || Atomics.load(up, gateway) === 0) return true;
      return writer.offer(0, 0, batch);
    },
  };
}

function createStage(data: LaneWorkerData, partition: number): Stage {
  const { conversationPartitions, userPartitions, kernel } = data;
  const options = { partition, conversationPartitions, userPartitions, kernel };
  return data.stageId === StageId.CONVERSATION ? new ConversationStage(options) : new UserStage(options);
}

function show(lane: Lane, lagBytes: number, status: Float64Array): void {
  const { counters } = lane;
  const running = lane.state === LaneState.RUNNING || lane.state === LaneState.DRAINING;
  status[LaneFieldIndex.running] = running ? 1 : 0;
  status[LaneFieldIndex.batches] = counters.batches;
  status[LaneFieldIndex.entries] = counters.entries;
  status[LaneFieldIndex.bytes] = counters.bytes;
  status[LaneFieldIndex.fetches] = counters.fetches;
  status[LaneFieldIndex.emitted] = counters.emitted;
  status[LaneFieldIndex.emitted_bytes] = counters.emittedBytes;
  status[LaneFieldIndex.stalled_turns] = counters.stalledTurns;
  status[LaneFieldIndex.commits] = counters.commits;
  status[LaneFieldIndex.ticks] = counters.ticks;
  status[LaneFieldIndex.replayed_batches] = counters.replayed;
  status[LaneFieldIndex.lag_bytes] = lagBytes;
  let uncommitted = 0;
  let refused = 0;
  for (const partition of lane.partitions) {
    uncommitted += partition.uncommittedBytes;
    if (partition.refusedReason !== '') refused++;
  }
  status[LaneFieldIndex.uncommitted_bytes] = uncommitted;
  status[LaneFieldIndex.refused_commits] = refused;
}

function run(data: LaneWorkerData): void {
  const doorbell = new Doorbell(data.doorbell);
  const bells = new Bells();
  const order = new Int32Array(data.order);
  const status = new Float64Array(data.status);
  const lane = new Lane({
    stageId: data.stageId,
    partitions: data.partitions,
    createStage: (partition) => createStage(data, partition),
    log: openLog(data.log),
    producer: openProducer(data.producer, bells),
    isLogKept: data.isLogKept,
    store: data.store === undefined ? new MemoryStore() : openStorePort(data.store),
    egress: createEgress(data, bells),
    clock,
    incarnation: data.incarnation,
  });
  let announced = false;
  for (let turns = 0; ; turns++) {
    const seen = doorbell.read();
    const wanted = Atomics.load(order, 0);
    if (wanted === ThreadOrder.FAIL) throw new Error('told to fail');
    if (wanted === ThreadOrder.DRAIN) lane.drain();
    if (wanted === ThreadOrder.STOP || lane.state === LaneState.DRAINED) break;
    const progress = lane.turn();
    bells.ring();
    if (!announced && lane.isAnnounced) {
      announced = true;
      parentPort?.postMessage({ running: true, losses: lane.losses });
    }
    if (progress && turns % STATUS_TURNS !== 0) continue;
    show(lane, lane.lagBytes(), status);
    if (progress) continue;
    // What was due and could not be done waits for somebody's bell: asking at once again would keep a core busy.
    const sleepMs = lane.wakeAtMs() - clock.monotonicMs();
    doorbell.waitSync(seen, Math.min(SLEEP_MS_MAX, Math.max(SLEEP_MS_MIN, sleepMs)));
  }
  show(lane, 0, status);
  status[LaneFieldIndex.running] = 0;
  lane.close();
}

run(workerData as LaneWorkerData);

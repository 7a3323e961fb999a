/** A gateway's thread: wires a gateway to real sockets and to the rings of the embedded engines, and turns it. */
import { setTimeout as pause } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { openBatch } from '../core/batch.js';
import { DunlinError } from '../core/errors.js';
import { BATCH_LINGER_MS } from '../core/limits.js';
import type { Clock } from '../core/ports.js';
import { Bells, Doorbell } from '../engines/doorbell.js';
import { openProducer, type ProducerHandle } from '../engines/open-log.js';
import { RingReader } from '../engines/ring.js';
import { ThreadOrder } from '../engines/thread-order.js';
import { type EgressSource, Gateway } from './gateway.js';
import { GatewayMetrics } from './gateway-metrics.js';
import { Sockets } from './sockets.js';
import { createDevelopmentIssuer, isLoopback, loadVerifier, type Verify } from './tokens.js';

export interface GatewayWorkerData {
  readonly gatewayNumber: number;
  readonly incarnation: number;
  readonly host: string;
  readonly port: number;
  /** No gateway of this process listens yet: nobody else may either. */
  readonly isFirst: boolean;
  readonly dataDirectory: string;
  readonly keys?: string;
  readonly tls?: { readonly keyFile: string; readonly certFile: string };
  readonly conversationPartitions: number;
  readonly userPartitions: number;
  readonly kernel: boolean;
  readonly framesPerSecond: number;
  readonly connectionsPerAddress: number;
  readonly admissionsPerSecond: number;
  readonly doorbell: SharedArrayBuffer;
  /** By user lane. */
  readonly rings: readonly SharedArrayBuffer[];
  readonly producer: ProducerHandle;
  /** Int32: 1 while new sends are refused. */
  readonly admission: SharedArrayBuffer;
  readonly metrics: SharedArrayBuffer;
  /** Int32: ThreadOrder. */
  readonly order: SharedArrayBuffer;
}

const SWEEP_MS = 1_000;
/**
 * After a pass that took long there is much to do, and the next one waits a little: what comes meanwhile goes to its sockets
 * together, in fewer writes, which are most of a gateway's work. With 20,000 messages a second on two cores the median second's
 * p99 fell from 191 to 160 ms.
 */
const LONG_PASS_MS = 1;
const PASS_PAUSE_FACTOR = 2;
const PASS_PAUSE_MS_MAX = 10;
/** Sessions sent away at a time while draining, and the pause between: 18,000 sessions take 4 seconds. */
const GOODBYES = 500;
const GOODBYE_PAUSE_MS = 100;
const SETTLE_PAUSE_MS = 5;

const clock: Clock = { wallMs: () => Date.now(), monotonicMs: () => performance.now() };

/** Takes from the lanes' rings in turn. A record is consumed when the next one is asked for. */
class RingEgress implements EgressSource {
  readonly #readers: RingReader[];
  #next = 0;
  #open: RingReader | undefined;

  constructor(rings: readonly SharedArrayBuffer[]) {
    this.#readers = rings.map((ring) => new RingReader(ring));
  }

  poll(): ReturnType<EgressSource['poll']> {
    this.#open?.consume();
    this.#open = undefined;
    for (let tried = 0; tried < this.#readers.length; tried++) {
      const reader = this.#readers[this.#next]!;
      this.#next = (this.#next + 1) % this.#readers.length;
      const record = reader.peek();
      if (record === undefined) continue;
      this.#open = reader;
      return openBatch(record.bytes);
    }
    return undefined;
  }
}

async function loadKeys(data: GatewayWorkerData): Promise<Verify> {
  if (data.keys !== undefined) return await loadVerifier(data.keys);
  if (!isLoopback(data.host)) {
    throw new DunlinError(
      `on ${data.host} tokens need a real issuer: give its keys with --keys (the development issuer works on loopback only).`,
    );
  }
  return (await createDevelopmentIssuer(data.dataDirectory)).verify;
}

class GatewayThread {
  readonly #gateway: Gateway;
  readonly #sockets: Sockets;
  readonly #doorbell: Doorbell;
  /** The log's writing threads are woken once a flush or a pass. */
  readonly #bells = new Bells();
  readonly #order: Int32Array;
  readonly #isFirst: boolean;
  #flushTimer: NodeJS.Timeout | undefined;
  #sweepTimer: NodeJS.Timeout | undefined;

  constructor(data: GatewayWorkerData, verify: Verify) {
    this.#doorbell = new Doorbell(data.doorbell);
    this.#order = new Int32Array(data.order);
    this.#isFirst = data.isFirst;
    const admission = new Int32Array(data.admission);
    const metrics = new GatewayMetrics(data.metrics);
    const gateway = new Gateway({
      gatewayNumber: data.gatewayNumber,
      incarnation: data.incarnation,
      conversationPartitions: data.conversationPartitions,
      userPartitions: data.userPartitions,
      producer: openProducer(data.producer, this.#bells),
      egress: new RingEgress(data.rings),
      clock,
      verify,
      metrics,
      framesPerSecond: data.framesPerSecond,
      connectionsPerAddress: data.connectionsPerAddress,
      admissionsPerSecond: data.admissionsPerSecond,
      isBusy: () => Atomics.load(admission, 0) === 1,
      random: () => Math.random(),
      kernel: data.kernel,
    });
    this.#gateway = gateway;
    this.#sockets = new Sockets({
      host: data.host,
      port: data.port,
      ...(data.tls === undefined ? {} : { tls: data.tls }),
      accept: (upgrade) => gateway.accept(upgrade),
      refused: (refusal) => gateway.refused(refusal),
      opened: (session) => gateway.opened(session),
      message: (session, bytes) => {
        gateway.message(session, bytes);
        // Full batches have gone already; the rest goes soon.
        this.#scheduleFlush();
      },
      text: (session) => gateway.text(session),
      drained: (session) => {
        gateway.drained(session);
        this.#scheduleFlush();
      },
      closed: (session) => {
        gateway.closed(session);
        this.#scheduleFlush();
      },
    });
  }

  #scheduleFlush(): void {
    if (this.#flushTimer !== undefined || !this.#gateway.wantsFlush) return;
    this.#flushTimer = setTimeout(() => {
      this.#flushTimer = undefined;
      this.#flush();
      // What found no room tries again.
      this.#scheduleFlush();
    }, BATCH_LINGER_MS);
  }

  #flush(): void {
    this.#gateway.flush();
    this.#bells.ring();
  }

  #poll(): boolean {
    const more = this.#gateway.poll();
    this.#bells.ring();
    return more;
  }

  #bell: Promise<void> | undefined;

  /** Until the doorbell rings or the gateway wants to be called. */
  async #sleep(seen: number): Promise<void> {
    this.#bell ??= this.#doorbell.waitAsync(seen).then(() => {
      this.#bell = undefined;
    });
    const ms = this.#gateway.wakeAtMs - clock.monotonicMs();
    if (ms === Infinity) {
      await this.#bell;
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    const due = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.max(1, ms));
    });
    await Promise.race([this.#bell, due]);
    clearTimeout(timer);
  }

  async run(): Promise<void> {
    const port = this.#sockets.listen(this.#isFirst);
    this.#gateway.announce();
    this.#bells.ring();
    parentPort?.postMessage({ listening: port });
    this.#sweepTimer = setInterval(() => this.#gateway.sweep(), SWEEP_MS);
    for (;;) {
      const seen = this.#doorbell.read();
      const order = Atomics.load(this.#order, 0);
      if (order === ThreadOrder.FAIL) throw new Error('told to fail');
      if (order !== ThreadOrder.RUN) break;
      const startMs = clock.monotonicMs();
      const more = this.#poll();
      this.#scheduleFlush();
      const passMs = clock.monotonicMs() - startMs;
      // Sockets get their turn between two passes.
      if (passMs > LONG_PASS_MS) await pause(Math.min(PASS_PAUSE_MS_MAX, PASS_PAUSE_FACTOR * passMs));
      else if (more) await new Promise((resolve) => setImmediate(resolve));
      else await this.#sleep(seen);
    }
    if (Atomics.load(this.#order, 0) === ThreadOrder.DRAIN) await this.#drain();
  }

  close(): void {
    clearInterval(this.#sweepTimer);
    clearTimeout(this.#flushTimer);
    this.#sockets.close();
  }

  /** Until all sessions are gone and the log has answered for everything, or STOP comes. */
  async #drain(): Promise<void> {
    this.#gateway.beginDrain();
    this.#sockets.stopListening();
    const isStopped = (): boolean => Atomics.load(this.#order, 0) === ThreadOrder.STOP;
    while (!this.#gateway.goodbye(GOODBYES) && !isStopped()) {
      this.#poll();
      this.#flush();
      await pause(GOODBYE_PAUSE_MS);
    }
    while (!isStopped() && !this.#gateway.isSettled) {
      this.#flush();
      this.#poll();
      await pause(SETTLE_PAUSE_MS);
    }
  }
}

/** However the thread ends, its sockets must be given back first, or uWebSockets.js takes the process with it. */
async function main(data: GatewayWorkerData): Promise<void> {
  let thread: GatewayThread | undefined;
  const end = (): void => thread?.close();
  process.once('uncaughtException', (error) => {
    end();
    throw error;
  });
  try {
    thread = new GatewayThread(data, await loadKeys(data));
    await thread.run();
  } catch (error) {
    if (!(error instanceof DunlinError)) {
      end();
      throw error;
    }
    parentPort?.postMessage({ failed: error.message });
  }
  end();
}

await main(workerData as GatewayWorkerData);
parentPort?.close();

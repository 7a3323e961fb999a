/**
 * Apache Kafka's own producer benchmark, as the ceiling of a broker that keeps messages: one node, one topic, records of a message's
 * size, acknowledged by the leader, which is all replicas. It is no chat: nobody is delivered to.
 */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BODY_BYTES } from './body.js';
import type { Durability } from './peer.js';
import { cpuSeconds, ServerProcess } from './server-process.js';
import { cacheDirectory, once, run } from './setup.js';

const VERSION = '4.1.0';
const JARS = cacheDirectory(`kafka-${VERSION}`);
/** 16 random bytes in base64url, as `kafka-storage random-uuid` makes them. */
const CLUSTER_ID = 'MkU3OEVBNTcwNTJENDM2Qg';
const PARTITIONS = 16;

export const KAFKA = {
  name: 'Kafka, producer benchmark',
  version: VERSION,
  durability: 'written' as Durability,
  setting: `one node (KRaft), acks=all, batches of 64 KiB gathered for 5 ms, ${PARTITIONS} partitions; written to the page cache, as by default`,
  lacks: [
    'everything of a chat but the log: no delivery to users, no inbox, no receipts',
    'sync before the acknowledgement (by default)',
  ],
};

export interface KafkaRun {
  readonly records: number;
  readonly seconds: number;
  readonly serverCpuSeconds: number;
  readonly p99Ms: number;
}

function pom(): string {
  const dependency = (artifact: string): string =>
    `<dependency><groupId>org.apache.kafka</groupId><artifactId>${artifact}</artifactId><version>${VERSION}</version></dependency>`;
  return `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>dunlin</groupId><artifactId>peers</artifactId><version>1</version>
<dependencies>${dependency('kafka_2.13')}${dependency('kafka-tools')}</dependencies></project>`;
}

/** A sentence if it cannot run here. */
export async function prepareKafka(progress: (sentence: string) => void): Promise<string | undefined> {
  try {
    await run('java', ['-version']);
  } catch (error) {
    return (error as Error).message;
  }
  return once(JARS, async (to) => {
    progress(`Kafka: its jars by Maven, once`);
    const directory = `${to}.pom`;
    fs.mkdirSync(directory, { recursive: true });
    fs.writeFileSync(join(directory, 'pom.xml'), pom());
    try {
      await run('mvn', ['-q', '-B', 'dependency:copy-dependencies', `-DoutputDirectory=${to}`], { cwd: directory });
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  });
}

function java(program: string, args: readonly string[]): string[] {
  return ['-Xmx1g', '-cp', `${JARS}/*`, program, ...args];
}

function configuration(directory: string, port: number): string {
  return `process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:${port + 1}
listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${port + 1}
controller.listener.names=CONTROLLER
log.dirs=${directory}/data
num.partitions=${PARTITIONS}
offsets.topic.replication.factor=1
`;
}

export const KAFKA_LINES = configuration('', 0).trim().split('\n').length;

/** One server, and `runs` runs of `records` records each; a first one warms both up. */
export async function measureKafka(port: number, records: number, runs: number): Promise<KafkaRun[]> {
  const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-peers-'));
  const file = join(directory, 'server.properties');
  fs.writeFileSync(file, configuration(directory, port));
  try {
    const format = ['format', '-t', CLUSTER_ID, '-c', file, '--standalone'];
    await run('java', java('kafka.tools.StorageTool', format), { cwd: directory });
    const server = new ServerProcess({ command: 'java', args: java('kafka.Kafka', [file]), directory });
    try {
      await server.untilPort(port);
      await produce(server.pid, port, records);
      const measured: KafkaRun[] = [];
      for (let n = 0; n < runs; n++) measured.push(await produce(server.pid, port, records));
      return measured;
    } finally {
      await server.stop();
    }
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** `500000 records sent, 412541.3 records/sec (47.21 MB/sec), 12.3 ms avg latency, … 45 ms 99th, …`. */
const OUTCOME = /(\d+) records sent, ([\d.]+) records\/sec .* (\d+) ms 99th/g;

async function produce(pid: number, port: number, records: number): Promise<KafkaRun> {
  const before = cpuSeconds([pid]);
  const properties = [`bootstrap.servers=127.0.0.1:${port}`, 'acks=all', 'linger.ms=5', 'batch.size=65536'];
  const size = ['--record-size', String(BODY_BYTES), '--num-records', String(records), '--throughput', '-1'];
  const args = ['--topic', 'messages', ...size, '--producer-props', ...properties];
  const said = await run('java', java('org.apache.kafka.tools.ProducerPerformance', args));
  const [, sent, rate, p99] = [...said.matchAll(OUTCOME)].at(-1)!;
  return {
    records: Number(sent),
    seconds: Number(sent) / Number(rate),
    serverCpuSeconds: cpuSeconds([pid]) - before,
    p99Ms: Number(p99),
  };
}

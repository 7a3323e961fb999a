/** `dunlin up`: the whole backbone in one process, on the embedded engines. */
import { Command, Option } from 'commander';
import { DunlinError } from '../core/errors.js';
import {
  ADMISSIONS_PER_SECOND,
  CONNECTION_FRAMES_PER_SECOND,
  CONNECTIONS_PER_ADDRESS_MAX,
  DISK_RESERVE_BYTES,
  DRAIN_MS,
  PARTITIONS_DEFAULT,
  PARTITIONS_MAX,
  RETAIN_BYTES,
} from '../core/limits.js';
import { type Backbone, startBackbone } from '../pipelines/backbone.js';
import { startAdmin } from './admin.js';
import { DEFAULT_ADMIN_PORT, DEFAULT_HOST, DEFAULT_PORT, defaultDataDirectory } from './defaults.js';
import { byteSize, durationMs, port, wholeNumber } from './flags.js';

interface UpFlags {
  host: string;
  port: number;
  adminPort: number;
  data: string;
  partitions?: number;
  lanes: number;
  gateways: number;
  keys?: string;
  tlsKey?: string;
  tlsCert?: string;
  log: 'disk' | 'memory';
  diskReserve: number;
  retain: number;
  framesPerSecond: number;
  connectionsPerAddress: number;
  admissionsPerSecond: number;
  drain: number;
  kernel: 'on' | 'off';
  json?: boolean;
}

const EXAMPLES = `
Examples:
  dunlin up
  dunlin up --port 9000 --admin-port 9001 --data /var/lib/dunlin
  dunlin up --host 0.0.0.0 --keys https://id.example.org/jwks.json --tls-key key.pem --tls-cert cert.pem

Without --keys the backbone takes tokens of its own development issuer (\`dunlin token\`), on loopback only.`;

function sized(flags: string, description: string, bytes: number, shown: string): Option {
  return new Option(flags, description).argParser(byteSize).default(bytes, shown);
}

export function upCommand(): Command {
  return new Command('up')
    .description('Serve: gateways, log, pipelines and store in one process, with its data on this disk.')
    .option('--host <address>', 'address to listen on', DEFAULT_HOST)
    .option('--port <number>', 'port for clients (0: any free one)', port, DEFAULT_PORT)
    .option(
      '--admin-port <number>',
      'port for operators, on the same address (0: any free one)',
      port,
      DEFAULT_ADMIN_PORT,
    )
    .option('--data <directory>', 'where everything is kept (or DUNLIN_DATA)', defaultDataDirectory())
    .option(
      '--partitions <number>',
      `partitions of each topic; fixed when the data directory is made (${PARTITIONS_DEFAULT})`,
      wholeNumber(1, PARTITIONS_MAX),
    )
    .option('--lanes <number>', 'worker threads a stage', wholeNumber(1, 64), 1)
    .option('--gateways <number>', 'gateway threads', wholeNumber(1, 64), 1)
    .option('--keys <file or URL>', 'JWKS, JWK or PEM public key that signs the tokens')
    .option('--tls-key <file>', 'TLS private key, PEM')
    .option('--tls-cert <file>', 'TLS certificate chain, PEM')
    .addOption(
      new Option('--log <disk|memory>', 'memory: nothing is kept, all is gone when it ends')
        .choices(['disk', 'memory'])
        .default('disk'),
    )
    .addOption(
      sized('--disk-reserve <size>', 'refuse new sends when the disk has less free', DISK_RESERVE_BYTES, '256m'),
    )
    .addOption(sized('--retain <size>', 'keep at least this much of each log', RETAIN_BYTES, '256m'))
    .option(
      '--frames-per-second <number>',
      'frames a second that one connection may send',
      wholeNumber(1, 10_000_000),
      CONNECTION_FRAMES_PER_SECOND,
    )
    .option(
      '--connections-per-address <number>',
      'connections that one address may have',
      wholeNumber(1, 10_000_000),
      CONNECTIONS_PER_ADDRESS_MAX,
    )
    .option(
      '--admissions-per-second <number>',
      'new sessions a second that a gateway takes',
      wholeNumber(1, 1_000_000),
      ADMISSIONS_PER_SECOND,
    )
    .addOption(new Option('--drain <time>', 'how long a stop may take').argParser(durationMs).default(DRAIN_MS, '30s'))
    .addOption(
      new Option('--kernel <on|off>', 'WebAssembly kernels of lanes and gateways, where they can run')
        .choices(['on', 'off'])
        .env('DUNLIN_KERNEL')
        .default('on'),
    )
    .option('--json', 'print one JSON object when ready, and nothing else')
    .addHelpText('after', EXAMPLES)
    .action(up);
}

async function up(flags: UpFlags): Promise<void> {
  const began = performance.now();
  if ((flags.tlsKey === undefined) !== (flags.tlsCert === undefined)) {
    throw new DunlinError('--tls-key and --tls-cert go together: give both or none.');
  }
  // Before anything is started: a signal that comes early must not end the process in the middle.
  const signal = stopSignal();
  const backbone = await startBackbone({
    host: flags.host,
    port: flags.port,
    dataDirectory: flags.data,
    ...(flags.partitions === undefined ? {} : { partitions: flags.partitions }),
    lanes: flags.lanes,
    gateways: flags.gateways,
    ...(flags.keys === undefined ? {} : { keys: flags.keys }),
    ...(flags.tlsKey === undefined ? {} : { tls: { keyFile: flags.tlsKey, certFile: flags.tlsCert! } }),
    log: flags.log,
    diskReserveBytes: flags.diskReserve,
    retainBytes: flags.retain,
    framesPerSecond: flags.framesPerSecond,
    connectionsPerAddress: flags.connectionsPerAddress,
    admissionsPerSecond: flags.admissionsPerSecond,
    kernel: flags.kernel === 'on',
    warn: (sentence) => console.error(`dunlin: ${sentence}`),
  });
  let admin: Awaited<ReturnType<typeof startAdmin>>;
  try {
    admin = await startAdmin({ host: flags.host, port: flags.adminPort, backbone });
  } catch (error) {
    await backbone.close(0);
    throw error;
  }
  announce(flags, backbone, admin.port, performance.now() - began);
  process.exitCode = await untilStopped(backbone, signal, flags.drain, flags.log === 'disk');
  await admin.close();
}

function announce(flags: UpFlags, backbone: Backbone, adminPort: number, tookMs: number): void {
  const host = flags.host.includes(':') ? `[${flags.host}]` : flags.host;
  const url = `${flags.tlsKey === undefined ? 'ws' : 'wss'}://${host}:${backbone.port}/socket`;
  const admin = `http://${host}:${adminPort}`;
  if (flags.json === true) {
    console.log(
      JSON.stringify({ url, admin, data: backbone.dataDirectory, pid: process.pid, ready_ms: Math.round(tookMs) }),
    );
    return;
  }
  const urlFlag =
    flags.port === DEFAULT_PORT && flags.host === DEFAULT_HOST && flags.tlsKey === undefined ? '' : ` --url ${url}`;
  const dataFlag = flags.data === defaultDataDirectory() ? '' : ` --data ${flags.data}`;
  console.log(`dunlin is ready, ${(tookMs / 1000).toFixed(1)} s after its start

  clients    ${url}
  operators  ${admin}/health  /ready  /metrics
  data       ${flags.log === 'memory' ? 'in memory only: NOTHING SURVIVES the end of this process' : backbone.dataDirectory}

Next, in another terminal:
  npx dunlin load --rate 1000 --duration 10s${urlFlag}${dataFlag}
  npx dunlin chat --as ada --to bo${urlFlag}${dataFlag}
`);
}

/** The first SIGTERM or SIGINT; a second one ends the process at once. */
function stopSignal(): Promise<string> {
  let count = 0;
  return new Promise((resolve) => {
    const stop = (name: string): void => {
      count++;
      if (count > 1) process.exit(1);
      resolve(name);
    };
    process.on('SIGTERM', () => stop('SIGTERM'));
    process.on('SIGINT', () => stop('SIGINT'));
  });
}

/** Waits for a signal or a failure beyond repair; returns the exit code. */
async function untilStopped(
  backbone: Backbone,
  signal: Promise<string>,
  drainMs: number,
  isKept: boolean,
): Promise<number> {
  const reason = await Promise.race([signal, backbone.failed]);
  if (reason instanceof Error) {
    console.error(`dunlin: ${reason.message}`);
    await backbone.close(0);
    return 1;
  }
  console.error(`dunlin: ${reason}: draining for at most ${drainMs / 1000} s; once more ends at once.`);
  await backbone.close(drainMs);
  console.error(isKept ? 'dunlin: everything is on disk. Goodbye.' : 'dunlin: nothing was kept. Goodbye.');
  return 0;
}

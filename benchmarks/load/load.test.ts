/** Whole runs of the generator, in this process, against a server that behaves and against servers that do not. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { checkHistory } from '../../core/checks/history.js';
import { LoadRun } from './coordinator.js';
import { DEFAULT_WORKLOAD_FILE } from './defaults.js';
import { FakeServer, type Fault } from './fake-server.js';
import type { Interval } from './live.js';
import type { RunPlan } from './messages.js';
import { localGenerator } from './processes.js';
import { renderReport } from './report.js';
import { type LoadResult, printViolation } from './result.js';
import type { Stepper } from './steps.js';
import { mergeWorkload, parseWorkload, type Workload } from './workload.js';

const folder = await mkdtemp(join(tmpdir(), 'dunlin-load-'));
const keyFile = join(folder, 'key.pem');
await writeFile(keyFile, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
after(() => rm(folder, { recursive: true }));

const defaults = mergeWorkload(parseWorkload(await readFile(DEFAULT_WORKLOAD_FILE, 'utf8'), 'default.yaml'));

const SMALL: Partial<Workload> = {
  users: 24,
  devicesPerUser: 1.5,
  ratePerSecond: 400,
  durationMs: 700,
  drainMs: 30_000,
  contactsPerUser: 4,
  readDelayMs: 50,
  reconnectsPerMinute: 0,
};

let runs = 100;

function planOf(url: string, workload: Partial<Workload>, more: Partial<RunPlan> = {}): RunPlan {
  return {
    url,
    workload: mergeWorkload(defaults, SMALL, workload),
    seed: 42,
    run: ++runs,
    trace: null,
    key: { file: keyFile },
    caBundle: null,
    historyDirectory: null,
    connectsPerSecond: 5_000,
    processes: 1,
    ...more,
  };
}

interface Hooks {
  readonly onInterval?: (interval: Interval, run: LoadRun) => void;
  readonly findMax?: { p99Ms: number; stepMs: number };
  readonly drive?: (stepper: Stepper) => Promise<void>;
}

async function load(plan: RunPlan, hooks: Hooks = {}): Promise<LoadResult> {
  const run: LoadRun = new LoadRun({
    plan,
    findMax: hooks.findMax ?? null,
    ...(hooks.drive === undefined ? {} : { drive: hooks.drive }),
    makePort: localGenerator,
    onInterval: (interval) => hooks.onInterval?.(interval, run),
  });
  return run.run();
}

async function withServer(
  options: { fault?: Fault; faultAt?: number },
  use: (server: FakeServer) => Promise<void>,
): Promise<void> {
  const server = new FakeServer(options);
  await server.start();
  try {
    await use(server);
  } finally {
    await server.stop();
  }
}

function explain(result: LoadResult): string {
  return `${result.verdict}\n${JSON.stringify(result.first_violation, null, 1)}`;
}

/** Runs mostly wait for sockets and timers, so they go side by side. */
describe('whole runs', { concurrency: 4 }, () => {
  test('a server that behaves: everything arrives, and the numbers add up', async () => {
    await withServer({}, async (server) => {
      const historyDirectory = await mkdtemp(join(tmpdir(), 'dunlin-history-'));
      const plan = planOf(server.url, { reconnectsPerMinute: 30, durationMs: 60_000 }, { historyDirectory });
      const result = await load(plan, {
        onInterval: (interval, run) => {
          if (interval.sent > 150 && interval.reconnects > 0 && interval.delivered > 300) run.stop();
        },
      });
      assert.ok(result.ok, explain(result));
      const lines = (await readFile(join(historyDirectory, '0.ndjson'), 'utf8')).split('\n');
      await rm(historyDirectory, { recursive: true });
      const judged = checkHistory(lines, { gapsAllowed: false });
      // It counts what groups were founded with, too.
      assert.ok(judged.isClean, JSON.stringify(judged.violations.kept[0]));
      assert.ok(judged.sends >= result.sent && judged.sends === judged.acknowledged && judged.deliveries > result.sent);
      assert.ok(result.sent > 150 && result.sent === result.acked, `${result.sent} sent, ${result.acked} acked`);
      assert.ok(result.delivered > result.sent);
      assert.deepEqual(
        [result.lost, result.duplicated, result.out_of_order, result.gaps, result.invented],
        [0, 0, 0, 0, 0],
      );
      assert.match(
        result.verdict,
        /^nothing lost, nothing doubled, all in order: [\d,]+ messages, [\d,]+ deliveries, p99 /,
      );
      assert.ok(result.latency_ms!.p50 <= result.latency_ms!.p99 && result.latency_ms!.p99 <= result.latency_ms!.max);
      assert.ok(result.group_messages > 0 && result.group_messages < result.sent);
      assert.ok(result.receipts > 0 && result.reads > 0 && result.reconnects.planned > 0);
      assert.equal(result.unsent, 0);
      assert.equal(result.series.seconds.length, result.series.backlog.length);
      JSON.parse(JSON.stringify(result));
    });
  });

  test('three generators share one load, and agree', async () => {
    await withServer({}, async (server) => {
      const result = await load(planOf(server.url, { warmUpMs: 5_000 }, { processes: 3 }));
      assert.ok(result.ok, explain(result));
      assert.equal(result.sent, result.acked);
      const { latency_ms: latency, latency_warm_up_ms: warmUp } = result;
      assert.ok(warmUp!.count > 0 && warmUp!.count < latency!.count / 2, 'the first tenth of the run counts apart');
      assert.equal(latency!.count + warmUp!.count, result.delivered);
    });
  });

  test('those offline get everything when they come online at the end', async () => {
    await withServer({}, async (server) => {
      const result = await load(planOf(server.url, { onlineShare: 0.5 }));
      assert.ok(result.ok, explain(result));
      assert.ok(result.latency_resumed_ms!.count > 0, 'their deliveries count apart');
    });
  });

  test('a restart of the server under the load is survived, and measured', async () => {
    await withServer({}, async (server) => {
      let restarted = false;
      const result = await load(planOf(server.url, { durationMs: 2_500, drainMs: 20_000 }), {
        onInterval: (interval) => {
          if (restarted || interval.sent < 200) return;
          restarted = true;
          void server.stop().then(() => server.start());
        },
      });
      assert.ok(restarted);
      assert.ok(result.ok, explain(result));
      assert.ok(result.reconnects.unplanned > 20);
      assert.ok(result.cut_off_ms!.max >= result.cut_off_ms!.median);
      assert.ok(
        result.latency_steady_ms!.count < result.latency_ms!.count,
        'the outage is left out of the steady state',
      );
      assert.ok(result.latency_steady_ms!.max <= result.latency_ms!.max);
    });
  });

  /** Two messages of one sender in one WebSocket message need somebody who has a lot to say. */
  const BUSY: Partial<Workload> = {
    users: 2,
    contactsPerUser: 1,
    ratePerSecond: 4_000,
    userRateMax: 4_000,
    groupShare: 0,
  };

  /** What must be counted. Which violation is seen first depends on who hears of it first. */
  const faults: [Fault, (result: LoadResult) => number, Partial<Workload>?][] = [
    ['lose', (result) => result.gaps + result.lost],
    ['lose-tail', (result) => result.lost],
    ['double', (result) => result.duplicated],
    ['swap', (result) => result.out_of_order + result.gaps + result.lost],
    ['reorder', (result) => result.out_of_order, BUSY],
    ['gap', (result) => result.gaps],
    ['invent', (result) => result.invented],
    ['alter', (result) => result.invented],
    ['reject-deliver', (result) => result.invented],
    ['forget-receipts', (result) => result.violations['G7'] ?? 0],
    ['receipt-ahead', (result) => result.violations['G7'] ?? 0],
  ];

  for (const [fault, count, workload] of faults) {
    test(`caught: ${fault}`, async () => {
      await withServer({ fault, faultAt: 60 }, async (server) => {
        const result = await load(
          planOf(server.url, { devicesPerUser: 1, durationMs: 500, drainMs: 600, ...workload }),
        );
        assert.ok(server.faulted, 'the fault has happened');
        assert.match(result.verdict, /^VIOLATION G\d: /);
        assert.ok(!result.ok && count(result) > 0, explain(result));
      });
    });
  }

  test('caught across processes: what only the sum of them shows', async () => {
    await withServer({ fault: 'reject-deliver', faultAt: 60 }, async (server) => {
      const result = await load(planOf(server.url, { durationMs: 500, drainMs: 600 }, { processes: 3 }));
      assert.ok(result.violations['G5']! > 0 && result.invented > 0, explain(result));
    });
  });

  test('caught: a reconnect that skips what waits', async () => {
    await withServer({ fault: 'resume-skip' }, async (server) => {
      const result = await load(
        planOf(server.url, { reconnectsPerMinute: 30, durationMs: 3_000, users: 12, ratePerSecond: 600 }),
        {
          onInterval: (_, run) => {
            if (server.faulted) run.stop();
          },
        },
      );
      assert.ok(server.faulted, 'the fault has happened');
      assert.ok(result.gaps + result.lost > 0, explain(result));
    });
  });

  test('the first violation is shown in full: the frames in hex and in words', async () => {
    await withServer({ fault: 'alter' }, async (server) => {
      const result = await load(planOf(server.url, { devicesPerUser: 1, durationMs: 400, drainMs: 500 }));
      const violation = result.first_violation!;
      assert.ok(violation.device > 0 && violation.convB > 0 && violation.seq > 0);
      assert.ok(violation.frames.length > 0);
      assert.match(violation.frames[0]!.hex, /^9bcc01cc/);
      assert.match(violation.frames[0]!.fields, /^MESSAGE flags 0 conversation/);
      assert.match(printViolation(violation), /^G5 violated: .*checksum[\s\S]*9bcc01cc/);
    });
  });

  test('a trace is replayed: joins, leaves and messages in their order, whatever the speed', async () => {
    const rows = ['at_ms,conversation,sender,kind,bytes'];
    for (let i = 0; i < 400; i++) {
      const conversation = 1 + (i % 4);
      const sender = 1 + ((i * 7) % 11);
      const kind = i % 23 === 22 ? 'leave' : i % 19 === 18 ? 'join' : 'message';
      rows.push(`${i * 1_000},${conversation},${sender},${kind},${kind === 'message' ? 20 + (i % 300) : 0}`);
    }
    const file = join(folder, 'trace.csv');
    await writeFile(file, `${rows.join('\n')}\n`);
    await withServer({}, async (server) => {
      for (const processes of [1, 3]) {
        const plan = planOf(
          server.url,
          { users: 20, readShare: 0.2 },
          { trace: { file, speed: 1_000, limit: 1_000_000 }, processes },
        );
        const result = await load(plan);
        assert.ok(result.ok, explain(result));
        assert.ok(result.sent > 300 && result.sent === result.acked);
        assert.ok(result.group_changes > 20);
        assert.equal(result.unsent, 0);
      }
    });
  });

  test('a stop ends sending, and the run still comes to its verdict', async () => {
    await withServer({}, async (server) => {
      const result = await load(planOf(server.url, { durationMs: 60_000 }), {
        onInterval: (interval, run) => {
          if (interval.sent > 100) run.stop();
        },
      });
      assert.ok(result.ok, explain(result));
      assert.ok(result.duration_s < 10);
    });
  });

  test('a search finds a rate, and tells its steps', async () => {
    await withServer({}, async (server) => {
      let polls = 0;
      const result = await load(planOf(server.url, { ratePerSecond: 100 }), {
        findMax: { p99Ms: 5_000, stepMs: 50 },
        onInterval: (interval, run) => {
          if (interval.phase === 'sending' && ++polls > 3) run.stop();
        },
      });
      assert.ok(result.find_max!.steps.length >= 1);
      assert.equal(result.find_max!.steps[0]!.rate, 100);
    });
  });

  test('what has not come when time is up is unfinished, and no violation', async () => {
    await withServer({}, async (server) => {
      const result = await load(planOf(server.url, { durationMs: 60_000, drainMs: 300 }), {
        onInterval: ({ sent }, run) => {
          if (sent < 100) return;
          void server.stop();
          run.stop();
        },
      });
      assert.ok(!result.ok);
      assert.equal(result.first_violation, null, explain(result));
      assert.match(result.verdict, /^UNFINISHED after /);
    });
  });

  test('steps are made by whoever asks for them, and all of what they sent arrives', async () => {
    await withServer({}, async (server) => {
      const rates: number[] = [];
      const result = await load(planOf(server.url, { ratePerSecond: 100 }), {
        drive: async (stepper) => {
          for (const rate of [200, 400]) {
            const figures = await stepper.step({ rate, warmUpMs: 20, measureMs: 300 });
            assert.ok(figures.sent_per_s > 0 && figures.delivered_per_s > 0 && figures.p99_ms !== null);
            assert.ok(figures.accepted_p99_ms !== null && figures.generator_cpu_of_all >= figures.generator_cpu);
            rates.push(figures.rate);
          }
          assert.ok(await stepper.settle());
        },
      });
      assert.deepEqual(rates, [200, 400]);
      assert.ok(result.ok, explain(result));
      assert.equal(result.sent, result.acked);
    });
  });

  test('with a bound on what is outstanding, a rate beyond all measure sends no more than is answered', async () => {
    await withServer({}, async (server) => {
      let most = 0;
      const closed = { ratePerSecond: 1_000_000, outstandingMax: 10, warmUpMs: 0 };
      const result = await load(planOf(server.url, closed), {
        drive: async (stepper) => {
          for (let step = 0; step < 5; step++) {
            const before = await stepper.step({ rate: 1_000_000, warmUpMs: 0, measureMs: 60 });
            most = Math.max(most, before.outstanding);
          }
        },
      });
      assert.ok(result.ok, explain(result));
      assert.ok(most > 0 && most <= 10, `${most} outstanding`);
      assert.ok(result.sent > 50, 'it went on');
    });
  });

  test('a storm cuts every connection, and all come back', async () => {
    await withServer({}, async (server) => {
      const result = await load(planOf(server.url, { durationMs: 60_000, stormMs: 150 }), {
        onInterval: ({ reconnects, connections, connectionsWanted }, run) => {
          if (reconnects > 0 && connections === connectionsWanted) run.stop();
        },
      });
      assert.ok(result.ok, explain(result));
      assert.equal(result.reconnects.unplanned, result.connections.devices);
      assert.equal(result.cut_off_ms!.cuts, result.connections.devices);
    });
  });

  test('no server, a wrong port, a wrong address: a sentence', async () => {
    const server = new FakeServer();
    await server.start();
    const { url } = server;
    await server.stop();
    await assert.rejects(load(planOf(url, {})), /^DunlinError: cannot connect to ws:.*Is the server up\?/);
    await assert.rejects(load(planOf('http://127.0.0.1/', {})), /is not a WebSocket address/);
  });

  test('the report holds what was found, and nothing from elsewhere', async () => {
    await withServer({ fault: 'double' }, async (server) => {
      const result = await load(planOf(server.url, { durationMs: 400, drainMs: 400 }));
      const html = renderReport({ ...result, url: 'ws://<script>alert(1)</script>' });
      assert.ok(html.startsWith('<!doctype html>'));
      assert.match(html, /The first violation/);
      assert.match(html, /Delivery latency/);
      assert.ok(!html.includes('<script>alert'), 'everything is escaped');
      assert.ok(!/(?:src|href)=|@import|url\(/.test(html), 'needs nothing else');
      assert.ok(!html.includes('NaN') && !html.includes('undefined'), 'every number is one');
    });
  });
});

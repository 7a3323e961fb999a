/** A log that is older than the store: the partition stops and says so; an operator accepts the loss; nothing is given out twice. */
import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { DunlinClient, GapReason } from '../../client/node.js';
import { LOST_SEQUENCES_MAX } from '../../core/limits.js';
import { createDevelopmentIssuer } from '../../gateway/tokens.js';
import { finish, restartServer, runDunlin, type Server, startServer, temporaryDirectory } from './harness.js';

const ADA = 1;
const BO = 2;

interface Recovered {
  readonly losses: readonly { readonly topic: string; readonly sentence: string }[];
  readonly accepted_now: number;
  readonly accepted_ever: number;
}

async function recover(server: Server, ...flags: string[]): Promise<{ code: number | null; text: string }> {
  return await finish(runDunlin(['recover', '--data', server.data, ...flags]));
}

function parsed({ code, text }: { code: number | null; text: string }): Recovered {
  assert.equal(code, 0, text);
  return JSON.parse(text) as Recovered;
}

function exchange(log: string, by: string): void {
  rmSync(log, { recursive: true });
  cpSync(by, log, { recursive: true });
}

async function readiness(server: Server): Promise<{ status: number; text: string }> {
  const response = await fetch(`${server.admin}/ready`);
  return { status: response.status, text: await response.text() };
}

async function clients(server: Server): Promise<{ ada: DunlinClient; bo: DunlinClient }> {
  const issuer = await createDevelopmentIssuer(server.data);
  const connect = async (user: number): Promise<DunlinClient> => {
    const token = await issuer.sign({ user, device: 1, ttlMs: 3_600_000 });
    const client = new DunlinClient({ url: server.url, token });
    await client.connect();
    return client;
  };
  return { ada: await connect(ADA), bo: await connect(BO) };
}

test('a loss is told, accepted, and gone on from', async () => {
  let server = await startServer({ args: ['--partitions', '1'] });
  const { ada, bo } = await clients(server);
  const seen: number[] = [];
  const gaps: (readonly [through: number, reason: number])[] = [];
  bo.on('message', ({ seq }) => seen.push(seq));
  bo.on('gap', ({ through, reason }) => gaps.push([through, reason]));
  const conversation = ada.direct(BO);
  const stopsOver = async (copy: string, log: string): Promise<Recovered> => {
    exchange(log, copy);
    server = await restartServer(server);
    await server.program.line(/lost acknowledged records of CONVERSATION partition 0/);
    assert.equal((await readiness(server)).status, 503);
    assert.equal(await server.stop(), 0, server.program.text());
    const found = parsed(await recover(server, '--json'));
    assert.ok(found.losses.some(({ topic }) => topic === 'CONVERSATION'));
    return found;
  };
  const say = async (): Promise<number> => (await ada.send(conversation, 'hello')).seq;
  try {
    assert.deepEqual([await say(), await say()], [1, 2]);
    assert.equal(await server.stop(), 0, server.program.text());

    const copy = join(temporaryDirectory('log'), 'log');
    cpSync(join(server.data, 'log'), copy, { recursive: true });
    server = await restartServer(server);
    assert.deepEqual([await say(), await say(), await say()], [3, 4, 5]);
    assert.match((await recover(server)).text, /is locked by process/);
    assert.equal(await server.stop(), 0, server.program.text());
    const nothing = await recover(server, '--accept-loss');
    assert.deepEqual([nothing.code, /nothing is lost/.test(nothing.text)], [2, true], nothing.text);

    // The old copy in its place; and the right one again.
    const log = join(server.data, 'log');
    const right = join(temporaryDirectory('log'), 'log');
    cpSync(log, right, { recursive: true });
    await stopsOver(copy, log);
    exchange(log, right);
    assert.equal(parsed(await recover(server, '--check-again', '--json')).accepted_ever, 0);
    server = await restartServer(server);
    assert.equal(await say(), 6);
    assert.equal((await readiness(server)).status, 200);
    assert.equal(await server.stop(), 0, server.program.text());

    const found = await stopsOver(copy, log);
    const accepted = parsed(await recover(server, '--accept-loss', '--json'));
    assert.deepEqual([accepted.accepted_now, accepted.accepted_ever], [found.losses.length, found.losses.length]);
    assert.deepEqual(parsed(await recover(server, '--json')).losses, []);

    server = await restartServer(server);
    const next = 6 + LOST_SEQUENCES_MAX + 1;
    const arrived = new Promise<void>((resolve) => bo.on('message', ({ seq }) => seq > next && resolve()));
    assert.deepEqual([await say(), await say()], [next, next + 1]);
    await arrived;
    assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, next, next + 1]);
    assert.deepEqual(gaps, [[next - 1, GapReason.LOST]]);
    assert.equal((await readiness(server)).status, 200);
  } finally {
    await Promise.all([ada.close(), bo.close()]);
    await server.stop();
  }
});

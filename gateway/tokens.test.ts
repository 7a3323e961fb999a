import assert from 'node:assert/strict';
import { createHmac, createSign, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DunlinError } from '../core/errors.js';
import { isUserId } from '../core/ids.js';
import { USER_ID_MAX } from '../core/limits.js';
import { createDevelopmentIssuer, FetchedKeys, isLoopback, loadVerifier, userIdOfName, type Verify } from './tokens.js';

const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-tokens-'));
after(() => fs.rmSync(directory, { recursive: true }));

const ed = generateKeyPairSync('ed25519');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const foreign = generateKeyPairSync('ed25519');
const EXP = Math.floor(Date.now() / 1_000) + 3_600;

function encode(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
}

function tokenOf(header: object, claims: unknown, signer: (data: string) => Buffer | string): string {
  const data = `${encode(header)}.${encode(claims)}`;
  return `${data}.${Buffer.from(signer(data)).toString('base64url')}`;
}

const byEd = (data: string): Buffer => sign(undefined, Buffer.from(data), ed.privateKey);
const byRsa = (data: string): Buffer => createSign('sha256').update(data).sign(rsa.privateKey);
const GOOD = { sub: '1001', dev: 1, exp: EXP };

function edToken(claims: unknown = GOOD, header: object = { alg: 'EdDSA' }): string {
  return tokenOf(header, claims, byEd);
}

function fileOf(name: string, content: string): string {
  const file = join(directory, name);
  fs.writeFileSync(file, content);
  return file;
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'pem' }) as string;
}

const verifyEd = await loadVerifier(fileOf('ed.pem', pemOf(ed.publicKey)));
const verifyRsa = await loadVerifier(fileOf('rsa.pem', pemOf(rsa.publicKey)));

function assertTaken(verify: Verify, token: string, message?: string): void {
  assert.deepEqual(verify(token), { user: 1001, device: 1, expiresAtMs: EXP * 1_000 }, message);
}

function assertRefused(verify: Verify, token: string, sentence: RegExp, message?: string): void {
  const result = verify(token);
  assert.ok('sentence' in result, message ?? token);
  assert.match(result.sentence, sentence);
  assert.equal(result.canRetry, false);
}

test('tokens of EdDSA and RS256 are taken', () => {
  assertTaken(verifyEd, edToken());
  assertTaken(verifyEd, edToken(GOOD, { alg: 'Ed25519', typ: 'JWT' }));
  assertTaken(verifyRsa, tokenOf({ alg: 'RS256' }, GOOD, byRsa));
});

test('the algorithm is never the token’s choice', () => {
  const noSignature = `${encode({ alg: 'none' })}.${encode(GOOD)}.`;
  assertRefused(verifyEd, noSignature, /not signed with EdDSA or RS256/);
  for (const secret of [pemOf(rsa.publicKey), pemOf(rsa.publicKey).trim()]) {
    const byHmac = (data: string): Buffer => createHmac('sha256', secret).update(data).digest();
    assertRefused(verifyRsa, tokenOf({ alg: 'HS256' }, GOOD, byHmac), /not signed with EdDSA or RS256/);
    assertRefused(verifyRsa, tokenOf({ alg: 'RS256' }, GOOD, byHmac), /not signed with a key/);
  }
  for (const alg of ['None', 'ES256', 'RS512', 'PS256', '', 5, null, ['EdDSA'], 'constructor', undefined]) {
    assertRefused(verifyEd, edToken(GOOD, { alg }), /not signed with EdDSA or RS256/, `alg ${String(alg)}`);
  }
});

test('a signature must be that of the key, of its algorithm, over these bytes', () => {
  const byForeign = (data: string): Buffer => sign(undefined, Buffer.from(data), foreign.privateKey);
  assertRefused(verifyEd, tokenOf({ alg: 'EdDSA' }, GOOD, byForeign), /not signed with a key that is known/);
  assertRefused(verifyEd, tokenOf({ alg: 'RS256' }, GOOD, byRsa), /not signed with a key that is known/);
  assertRefused(verifyRsa, edToken(), /not signed with a key that is known/);
  assertRefused(verifyEd, edToken(GOOD, { alg: 'RS256' }), /not signed with a key that is known/);
  const [header, , signature] = edToken().split('.');
  const other = `${header}.${encode({ ...GOOD, sub: '1002' })}.${signature}`;
  assertRefused(verifyEd, other, /not signed with a key that is known/);
  assertRefused(verifyEd, `${header}.${encode(GOOD)}.`, /not a signed JWT/);
});

test('what is no JWT is refused, and nothing is thrown', () => {
  const claims = encode(GOOD);
  const whole = edToken();
  const texts = [
    '',
    '.',
    '..',
    '...',
    'a.b.c',
    `${whole}.x`,
    `${encode('5')}.${claims}.AA`,
    `${encode('[]')}.${claims}.AA`,
  ];
  for (const text of [...texts, `${encode('null')}.${claims}.AA`, `é${whole}`, whole.replace('.', '.=')]) {
    assertRefused(verifyEd, text, /not a signed JWT|not signed with EdDSA/, text);
  }
  assertRefused(verifyEd, edToken(GOOD, { alg: 'EdDSA', crit: ['x'] }), /not a signed JWT/);
  assertRefused(verifyEd, edToken('no JSON'), /not a signed JWT/);
  for (let cut = 0; cut < whole.length - 1; cut++)
    assert.ok('sentence' in verifyEd(whole.slice(0, cut)), `cut at ${cut}`);
});

test('exp is needed and obeyed, nbf is obeyed', () => {
  const now = Math.floor(Date.now() / 1_000);
  assertRefused(verifyEd, edToken({ ...GOOD, exp: now - 1 }), /expired/);
  assertRefused(verifyEd, edToken({ ...GOOD, exp: 0 }), /expired/);
  for (const exp of [undefined, null, `${EXP}`, [EXP], {}, true]) {
    assertRefused(verifyEd, edToken({ ...GOOD, exp }), /'exp'/, `exp ${String(exp)}`);
  }
  assertRefused(verifyEd, edToken(`{"sub":"1001","dev":1,"exp":1e999}`), /'exp'/);
  assertRefused(verifyEd, edToken({ ...GOOD, nbf: now + 600 }), /not valid yet/);
  assertRefused(verifyEd, edToken({ ...GOOD, nbf: 'soon' }), /'nbf'/);
  assertTaken(verifyEd, edToken({ ...GOOD, nbf: now - 600 }));
});

test('sub is a user id in decimal text, dev a device number', () => {
  const wrongSubs = [
    undefined,
    null,
    1001,
    ['1001'],
    '',
    '0',
    '01001',
    '-1',
    '1e3',
    ' 1001',
    '1001.0',
    'ada',
    '0x10',
    '٣',
  ];
  for (const sub of [...wrongSubs, String(USER_ID_MAX + 1), '9'.repeat(17)]) {
    assertRefused(verifyEd, edToken({ ...GOOD, sub }), /'sub'/, `sub ${String(sub)}`);
  }
  for (const dev of [undefined, null, '1', [1], 0, -1, 1.5, 128, 1e9, true]) {
    assertRefused(verifyEd, edToken({ ...GOOD, dev }), /'dev'/, `dev ${String(dev)}`);
  }
  assert.equal(USER_ID_MAX, (verifyEd(edToken({ ...GOOD, sub: String(USER_ID_MAX) })) as { user: number }).user);
  assert.equal(127, (verifyEd(edToken({ ...GOOD, dev: 127 })) as { device: number }).device);
});

test('a token over the limit is not looked at', () => {
  const padding = (characters: number): string => edToken({ ...GOOD, pad: 'x'.repeat(characters) });
  assertTaken(verifyEd, padding(2_000));
  assertRefused(verifyEd, padding(4_096), /longer than 4096 characters/);
});

test('keys come from a JWKS, a JWK or a PEM; of a private one only the public part counts', async () => {
  const edJwk = { ...ed.publicKey.export({ format: 'jwk' }), kid: 'a' };
  const rsaJwk = { ...rsa.publicKey.export({ format: 'jwk' }), kid: 'b', alg: 'RS256', use: 'sig' };
  const jwks = await loadVerifier(fileOf('jwks.json', JSON.stringify({ keys: [edJwk, rsaJwk, { kty: 'EC' }] })));
  assertTaken(jwks, edToken(GOOD, { alg: 'EdDSA', kid: 'a' }));
  assertTaken(jwks, edToken());
  assertTaken(jwks, tokenOf({ alg: 'RS256', kid: 'b' }, GOOD, byRsa));
  assertRefused(jwks, edToken(GOOD, { alg: 'EdDSA', kid: 'c' }), /not signed with a key that is known/);
  for (const [name, key] of [
    ['public.json', ed.publicKey],
    ['private.json', ed.privateKey],
  ] as const) {
    assertTaken(await loadVerifier(fileOf(name, JSON.stringify(key.export({ format: 'jwk' })))), edToken(), name);
  }
});

test('a key file that is of no use is refused with a sentence', async () => {
  const short = generateKeyPairSync('rsa', { modulusLength: 1_024 });
  const files = [
    fileOf('empty', ''),
    fileOf('empty.json', '{}'),
    fileOf('no-keys.json', '{"keys":[]}'),
    fileOf('null.json', 'null'),
    fileOf('encryption.json', JSON.stringify({ ...ed.publicKey.export({ format: 'jwk' }), use: 'enc' })),
    fileOf('symmetric.json', '{"kty":"oct","k":"AAAA"}'),
    fileOf('short.pem', pemOf(short.publicKey)),
    fileOf('garbled.pem', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n'),
    join(directory, 'not-there'),
  ];
  for (const file of files)
    await assert.rejects(loadVerifier(file), (error: Error) => error instanceof DunlinError, file);
});

test('keys behind a URL are fetched, kept, and fetched anew when a token names one that is not there', async (t) => {
  let keys: object[] = [{ ...foreign.publicKey.export({ format: 'jwk' }), kid: 'old' }];
  let fetches = 0;
  const server = createServer((_, response) => {
    fetches++;
    response.end(JSON.stringify({ keys }));
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`;
  let nowMs = 0;
  const fetched = new FetchedKeys(url, () => nowMs);
  await fetched.fetch();
  assert.deepEqual(
    fetched.keys().map(({ id }) => id),
    ['old'],
  );
  assert.equal(fetched.missed(), false, 'it was just fetched');
  keys = [{ ...ed.publicKey.export({ format: 'jwk' }), kid: 'new' }];
  nowMs = 60_000;
  assert.equal(fetched.missed(), true);
  assert.equal(fetched.missed(), true, 'and not twice at once');
  while (fetched.keys()[0]!.id !== 'new') await new Promise((resolve) => setImmediate(resolve));
  assert.equal(fetches, 2);
  await assert.rejects(loadVerifier(`${url.slice(0, url.lastIndexOf(':'))}:1/jwks`), DunlinError);
});

// --- development ----------------------------------------------------------------------------------------------------------------

function keyDirectory(name: string): string {
  return join(directory, name);
}

test('the development issuer’s tokens are taken by it, after a restart too; its file is its owner’s alone', async () => {
  const data = keyDirectory('one');
  const issuer = await createDevelopmentIssuer(data);
  const token = await issuer.sign({ user: 7, device: 3, ttlMs: 60_000 });
  const identity = issuer.verify(token) as { user: number; device: number; expiresAtMs: number };
  assert.deepEqual([identity.user, identity.device], [7, 3]);
  assert.ok(Math.abs(identity.expiresAtMs - Date.now() - 60_000) < 10_000);
  assert.equal(fs.statSync(join(data, 'development-key.json')).mode & 0o777, 0o600);
  const again = await createDevelopmentIssuer(data);
  assert.deepEqual(again.verify(token), identity);
  const other = await createDevelopmentIssuer(keyDirectory('two'));
  assert.ok('sentence' in other.verify(token));
  assert.deepEqual(fs.readdirSync(data), ['development-key.json']);
});

test('many that make the key at once end with the same', async () => {
  const data = keyDirectory('race');
  const issuers = await Promise.all(Array.from({ length: 8 }, () => createDevelopmentIssuer(data)));
  const tokens = await Promise.all(issuers.map((issuer) => issuer.sign({ user: 7, device: 3 })));
  for (const issuer of issuers) for (const token of tokens) assert.ok('user' in issuer.verify(token));
  assert.deepEqual(fs.readdirSync(data), ['development-key.json']);
});

test('a damaged key file is named, and left as it is', async () => {
  for (const [name, content] of Object.entries({ cut: '{"kty":"OKP","cr', empty: '', none: '{}', nothing: 'null' })) {
    const data = keyDirectory(`damaged-${name}`);
    fs.mkdirSync(data);
    const file = join(data, 'development-key.json');
    fs.writeFileSync(file, content);
    await assert.rejects(createDevelopmentIssuer(data), (error: Error) => {
      assert.ok(error instanceof DunlinError, name);
      assert.match(error.message, /development-key\.json is damaged: remove it/);
      return true;
    });
    assert.equal(fs.readFileSync(file, 'utf8'), content);
  }
});

test('a name stands for the same user id everywhere; decimal text is an id itself', () => {
  assert.equal(userIdOfName('1001'), 1001);
  assert.equal(userIdOfName('ada'), userIdOfName('ada'));
  assert.notEqual(userIdOfName('ada'), userIdOfName('bo'));
  // A change would cut people off from their conversations.
  assert.equal(userIdOfName('ada'), 32_909_164_363_973);
  for (let n = 0; n < 1_000; n++) assert.ok(isUserId(userIdOfName(`user ${n}`)));
  for (const name of ['', '0', String(USER_ID_MAX + 1)]) assert.throws(() => userIdOfName(name), DunlinError);
});

test('only addresses of this machine are loopback', () => {
  for (const host of ['localhost', '::1', '127.0.0.1', '127.9.9.9']) assert.ok(isLoopback(host), host);
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'localhost.example.org', '127.0.0.1.example.org', '']) {
    assert.ok(!isLoopback(host), host);
  }
});

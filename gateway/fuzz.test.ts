/**
 * What comes to a gateway before there is a session, fuzzed: where the token stands in a request, tokens, keys, and names. Nobody
 * gets in without a signature over exactly these bytes, and nothing throws where it may not. What comes in a session is fuzzed in
 * inbound.test.ts. core/fuzz.fixture.ts tells how a run is repeated.
 */
import assert from 'node:assert/strict';
import { createHmac, createSign, generateKeyPairSync, type JsonWebKey, type KeyObject, sign } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fail, fuzz, type Inputs, refused } from '../core/fuzz.fixture.js';
import { isUserId } from '../core/ids.js';
import { USER_ID_MAX } from '../core/limits.js';
import { bearer } from './sockets.js';
import { type Identity, loadVerifier, parseKeys, userIdOfName } from './tokens.js';

/** Signatures are dear: 30 to 100 µs each. */
const TOKEN_INPUTS = 150_000;
const CLAIMS_INPUTS = 80_000;
/** So are keys. */
const KEYS_INPUTS = 100_000;

const directory = fs.mkdtempSync(join(tmpdir(), 'dunlin-gateway-fuzz-'));
after(() => fs.rmSync(directory, { recursive: true }));

const ed = generateKeyPairSync('ed25519');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const foreign = generateKeyPairSync('ed25519');
const EXP = Math.floor(Date.now() / 1_000) + 3_600;
const PAST = EXP - 7_200;

function jwkOf(key: KeyObject, more: object = {}): JsonWebKey {
  return { ...key.export({ format: 'jwk' }), ...more };
}

const KEY_SET = { keys: [jwkOf(ed.publicKey, { kid: 'one', use: 'sig' }), jwkOf(rsa.publicKey, { alg: 'RS256' })] };
const keyFile = join(directory, 'keys.json');
fs.writeFileSync(keyFile, JSON.stringify(KEY_SET));
const verify = await loadVerifier(keyFile);

function encode(value: string | Uint8Array): string {
  return Buffer.from(value).toString('base64url');
}

type Signer = (data: string) => Uint8Array;

const byEd: Signer = (data) => sign(undefined, Buffer.from(data), ed.privateKey);
const byRsa: Signer = (data) => createSign('sha256').update(data).sign(rsa.privateKey);
const byForeign: Signer = (data) => sign(undefined, Buffer.from(data), foreign.privateKey);
const byHmac: Signer = (data) =>
  createHmac('sha256', rsa.publicKey.export({ type: 'spki', format: 'pem' }))
    .update(data)
    .digest();
const byNobody: Signer = () => new Uint8Array(0);

const ALGORITHMS_JSON = ['EdDSA', 'Ed25519', 'RS256', 'none', 'None', 'HS256', 'RS512', 'ES256', ''];
const HEADERS = [
  ...ALGORITHMS_JSON.map((alg) => JSON.stringify({ alg })),
  JSON.stringify({ alg: 'EdDSA', kid: 'one', typ: 'JWT' }),
  JSON.stringify({ alg: 'EdDSA', kid: 'two' }),
  JSON.stringify({ alg: 'EdDSA', crit: ['exp'] }),
  JSON.stringify({ alg: 'EdDSA', jwk: jwkOf(foreign.publicKey) }),
];
const CLAIMS = [
  { sub: '1001', dev: 1, exp: EXP },
  { sub: String(USER_ID_MAX), dev: 127, exp: EXP, nbf: PAST },
  { sub: '1001', dev: 1, exp: PAST },
  { sub: '1001', dev: 1, exp: EXP, nbf: EXP },
  { sub: '01', dev: 1, exp: EXP },
  { sub: '1001', dev: 128, exp: EXP },
  { sub: 1001, dev: '1', exp: String(EXP) },
  {},
].map((claims) => JSON.stringify(claims));

// --- tokens -------------------------------------------------------------------------------------------------------------------

interface Signed {
  readonly identity: Identity;
  readonly signature: Buffer;
}

/** By what was signed: all that may be taken. */
const signedData = new Map<string, Signed>();

function takeable(header: string, claims: string, signer: Signer): string {
  const data = `${encode(header)}.${encode(claims)}`;
  const signature = Buffer.from(signer(data));
  const { sub, dev, exp } = JSON.parse(claims) as { sub: string; dev: number; exp: number };
  signedData.set(data, { identity: { user: Number(sub), device: dev, expiresAtMs: exp * 1_000 }, signature });
  return `${data}.${encode(signature)}`;
}

/** Good tokens, and what an attacker would put together from them: half and half. */
function someTokens(): string[] {
  const edHeaders = [HEADERS[0]!, HEADERS[1]!, HEADERS[9]!];
  const good = edHeaders.flatMap((header) => CLAIMS.slice(0, 2).map((claims) => takeable(header, claims, byEd)));
  good.push(...CLAIMS.slice(0, 2).map((claims) => takeable(HEADERS[2]!, claims, byRsa)));
  const forged = HEADERS.flatMap((header) =>
    CLAIMS.slice(0, 2).flatMap((claims) =>
      [byForeign, byHmac, byNobody].map((signer) => {
        const data = `${encode(header)}.${encode(claims)}`;
        return `${data}.${encode(signer(data))}`;
      }),
    ),
  );
  // Signed, but with claims or a header that nobody may have.
  const refusedOnes = CLAIMS.slice(2).map((claims) => [HEADERS[0]!, claims] as const);
  refusedOnes.push(...HEADERS.slice(3, 9).map((header) => [header, CLAIMS[0]!] as const), [HEADERS[11]!, CLAIMS[0]!]);
  for (const [header, claims] of refusedOnes) {
    const data = `${encode(header)}.${encode(claims)}`;
    forged.push(`${data}.${encode(byEd(data))}`);
  }
  // Parts of one with parts of another.
  const parts = good.map((token) => token.split('.') as [string, string, string]);
  for (const [header] of parts) {
    for (const [, claims] of parts)
      for (const [, , signature] of parts) forged.push(`${header}.${claims}.${signature}`);
  }
  const others = forged.filter((token) => !good.includes(token));
  return [...others, ...Array.from({ length: others.length }, (_, n) => good[n % good.length]!)];
}

const tokens = someTokens();
const TOKEN_TOKENS = [
  ['.', '..', '=', '==', '+', '/', '-', '_', ' ', '\n', '\0', 'é', 'A', 'AAAA', 'A'.repeat(300), 'Bearer ', ','],
  HEADERS.map((header) => encode(header)),
  CLAIMS.map((claims) => encode(claims)),
  tokens.slice(0, 12),
  tokens.slice(-8).flatMap((token) => token.split('.').slice(2)),
].flat();

function isSentence(text: string): boolean {
  return text.length > 10 && text.endsWith('.');
}

function checkRefusal(inputs: Inputs, result: ReturnType<typeof verify>): void {
  if ('user' in result) fail(inputs, `taken as ${JSON.stringify(result)}`);
  if (!isSentence(result.sentence) || result.canRetry) fail(inputs, `refused with '${result.sentence}'`);
}

function checkIdentity(inputs: Inputs, result: ReturnType<typeof verify>, expected: Identity): void {
  if (!('user' in result)) fail(inputs, `a good token, but refused: ${result.sentence}`);
  const isSame =
    result.user === expected.user &&
    result.device === expected.device &&
    result.expiresAtMs === expected.expiresAtMs &&
    Object.keys(result).length === 3;
  if (!isSame) fail(inputs, `taken as ${JSON.stringify(result)}`);
}

test('tokens: nobody gets in whose token was not signed', (t) => {
  fuzz(
    t,
    'tokens',
    tokens.map((token) => Buffer.from(token)),
    (inputs) => {
      const { text } = inputs;
      const result = verify(text);
      const lastDot = text.lastIndexOf('.');
      const signed = signedData.get(text.slice(0, lastDot));
      // The last character of base64url has bits without a meaning: the bytes count.
      const signature = text.slice(lastDot + 1);
      const isGood = signed?.signature.equals(Buffer.from(signature, 'base64url')) && /^[\w-]*$/.test(signature);
      if (isGood === true) checkIdentity(inputs, result, signed!.identity);
      else checkRefusal(inputs, result);
      return isGood === true;
    },
    { tokens: TOKEN_TOKENS, defaultInputs: TOKEN_INPUTS },
  );
});

// --- what is signed -----------------------------------------------------------------------------------------------------------

function objectOf(text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text) as unknown;
    const isObject = Object.prototype.toString.call(value) === '[object Object]';
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Whom claims name, by the rules in docs/protocol.md. */
function identityIn({ sub, dev, exp, nbf }: Record<string, unknown>): Identity | undefined {
  const seconds = Date.now() / 1_000;
  if (typeof exp !== 'number' || !(exp > seconds) || exp === Number.POSITIVE_INFINITY) return undefined;
  if (nbf !== undefined && !(typeof nbf === 'number' && nbf <= seconds)) return undefined;
  if (typeof sub !== 'string' || !isUserId(Number(sub)) || String(Number(sub)) !== sub) return undefined;
  if (typeof dev !== 'number' || !Number.isInteger(dev) || dev < 1 || dev > 127) return undefined;
  return { user: Number(sub), device: dev, expiresAtMs: exp * 1_000 };
}

const CLAIM_TOKENS = [
  ['{', '}', '[', ']', '"', ':', ',', '|', '\\', '\\u0061', ' ', '\n', '\0', 'é', '\uFEFF', 'null', 'true', '{}'],
  ['""', 'alg', 'kid', 'crit', 'typ', 'EdDSA', 'Ed25519', 'RS256', 'none', 'one', 'sub', 'dev', 'exp', 'nbf', 'iat'],
  ['"alg":"EdDSA",', '"crit":[],', '"kid":"one",', '"nbf":0,', '"nbf":1e400,', '"dev":1,', '"sub":"7",'],
  ['"exp":9e9', '0', '1', '127', '128', '1.5', '-1', '1e400', '-0', '01', '1001', '9'.repeat(16), String(2 ** 45)],
  ['1e1', '0x1f', '__proto__', 'constructor', '"__proto__":{"dev":1},', 'toString'],
].flat();

test('tokens: what is signed is obeyed, whatever it is', (t) => {
  const goodHeaders = [HEADERS[0]!, HEADERS[1]!, HEADERS[9]!, HEADERS[0]!, HEADERS[9]!, HEADERS[10]!, HEADERS[11]!];
  const valid = CLAIMS.slice(0, 3).flatMap((claims) => goodHeaders.map((header) => `${header}|${claims}`));
  fuzz(
    t,
    'claims',
    [...valid, ...valid.slice(0, 14)].map((text) => Buffer.from(text)),
    (inputs) => {
      const [head = '', ...rest] = inputs.text.split('|');
      const body = rest.join('|');
      const header = objectOf(head);
      const claims = objectOf(body);
      const data = `${encode(head)}.${encode(body)}`;
      // A signature costs more than all else: only where it is looked at.
      const isLookedAt = header !== undefined && claims !== undefined;
      const result = verify(`${data}.${isLookedAt ? encode(byEd(data)) : 'AAAA'}`);
      const isOurs =
        isLookedAt &&
        (header['alg'] === 'EdDSA' || header['alg'] === 'Ed25519') &&
        (header['kid'] === undefined || header['kid'] === 'one') &&
        !('crit' in header);
      const identity = isOurs ? identityIn(claims) : undefined;
      if (identity === undefined) checkRefusal(inputs, result);
      else checkIdentity(inputs, result, identity);
      return identity !== undefined;
    },
    { tokens: CLAIM_TOKENS, defaultInputs: CLAIMS_INPUTS },
  );
});

// --- keys ---------------------------------------------------------------------------------------------------------------------

const shortRsa = generateKeyPairSync('rsa', { modulusLength: 1024 });
const KEY_TEXTS = [
  JSON.stringify(KEY_SET),
  JSON.stringify({ keys: [{ kty: 'EC', crv: 'P-256' }, KEY_SET.keys[0]] }),
  JSON.stringify({ keys: [{ kty: 'OKP', crv: 'Ed448', x: 'AA' }, KEY_SET.keys[0]] }),
  JSON.stringify(jwkOf(ed.publicKey, { key_ops: ['verify'] })),
  JSON.stringify(jwkOf(ed.privateKey, { key_ops: ['sign'] })),
  JSON.stringify(jwkOf(rsa.publicKey, { use: 'sig' })),
  ed.publicKey.export({ type: 'spki', format: 'pem' }) as string,
  rsa.publicKey.export({ type: 'spki', format: 'pem' }) as string,
  JSON.stringify(jwkOf(shortRsa.publicKey)),
];
const ED_X = KEY_SET.keys[0]!.x!;
const KEY_TOKENS = [
  ['{', '}', '[', ']', '"', ':', ',', '\n', '\0', 'null', '5', '""', '[]', '{}', '"keys":', '"keys":null,'],
  ['"keys":[null,', 'kty', 'crv', 'x', 'n', 'e', 'd', 'use', 'alg', 'kid', 'key_ops', 'OKP', 'RSA', 'EC', 'oct'],
  ['Ed25519', 'Ed448', 'X25519', 'sig', 'enc', 'verify', 'EdDSA', 'RS256', 'HS256', 'AQAB', 'AA', ED_X],
  ['"key_ops":5,', '"key_ops":["verify"],', '"x":7,', '-----BEGIN PUBLIC KEY-----\n', '-----BEGIN'],
  ['-----END PUBLIC KEY-----', '-----BEGIN PRIVATE KEY-----\n', 'A'.repeat(40)],
].flat();

/** A set in which an unharmed key of ours stands among others: what is wrong with the others is not its fault. */
function hasOurKey(text: string): boolean {
  const keys = objectOf(text)?.['keys'];
  return Array.isArray(keys) && keys.some((key) => JSON.stringify(key) === JSON.stringify(KEY_SET.keys[0]));
}

test('keys: parseKeys', (t) => {
  fuzz(
    t,
    'keys',
    KEY_TEXTS.map((text) => Buffer.from(text)),
    (inputs) => {
      const { text } = inputs;
      let keys: ReturnType<typeof parseKeys>;
      try {
        keys = parseKeys(text);
      } catch (error) {
        // The callers make a sentence of it. An accident of this program is none.
        const isAccident = error instanceof TypeError && !('code' in error);
        if (!(error instanceof Error) || isAccident) fail(inputs, `it threw ${String(error)}`);
        if (!text.includes('-----BEGIN') && hasOurKey(text)) fail(inputs, `a good key, but ${error.message}`);
        return false;
      }
      if (keys.length === 0) fail(inputs, 'no keys, but taken');
      for (const { key, algorithm } of keys) {
        const isEd = key.asymmetricKeyType === 'ed25519' && algorithm === 'EdDSA';
        const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
        const isRsa = key.asymmetricKeyType === 'rsa' && algorithm === 'RS256' && bits >= 2_048;
        if (key.type !== 'public' || (!isEd && !isRsa)) fail(inputs, `a ${key.asymmetricKeyType} key for ${algorithm}`);
      }
      return true;
    },
    { tokens: KEY_TOKENS, defaultInputs: KEYS_INPUTS },
  );
});

// --- requests and names -------------------------------------------------------------------------------------------------------

test('requests: where the token stands', (t) => {
  const texts = [
    'Bearer abc\ndunlin, xyz\nq',
    '\ndunlin, xyz\n',
    '\n\nq',
    'bearer  a b \nother\n',
    'Basic x\nmore, dunlin, x\n',
  ];
  let headers: readonly string[] = [];
  const request = {
    getHeader: (name: string) => (name === 'authorization' ? headers[0] : headers[1]) ?? '',
    getQuery: () => headers[2],
  } as unknown as Parameters<typeof bearer>[0];
  fuzz(
    t,
    'requests',
    texts.map((text) => Buffer.from(text)),
    (inputs) => {
      headers = inputs.text.split('\n');
      const [authorization = '', protocols = '', query = ''] = headers;
      const { token, protocol } = bearer(request);
      const offered = protocols.split(',').map((part) => part.trim());
      if (protocol !== offered[0]) fail(inputs, `the protocol is '${protocol}'`);
      const scheme = authorization.slice(0, 7).toLowerCase();
      const inProtocols = offered[0] === 'dunlin' ? (offered[1] ?? '') : '';
      const expected = scheme === 'bearer ' ? authorization.slice(7).trim() : query === '' ? inProtocols : query;
      if (token !== expected) fail(inputs, `the token is '${token}'`);
      return token !== '';
    },
    {
      tokens: ['Bearer ', 'bearer', ' ', '\n', ',', ', ', 'dunlin', 'Dunlin', 'x', 'Basic ', '\t', '%', '=', '\0', 'é'],
    },
  );
});

test('names: userIdOfName', (t) => {
  const names = [
    'ada',
    'bo',
    '1',
    '1001',
    String(USER_ID_MAX),
    String(USER_ID_MAX + 1),
    '0',
    'a name with spaces',
    '00',
  ];
  fuzz(
    t,
    'names',
    names.map((name) => Buffer.from(name)),
    (inputs) => {
      const { text } = inputs;
      const isNumber = /^\d+$/.test(text);
      let id: number;
      try {
        id = userIdOfName(text);
      } catch (error) {
        if (!isNumber && text !== '') fail(inputs, 'a name, but refused');
        return refused(inputs, error);
      }
      if (!isUserId(id)) fail(inputs, `the id is ${id}`);
      if (isNumber && id !== Number(text)) fail(inputs, `the id is ${id}`);
      return true;
    },
    { tokens: ['0', '1', '9', '0'.repeat(20), '9'.repeat(30), 'x', ' ', '\0', 'é', '١', '-1', '1e3'] },
  );
  assert.notEqual(userIdOfName('ada'), userIdOfName('bo'));
});

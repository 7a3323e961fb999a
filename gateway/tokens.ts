/**
 * Who connects: JWTs signed with EdDSA (Ed25519) or RS256, and a development issuer whose key lies in the data directory.
 *
 * Claims: `sub` user id in decimal, `dev` device number, `exp` required; `nbf` is obeyed. Algorithms are fixed here, never taken
 * from the token, and a key serves one algorithm only, so `alg: none` and key confusion do not arise (RFC 8725).
 *
 * A token is checked in one synchronous call, because an upgrade has to be answered in one (sockets.ts). That costs about 0.1 ms,
 * and what an upgrade counts against limits cannot change half-way. Keys of a URL are fetched beforehand and kept fresh beside.
 */
import { createHash, createPublicKey, type JsonWebKey, type KeyObject, randomUUID, verify } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose';
import { DunlinError } from '../core/errors.js';
import { isDeviceNumber, isUserId } from '../core/ids.js';
import { DEVICE_NUMBER_MAX, USER_ID_MAX } from '../core/limits.js';

/** Longest token that is looked at; RS256 tokens with a few claims have about 700 characters. */
const TOKEN_CHARACTERS_MAX = 4_096;
/** RFC 7518, 3.3. */
const RSA_BITS_MIN = 2_048;
/** Keys that are tried for a token which names none. */
const KEYS_PER_TOKEN_MAX = 16;
const DEVELOPMENT_KEY_FILE = 'development-key.json';
/** Fetched keys are fetched again when they are this old, and when a token names one that is not there. */
const KEYS_AGE_MS_MAX = 600_000;
/** Unknown keys cause a fetch at most this often. */
const KEYS_FETCH_PAUSE_MS = 30_000;
const KEYS_FETCH_TIMEOUT_MS = 5_000;
const KEYS_FETCH_BYTES_MAX = 1024 * 1024;

export interface Identity {
  readonly user: number;
  readonly device: number;
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** Why a token is not taken. */
export interface TokenRefusal {
  readonly sentence: string;
  /** The same token may be taken a moment later. */
  readonly canRetry: boolean;
}

/** Never throws. */
export type Verify = (token: string) => Identity | TokenRefusal;

type Algorithm = 'EdDSA' | 'RS256';

export interface VerifyingKey {
  readonly id: string | undefined;
  readonly algorithm: Algorithm;
  readonly key: KeyObject;
}

/** Where a verifier finds its keys. */
export interface KeySource {
  keys(): readonly VerifyingKey[];
  /** A token names a key that is not there. True: it may be there soon. */
  missed(): boolean;
}

/** RFC 8037 and RFC 9864 name the same signature differently. */
const ALGORITHMS: ReadonlyMap<unknown, Algorithm> = new Map<unknown, Algorithm>([
  ['EdDSA', 'EdDSA'],
  ['Ed25519', 'EdDSA'],
  ['RS256', 'RS256'],
]);

const NOT_A_JWT = 'The token is not a signed JWT.';
const UNKNOWN_KEY = 'The token was not signed with a key that is known here.';

// --- keys -------------------------------------------------------------------------------------------------------------------------

/** The key with its one algorithm; undefined: it is of no use here. */
function verifyingKey(key: KeyObject, id?: string): VerifyingKey | undefined {
  if (key.asymmetricKeyType === 'ed25519') return { id, algorithm: 'EdDSA', key };
  const isLongEnough = (key.asymmetricKeyDetails?.modulusLength ?? 0) >= RSA_BITS_MIN;
  return key.asymmetricKeyType === 'rsa' && isLongEnough ? { id, algorithm: 'RS256', key } : undefined;
}

/** Takes the public part only, whatever else the JWK holds. */
function keyOfJwk(jwk: JWK): VerifyingKey | undefined {
  const isForSignatures =
    (jwk.use ?? 'sig') === 'sig' && (jwk.key_ops === undefined || jwk.key_ops.includes('verify') || 'd' in jwk);
  if (!isForSignatures || (jwk.kty !== 'OKP' && jwk.kty !== 'RSA')) return undefined;
  const fields = jwk.kty === 'RSA' ? { kty: 'RSA', n: jwk.n, e: jwk.e } : { kty: 'OKP', crv: jwk.crv, x: jwk.x };
  const key = verifyingKey(createPublicKey({ key: fields as JsonWebKey, format: 'jwk' }), jwk.kid);
  const isItsOwn = jwk.alg === undefined || ALGORITHMS.get(jwk.alg) === key?.algorithm;
  return isItsOwn ? key : undefined;
}

/** The keys of a JWKS, a JWK or a PEM. Throws if there is none of use. */
export function parseKeys(text: string): readonly VerifyingKey[] {
  if (text.includes('-----BEGIN')) return atLeastOne([verifyingKey(createPublicKey(text))]);
  const json = JSON.parse(text) as { readonly keys?: unknown } | null;
  return atLeastOne((Array.isArray(json?.keys) ? json.keys : [json]).map(keyOfAny));
}

/** What is not understood in a set is passed over (RFC 7517, 5): it must not take the good keys with it. */
function keyOfAny(value: unknown): VerifyingKey | undefined {
  try {
    return keyOfJwk(value as JWK);
  } catch {
    return undefined;
  }
}

function atLeastOne(keys: readonly (VerifyingKey | undefined)[]): readonly VerifyingKey[] {
  const found = keys.filter((key) => key !== undefined);
  if (found.length === 0) throw new Error(`it has no Ed25519 key and no RSA key of at least ${RSA_BITS_MIN} bits`);
  return found;
}

function fixed(keys: readonly VerifyingKey[]): KeySource {
  return { keys: () => keys, missed: () => false };
}

/** A JWKS behind a URL: what was fetched last counts, however old, until something newer came. */
export class FetchedKeys implements KeySource {
  readonly #url: string;
  readonly #nowMs: () => number;
  #keys: readonly VerifyingKey[] = [];
  #fetchedAtMs = Number.NEGATIVE_INFINITY;
  #fetching = false;

  constructor(url: string, nowMs: () => number = () => performance.now()) {
    this.#url = url;
    this.#nowMs = nowMs;
  }

  keys(): readonly VerifyingKey[] {
    if (this.#nowMs() - this.#fetchedAtMs > KEYS_AGE_MS_MAX) this.#fetchBeside();
    return this.#keys;
  }

  missed(): boolean {
    if (!this.#fetching && this.#nowMs() - this.#fetchedAtMs > KEYS_FETCH_PAUSE_MS) this.#fetchBeside();
    return this.#fetching;
  }

  #fetchBeside(): void {
    if (this.#fetching) return;
    this.#fetching = true;
    // Without an answer the keys there are go on; the next try is made after the pause.
    void this.fetch()
      .catch(() => {})
      .finally(() => {
        this.#fetching = false;
      });
  }

  /** Throws if the URL does not answer with keys. */
  async fetch(): Promise<void> {
    this.#fetchedAtMs = this.#nowMs();
    const response = await fetch(this.#url, { signal: AbortSignal.timeout(KEYS_FETCH_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`it answers ${response.status}`);
    const text = await response.text();
    if (text.length > KEYS_FETCH_BYTES_MAX) throw new Error(`it is longer than ${KEYS_FETCH_BYTES_MAX} bytes`);
    this.#keys = parseKeys(text);
  }
}

// --- tokens -----------------------------------------------------------------------------------------------------------------------

type Json = Readonly<Record<string, unknown>>;

/** Buffer ignores what is no base64url, and a token must not. */
function bytesOf(part: string): Buffer | undefined {
  return /^[A-Za-z0-9_-]*$/.test(part) ? Buffer.from(part, 'base64url') : undefined;
}

function objectOf(part: string): Json | undefined {
  const bytes = bytesOf(part);
  if (bytes === undefined) return undefined;
  try {
    const value = JSON.parse(bytes.toString('utf8')) as unknown;
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
  } catch {
    return undefined;
  }
}

function isSigned(token: string, signature: Buffer, { algorithm, key }: VerifyingKey): boolean {
  const data = Buffer.from(token.slice(0, token.lastIndexOf('.')), 'ascii');
  return verify(algorithm === 'RS256' ? 'sha256' : undefined, data, key, signature);
}

/** The claims of a token with a good signature, or why there are none. */
function readToken(token: string, source: KeySource): { readonly claims: Json } | TokenRefusal {
  const parts = token.split('.');
  const header = parts.length === 3 ? objectOf(parts[0]!) : undefined;
  if (header === undefined) return no(NOT_A_JWT);
  const algorithm = ALGORITHMS.get(header['alg']);
  if (algorithm === undefined) return no('The token is not signed with EdDSA or RS256.');
  const claims = objectOf(parts[1]!);
  const signature = bytesOf(parts[2]!);
  // Extensions that must be understood (RFC 7515, 4.1.11) are not.
  if (claims === undefined || signature === undefined || signature.length === 0 || 'crit' in header)
    return no(NOT_A_JWT);
  const id = header['kid'];
  const keys = source
    .keys()
    .filter((key) => key.algorithm === algorithm && (id === undefined || key.id === undefined || key.id === id));
  if (keys.slice(0, KEYS_PER_TOKEN_MAX).some((key) => isSigned(token, signature, key))) return { claims };
  if (source.missed()) return { sentence: 'The keys that sign tokens are being fetched.', canRetry: true };
  return no(UNKNOWN_KEY);
}

function no(sentence: string): TokenRefusal {
  return { sentence, canRetry: false };
}

function wrongClaim(name: string, needed: string): TokenRefusal {
  return no(`The token's claim '${name}' is missing or wrong: ${needed} is needed.`);
}

function createVerifier(source: KeySource, nowMs: () => number = Date.now): Verify {
  return (token) => {
    if (token.length > TOKEN_CHARACTERS_MAX) return no(`The token is longer than ${TOKEN_CHARACTERS_MAX} characters.`);
    const read = readToken(token, source);
    if (!('claims' in read)) return read;
    const { exp, nbf, sub, dev } = read.claims;
    if (typeof exp !== 'number' || !Number.isFinite(exp)) return wrongClaim('exp', 'a number of seconds since 1970');
    if (nbf !== undefined && typeof nbf !== 'number')
      return wrongClaim('nbf', 'a number of seconds since 1970, or none,');
    if (exp * 1_000 <= nowMs()) return no('The token has expired.');
    if (nbf !== undefined && nbf * 1_000 > nowMs()) return no('The token is not valid yet.');
    const user = typeof sub === 'string' && /^[1-9]\d{0,15}$/.test(sub) ? Number(sub) : 0;
    if (!isUserId(user)) return wrongClaim('sub', 'a user id in decimal');
    if (typeof dev !== 'number' || !isDeviceNumber(dev))
      return wrongClaim('dev', `a device number from 1 to ${DEVICE_NUMBER_MAX}`);
    return { user, device: dev, expiresAtMs: exp * 1_000 };
  };
}

/** A verifier for a JWKS (URL or file), a JWK or a PEM public key. Throws a DunlinError if there is no key to be had. */
export async function loadVerifier(source: string): Promise<Verify> {
  if (/^https?:\/\//.test(source)) {
    const fetched = new FetchedKeys(source);
    try {
      await fetched.fetch();
    } catch (error) {
      throw new DunlinError(`there are no keys to be had from ${source}: ${(error as Error).message}.`);
    }
    return createVerifier(fetched);
  }
  let text: string;
  try {
    text = fs.readFileSync(source, 'utf8');
  } catch (error) {
    throw new DunlinError(`the key file ${source} cannot be read: ${(error as Error).message}`);
  }
  try {
    return createVerifier(fixed(parseKeys(text)));
  } catch (error) {
    throw new DunlinError(`the key file ${source} is no JWKS, JWK or PEM public key: ${(error as Error).message}.`);
  }
}

// --- development ------------------------------------------------------------------------------------------------------------------

export interface DevelopmentIssuer {
  readonly verify: Verify;
  sign(claims: { readonly user: number; readonly device: number; readonly ttlMs?: number }): Promise<string>;
}

/** The issuer of a data directory; its key is made the first time. Whoever can read that file can be anybody: development only. */
export async function createDevelopmentIssuer(dataDirectory: string): Promise<DevelopmentIssuer> {
  const file = join(dataDirectory, DEVELOPMENT_KEY_FILE);
  const jwk = readKey(file) ?? (await makeKey(dataDirectory, file));
  let privateKey: Awaited<ReturnType<typeof importJWK>>;
  let keys: readonly VerifyingKey[];
  try {
    privateKey = await importJWK(jwk, 'EdDSA');
    keys = atLeastOne([keyOfJwk(jwk)]);
  } catch {
    throw damaged(file);
  }
  return {
    verify: createVerifier(fixed(keys)),
    sign: async ({ user, device, ttlMs = 24 * 3_600_000 }) =>
      await new SignJWT({ dev: device })
        .setProtectedHeader({ alg: 'EdDSA' })
        .setSubject(String(user))
        .setIssuedAt()
        .setExpirationTime(Math.ceil((Date.now() + ttlMs) / 1_000))
        .sign(privateKey),
  };
}

function damaged(file: string): DunlinError {
  return new DunlinError(`${file} is damaged: remove it, and a new key is made (tokens signed before end with it).`);
}

function readKey(file: string): JWK | undefined {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as JWK;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) throw damaged(file);
    throw new DunlinError(`${file} cannot be read: ${(error as Error).message}`);
  }
}

async function makeKey(directory: string, file: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const jwk = await exportJWK(privateKey);
  fs.mkdirSync(directory, { recursive: true });
  try {
    // Whole or not at all, and the first one wins if two processes make it at once.
    const temporary = `${file}.${randomUUID()}`;
    fs.writeFileSync(temporary, JSON.stringify(jwk), { mode: 0o600 });
    try {
      fs.linkSync(temporary, file);
    } finally {
      fs.unlinkSync(temporary);
    }
    return jwk;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return readKey(file)!;
  }
}

/** User id of a name: decimal text is an id itself, any other name is hashed into 45 bits. For development and demos. */
export function userIdOfName(name: string): number {
  if (/^\d+$/.test(name)) {
    const id = Number(name);
    if (!isUserId(id)) throw new DunlinError(`'${name}' is no user id: 1 to ${USER_ID_MAX}.`);
    return id;
  }
  if (name === '') throw new DunlinError('a user needs a name or an id.');
  const digest = createHash('sha256').update(name).digest();
  return (digest.readUIntBE(0, 6) % USER_ID_MAX) + 1;
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

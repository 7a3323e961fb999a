/**
 * Who connects: JWTs signed with EdDSA (Ed25519) or RS256, and a development issuer whose key lies in the data directory.
 *
 * Claims: `sub` user id in decimal, `dev` device number, `exp` required. Algorithms are fixed here, never taken from the token,
 * so `alg: none` and key confusion do not arise (RFC 8725).
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { join } from 'node:path';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  exportJWK,
  generateKeyPair,
  importJWK,
  importSPKI,
  type JSONWebKeySet,
  type JWK,
  type JWTVerifyGetKey,
  jwtVerify,
  SignJWT,
} from 'jose';
import { DunlinError } from '../core/errors.js';
import { isDeviceNumber, isUserId } from '../core/ids.js';
import { USER_ID_MAX } from '../core/limits.js';

const ALGORITHMS = ['EdDSA', 'Ed25519', 'RS256'];
/** Longest token that is looked at; RS256 tokens with a few claims have about 700 characters. */
const TOKEN_CHARACTERS_MAX = 4_096;
const DEVELOPMENT_KEY_FILE = 'development-key.json';

export interface Identity {
  readonly user: number;
  readonly device: number;
  /** Milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** The identity, or one sentence that says why not. Never throws. */
export type Verify = (token: string) => Promise<Identity | string>;

type Key = JWTVerifyGetKey | Parameters<typeof jwtVerify>[1];

function explain(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired.';
  if (error instanceof errors.JOSEAlgNotAllowed) return 'The token is not signed with EdDSA or RS256.';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'The token was not signed with a key that is known here.';
  if (error instanceof errors.JWKSNoMatchingKey) return 'The token was not signed with a key that is known here.';
  if (error instanceof errors.JWTClaimValidationFailed) return `The token's claim '${error.claim}' is missing or wrong.`;
  if (error instanceof errors.JOSEError) return 'The token is not a signed JWT.';
  return 'The token cannot be checked now.';
}

export function createVerifier(key: Key): Verify {
  return async (token) => {
    if (token.length > TOKEN_CHARACTERS_MAX) return `The token is longer than ${TOKEN_CHARACTERS_MAX} characters.`;
    try {
      const options = { algorithms: ALGORITHMS, requiredClaims: ['sub', 'exp'] };
      const { payload } = await jwtVerify(token, key as JWTVerifyGetKey, options);
      const user = /^[1-9]\d{0,15}$/.test(payload.sub ?? '') ? Number(payload.sub) : 0;
      if (!isUserId(user)) return "The token's claim 'sub' is no user id.";
      const device = payload['dev'];
      if (typeof device !== 'number' || !isDeviceNumber(device)) return "The token's claim 'dev' is no device number.";
      return { user, device, expiresAtMs: payload.exp! * 1_000 };
    } catch (error) {
      return explain(error);
    }
  };
}

/** A verifier for a JWKS (URL or file), a JWK or a PEM public key. Throws a DunlinError if there is no key to be had. */
export async function loadVerifier(source: string): Promise<Verify> {
  if (/^https?:\/\//.test(source)) return createVerifier(createRemoteJWKSet(new URL(source)));
  let text: string;
  try {
    text = fs.readFileSync(source, 'utf8');
  } catch (error) {
    throw new DunlinError(`the key file ${source} cannot be read: ${(error as Error).message}`);
  }
  try {
    if (text.includes('-----BEGIN')) return createVerifier(await importPem(text));
    const json = JSON.parse(text) as JWK | JSONWebKeySet;
    if ('keys' in json) return createVerifier(createLocalJWKSet(json as JSONWebKeySet));
    const jwk = json as JWK;
    return createVerifier(await importJWK(publicPart(jwk), jwk.kty === 'RSA' ? 'RS256' : 'EdDSA'));
  } catch (error) {
    throw new DunlinError(`the key file ${source} is no JWKS, JWK or PEM public key: ${(error as Error).message}`);
  }
}

async function importPem(text: string): Promise<Awaited<ReturnType<typeof importSPKI>>> {
  try {
    return await importSPKI(text, 'EdDSA');
  } catch {
    return await importSPKI(text, 'RS256');
  }
}

function publicPart(jwk: JWK): JWK {
  return jwk.kty === 'RSA' ? { kty: 'RSA', n: jwk.n!, e: jwk.e! } : { kty: 'OKP', crv: jwk.crv!, x: jwk.x! };
}

export interface DevelopmentIssuer {
  readonly verify: Verify;
  sign(claims: { readonly user: number; readonly device: number; readonly ttlMs?: number }): Promise<string>;
}

/** The issuer of a data directory; its key is made the first time. Whoever can read that file can be anybody: development only. */
export async function createDevelopmentIssuer(dataDirectory: string): Promise<DevelopmentIssuer> {
  const file = join(dataDirectory, DEVELOPMENT_KEY_FILE);
  const jwk = readKey(file) ?? (await makeKey(dataDirectory, file));
  let privateKey: Awaited<ReturnType<typeof importJWK>>;
  let publicKey: Awaited<ReturnType<typeof importJWK>>;
  try {
    privateKey = await importJWK(jwk, 'EdDSA');
    publicKey = await importJWK(publicPart(jwk), 'EdDSA');
  } catch {
    throw new DunlinError(`${file} is damaged: remove it, and a new key is made (tokens signed before end with it).`);
  }
  return {
    verify: createVerifier(publicKey as Key),
    sign: async ({ user, device, ttlMs = 24 * 3_600_000 }) =>
      await new SignJWT({ dev: device })
        .setProtectedHeader({ alg: 'EdDSA' })
        .setSubject(String(user))
        .setIssuedAt()
        .setExpirationTime(Math.ceil((Date.now() + ttlMs) / 1_000))
        .sign(privateKey),
  };
}

function readKey(file: string): JWK | undefined {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as JWK;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new DunlinError(`${file} cannot be read: ${(error as Error).message}`);
  }
}

async function makeKey(directory: string, file: string): Promise<JWK> {
  const { privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const jwk = await exportJWK(privateKey);
  fs.mkdirSync(directory, { recursive: true });
  try {
    // Whole or not at all, and the first one wins if two processes make it at once.
    const temporary = `${file}.${process.pid}`;
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

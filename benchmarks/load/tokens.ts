/** Tokens for the simulated devices: signed with a private key file, or with the server's development key. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { SignJWT } from 'jose';
import { DunlinError } from '../../core/errors.js';
import type { KeySource } from './messages.js';

/** Longer than any run. */
const TTL_MS = 8 * 24 * 3_600_000;

export interface TokenIssuer {
  /** A token for one device. */
  sign(user: number, device: number): Promise<string>;
}

async function readKey(file: string): Promise<{ key: KeyObject; kid: string | undefined }> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new DunlinError(`--key ${file}: cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
  }
  try {
    if (!text.trimStart().startsWith('{')) return { key: createPrivateKey(text), kid: undefined };
    const jwk = JSON.parse(text) as Record<string, string>;
    return { key: createPrivateKey({ key: jwk, format: 'jwk' }), kid: jwk['kid'] };
  } catch {
    throw new DunlinError(`--key ${file}: not a private key; give PEM (PKCS#8) or a JWK, Ed25519 or RSA.`);
  }
}

async function keyIssuer(file: string): Promise<TokenIssuer> {
  const { key, kid } = await readKey(file);
  const algorithms: Readonly<Record<string, string>> = { ed25519: 'EdDSA', rsa: 'RS256' };
  const alg = algorithms[key.asymmetricKeyType ?? ''];
  if (alg === undefined)
    throw new DunlinError(`--key ${file}: the key is ${key.asymmetricKeyType}; give Ed25519 or RSA.`);
  const header = kid === undefined ? { alg } : { alg, kid };
  return {
    sign: (user, device) =>
      new SignJWT({ dev: device })
        .setProtectedHeader(header)
        .setSubject(String(user))
        .setIssuedAt()
        .setExpirationTime(Math.floor((Date.now() + TTL_MS) / 1_000))
        .sign(key),
  };
}

export async function openIssuer(source: KeySource): Promise<TokenIssuer> {
  if ('file' in source) return keyIssuer(source.file);
  const { createDevelopmentIssuer } = await import('../../gateway/tokens.js');
  const issuer = await createDevelopmentIssuer(source.data);
  return { sign: (user, device) => issuer.sign({ user, device, ttlMs: TTL_MS }) };
}

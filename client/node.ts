/** The client for Node: WebSockets by `ws`, state in a file. */
import { randomInt } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import WebSocket from 'ws';
import { CloseCodes } from '../core/errors.js';
import { CLIENT_CONNECT_TIMEOUT_MS, MESSAGE_BYTES_MAX } from '../core/limits.js';
import {
  type ClientOptions,
  ClientShell,
  type ClientStorage,
  type Platform,
  type Transport,
  type TransportEvents,
} from './shell.js';

export { encodeDeviceTable, readDeviceTable, type TablePart } from '../core/device-table.js';
export { CloseCodes, DunlinError, ErrorCodes } from '../core/errors.js';
export { Flag, Kind } from '../core/frame.js';
export type { ConversationId } from '../core/ids.js';
export { type DeviceRow, type MemberRow, Role } from '../core/members.js';
export { type SendOptions } from './core.js';
export * from './shell.js';

export interface NodeClientOptions extends Omit<ClientOptions, 'storage'> {
  /** A file's path, or any storage of your own. */
  readonly storage?: ClientStorage | string | undefined;
}

export class DunlinClient extends ClientShell {
  constructor(options: NodeClientOptions) {
    const { storage } = options;
    super({ ...options, storage: typeof storage === 'string' ? fileStorage(storage) : storage }, NODE_PLATFORM);
  }
}

/** State in one file, replaced as a whole. One process at a time. */
export function fileStorage(path: string): ClientStorage {
  return {
    async load() {
      try {
        return await readFile(path);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    async save(state) {
      await writeFile(`${path}.new`, state);
      await rename(`${path}.new`, path);
    },
  };
}

const NODE_PLATFORM: Platform = {
  open: openSocket,
  nowMs: () => performance.now(),
  seed: () => randomInt(2 ** 48 - 1),
};

function openSocket(url: string, token: string, events: TransportEvents): Transport {
  const socket = new WebSocket(url, {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    handshakeTimeout: CLIENT_CONNECT_TIMEOUT_MS,
    maxPayload: 2 * MESSAGE_BYTES_MAX,
  });
  let isClosed = false;
  let lastError = '';
  const close = (code: number, reason: string, retryAfterMs: number): void => {
    if (isClosed) return;
    isClosed = true;
    events.closed(code, reason, retryAfterMs);
  };
  socket.on('open', () => events.opened());
  socket.on('message', (data: Buffer) => events.received(data));
  socket.on('error', (error) => {
    lastError = error.message === '' ? ((error as NodeJS.ErrnoException).code ?? 'unreachable') : error.message;
  });
  socket.on('close', (code, reason) => close(code, reason.length > 0 ? reason.toString() : lastError, 0));
  socket.on('unexpected-response', (request, response) => {
    const chunks: Buffer[] = [];
    response.on('data', (chunk: Buffer) => chunks.push(chunk));
    response.on('close', () => {
      const text = Buffer.concat(chunks).toString().trim();
      const seconds = Number(response.headers['retry-after'] ?? 0);
      const code = closeCodeOfStatus(response.statusCode ?? 0);
      close(code, `${response.statusCode}: ${text}`, Number.isFinite(seconds) ? seconds * 1_000 : 0);
      request.destroy();
    });
  });
  return {
    get bufferedAmount() {
      return socket.bufferedAmount;
    },
    send: (bytes) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
    },
    close: (code, reason) => {
      isClosed = true;
      // A socket that is half dead answers no closing handshake.
      if (socket.readyState === WebSocket.OPEN)
        socket.close(code === 1000 ? 1000 : CloseCodes.IDLE.code, reason.slice(0, 60));
      setTimeout(() => socket.terminate(), 1_000).unref();
    },
  };
}

/** 401: the token is no good. 503 and 429: later. Anything else: perhaps later. */
function closeCodeOfStatus(status: number): number {
  if (status === 401 || status === 403) return CloseCodes.TOKEN_EXPIRED.code;
  if (status === 503) return CloseCodes.BUSY.code;
  return status === 429 ? CloseCodes.TOO_MANY_CONNECTIONS.code : 1006;
}

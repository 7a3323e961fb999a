/**
 * A WebSocket client (RFC 6455) for thousands of connections in one process. It does what the load generator needs and no
 * more: binary messages, no extensions, a mask of zeros (allowed: a mask protects proxies from browsers' scripts), one
 * read buffer for all sockets of the process, and messages handed over as views into it.
 *
 * Measured beside `ws` 8.23 (no compression, no UTF-8 check, a mask of zeros) on two shared cores: 1,000 connections that
 * receive 19,000 messages of 200 bytes a second and send 8,000 cost 0.19 of a core here, 0.23 to 0.28 there.
 */
import { createHash, randomBytes } from 'node:crypto';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

const READ_BUFFER_BYTES = 256 * 1024;
const HEAD_BYTES_MAX = 16 * 1024;
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** The socket ended without a close frame. */
export const CLOSE_ABNORMAL = 1006;

export interface SocketTarget {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  /** Path and query. */
  readonly path: string;
}

export interface SocketEvents {
  opened(): void;
  /** A whole binary message; the bytes are only valid during the call. */
  message(bytes: Uint8Array): void;
  /** Once, whatever happened. `code` is a close code, or the HTTP status when the upgrade was refused. */
  closed(code: number, reason: string): void;
}

const shared: { buffer: Buffer | undefined } = { buffer: undefined };

function readBuffer(): Buffer {
  shared.buffer ??= Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
  return shared.buffer;
}

export function parseTarget(url: string): SocketTarget | undefined {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return undefined;
  }
  if (parsed.protocol !== 'ws:' && parsed.protocol !== 'wss:') return undefined;
  const tls = parsed.protocol === 'wss:';
  const port = parsed.port === '' ? (tls ? 443 : 80) : Number(parsed.port);
  const host = parsed.hostname.replaceAll(/^\[|\]$/g, '');
  return { tls, host, port, path: `${parsed.pathname}${parsed.search}` };
}

export class LoadSocket {
  readonly #events: SocketEvents;
  readonly #socket: Socket;
  readonly #accept: string;
  #open = false;
  #closed = false;
  #closeCode = CLOSE_ABNORMAL;
  #closeReason = '';
  /** Bytes of a message or a head that has not come whole. */
  #pending: Buffer | undefined;
  #fragments: Buffer[] = [];

  constructor(target: SocketTarget, token: string, events: SocketEvents, caBundle?: string) {
    this.#events = events;
    const key = randomBytes(16).toString('base64');
    this.#accept = createHash('sha1')
      .update(key + GUID)
      .digest('base64');
    const head =
      `GET ${target.path} HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\nUpgrade: websocket\r\n` +
      `Connection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n` +
      `Authorization: Bearer ${token}\r\n\r\n`;
    this.#socket = target.tls ? this.#overTls(target, caBundle) : this.#overTcp(target);
    this.#socket.setNoDelay(true);
    this.#socket.write(head);
    this.#socket.on('error', (error) => {
      this.#closeReason ||= error.message;
    });
    this.#socket.on('end', () => this.#socket.destroy());
    this.#socket.on('close', () => this.#finish());
  }

  #overTcp(target: SocketTarget): Socket {
    return connectTcp({
      host: target.host,
      port: target.port,
      onread: {
        buffer: readBuffer(),
        callback: (bytes, buffer) => {
          this.#received((buffer as Buffer).subarray(0, bytes));
          return true;
        },
      },
    });
  }

  #overTls(target: SocketTarget, caBundle: string | undefined): Socket {
    // An address is no server name (RFC 6066).
    const servername = isIP(target.host) === 0 ? target.host : '';
    const options = { host: target.host, port: target.port, servername };
    const socket = connectTls(caBundle === undefined ? options : { ...options, ca: caBundle });
    socket.on('data', (bytes: Buffer) => this.#received(bytes));
    return socket;
  }

  get isOpen(): boolean {
    return this.#open && !this.#closed;
  }

  /** Bytes that the system has not taken yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** Sends one binary message; the bytes are copied. */
  send(bytes: Uint8Array): void {
    this.#frame(Opcode.BINARY, bytes);
  }

  /** Cuts the connection as a lost network does: without a goodbye. */
  cut(): void {
    this.#closeReason ||= 'cut';
    this.#socket.destroy();
  }

  /** Closes with a close frame. */
  close(code: number): void {
    if (!this.isOpen) {
      this.cut();
      return;
    }
    this.#closeCode = code;
    this.#frame(Opcode.CLOSE, Uint8Array.of(code >>> 8, code & 0xff));
    this.#socket.end();
  }

  #frame(opcode: number, bytes: Uint8Array): void {
    if (this.#closed || this.#socket.destroyed) return;
    const length = bytes.length;
    const headBytes = (length < 126 ? 2 : length < 65_536 ? 4 : 10) + 4;
    const frame = Buffer.allocUnsafe(headBytes + length);
    frame[0] = 0x80 | opcode;
    if (length < 126) frame[1] = 0x80 | length;
    else if (length < 65_536) {
      frame[1] = 0x80 | 126;
      frame.writeUInt16BE(length, 2);
    } else {
      frame[1] = 0x80 | 127;
      frame.writeUInt32BE(0, 2);
      frame.writeUInt32BE(length, 6);
    }
    frame.fill(0, headBytes - 4, headBytes);
    frame.set(bytes, headBytes);
    this.#socket.write(frame);
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pending = undefined;
    this.#events.closed(this.#closeCode, this.#closeReason);
  }

  #fail(reason: string): void {
    this.#closeReason = reason;
    this.#socket.destroy();
  }

  #received(chunk: Buffer): void {
    if (this.#closed) return;
    let bytes = chunk;
    if (this.#pending) {
      bytes = Buffer.concat([this.#pending, chunk]);
      this.#pending = undefined;
    }
    let at = this.#open ? 0 : this.#head(bytes);
    if (at < 0) return;
    while (at < bytes.length && !this.#closed && !this.#socket.destroyed) {
      const end = this.#one(bytes, at);
      if (end < 0) break;
      at = end;
    }
    // The buffer is shared by all sockets: what is left over must be copied before this returns.
    if (at < bytes.length) this.#pending = Buffer.from(bytes.subarray(at));
  }

  /** Reads the answer to the upgrade; returns where frames begin, or −1 if it is not whole or not good. */
  #head(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0) {
      if (bytes.length > HEAD_BYTES_MAX) this.#fail('the answer to the upgrade is too long');
      else this.#pending = Buffer.from(bytes);
      return -1;
    }
    const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
    const status = Number(statusLine.split(' ')[1]);
    if (status !== 101) {
      this.#closeCode = Number.isInteger(status) ? status : CLOSE_ABNORMAL;
      const body = bytes.toString('utf8', end + 4, end + 404).trim();
      const retry = lines.find((line) => /^retry-after:/i.test(line));
      this.#fail([statusLine, retry, body].filter(Boolean).join('; '));
      return -1;
    }
    const accept = lines
      .find((line) => /^sec-websocket-accept:/i.test(line))
      ?.split(':')[1]
      ?.trim();
    if (accept !== this.#accept) {
      this.#fail('the answer to the upgrade has a wrong Sec-WebSocket-Accept');
      return -1;
    }
    this.#open = true;
    this.#events.opened();
    return end + 4;
  }

  /** Handles the frame at `at`; returns where it ends, or −1 if it is not whole. */
  #one(bytes: Buffer, at: number): number {
    if (bytes.length - at < 2) return -1;
    const first = bytes[at]!;
    const lengthCode = bytes[at + 1]! & 0x7f;
    if ((bytes[at + 1]! & 0x80) !== 0 || (first & 0x70) !== 0) {
      this.#fail('a frame from the server is masked or uses an extension');
      return -1;
    }
    let start = at + 2;
    let length = lengthCode;
    if (lengthCode === 126) {
      if (bytes.length - at < 4) return -1;
      length = bytes.readUInt16BE(at + 2);
      start = at + 4;
    } else if (lengthCode === 127) {
      if (bytes.length - at < 10) return -1;
      length = bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6);
      start = at + 10;
    }
    if (length > MESSAGE_BYTES_MAX) {
      this.#fail(`a frame of ${length} bytes is over the limit`);
      return -1;
    }
    if (bytes.length < start + length) return -1;
    this.#take(first & 0x0f, (first & 0x80) !== 0, bytes.subarray(start, start + length));
    return start + length;
  }

  #take(opcode: number, isLast: boolean, payload: Buffer): void {
    switch (opcode) {
      case Opcode.BINARY:
      case Opcode.TEXT:
      case Opcode.CONTINUATION:
        this.#data(isLast, payload);
        return;
      case Opcode.PING:
        this.#frame(Opcode.PONG, payload);
        return;
      case Opcode.CLOSE:
        if (payload.length >= 2) this.#closeCode = payload.readUInt16BE(0);
        this.#closeReason = payload.toString('utf8', 2);
        this.#frame(Opcode.CLOSE, payload.subarray(0, 2));
        this.#socket.end();
        return;
      default:
    }
  }

  #data(isLast: boolean, payload: Buffer): void {
    if (isLast && this.#fragments.length === 0) {
      this.#events.message(payload);
      return;
    }
    this.#fragments.push(Buffer.from(payload));
    if (!isLast) return;
    const whole = Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#events.message(whole);
  }
}

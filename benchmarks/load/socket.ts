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
import { CLOSE_ABNORMAL, Opcode, type ReaderSink, WebSocketReader } from './socket-reader.js';

const READ_BUFFER_BYTES = 256 * 1024;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export { CLOSE_ABNORMAL } from './socket-reader.js';

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
  message?(bytes: Uint8Array): void;
  /** The same, for who reads it where it lies among others: from `start` to `end`. */
  messageIn?(bytes: Uint8Array, start: number, end: number): void;
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

export class LoadSocket implements ReaderSink {
  readonly #events: SocketEvents;
  readonly #socket: Socket;
  readonly #reader: WebSocketReader;
  #closed = false;
  /** Of ReaderSink. Node's own `destroyed` is far to look up for every message. */
  isGone = false;
  #closeCode = CLOSE_ABNORMAL;
  #closeReason = '';

  constructor(target: SocketTarget, token: string, events: SocketEvents, caBundle?: string) {
    this.#events = events;
    const key = randomBytes(16).toString('base64');
    const accept = createHash('sha1')
      .update(key + GUID)
      .digest('base64');
    this.#reader = new WebSocketReader(accept, this);
    const head =
      `GET ${target.path} HTTP/1.1\r\nHost: ${target.host}:${target.port}\r\nUpgrade: websocket\r\n` +
      `Connection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n` +
      `Authorization: Bearer ${token}\r\n\r\n`;
    this.#socket = target.tls ? this.#overTls(target, caBundle) : this.#overTcp(target);
    this.#socket.setNoDelay(true);
    this.#socket.write(head);
    this.#socket.on('error', (error) => {
      this.isGone = true;
      this.#closeReason ||= error.message;
    });
    this.#socket.on('end', () => this.#destroy());
    this.#socket.on('close', () => this.#finish());
  }

  #overTcp(target: SocketTarget): Socket {
    return connectTcp({
      host: target.host,
      port: target.port,
      onread: {
        buffer: readBuffer(),
        callback: (bytes, buffer) => {
          this.#reader.read(buffer as Buffer, bytes);
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
    socket.on('data', (bytes: Buffer) => this.#reader.read(bytes));
    return socket;
  }

  // --- ReaderSink ---------------------------------------------------------------------------------------------------------

  opened(): void {
    this.#events.opened();
  }

  message(bytes: Buffer, start: number, end: number): void {
    const events = this.#events;
    if (events.messageIn === undefined) events.message?.(bytes.subarray(start, end));
    else events.messageIn(bytes, start, end);
  }

  ping(payload: Buffer): void {
    this.#frame(Opcode.PONG, payload);
  }

  closing(payload: Buffer): void {
    if (payload.length >= 2) this.#closeCode = payload.readUInt16BE(0);
    this.#closeReason = payload.toString('utf8', 2);
    this.#frame(Opcode.CLOSE, payload.subarray(0, 2));
    this.#socket.end();
  }

  failed(reason: string, code?: number): void {
    if (code !== undefined) this.#closeCode = code;
    this.#closeReason = reason;
    this.#destroy();
  }

  // --- for the owner ------------------------------------------------------------------------------------------------------

  get isOpen(): boolean {
    return this.#reader.isOpen && !this.#closed;
  }

  /** Bytes that the system has not taken yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** Sends one binary message; the bytes are copied. */
  send(bytes: Uint8Array): void {
    this.#frame(Opcode.BINARY, bytes);
  }

  /** Sends several messages, binary or text, with one write to the system; the bytes are copied. */
  sendAll(messages: readonly Uint8Array[], isText = false): void {
    this.#socket.cork();
    for (const bytes of messages) this.#frame(isText ? Opcode.TEXT : Opcode.BINARY, bytes);
    this.#socket.uncork();
  }

  /** Cuts the connection as a lost network does: without a goodbye. */
  cut(): void {
    this.#closeReason ||= 'cut';
    this.#destroy();
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
    if (this.isGone) return;
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
    this.isGone = true;
    this.#reader.drop();
    this.#events.closed(this.#closeCode, this.#closeReason);
  }

  #destroy(): void {
    this.isGone = true;
    this.#socket.destroy();
  }
}

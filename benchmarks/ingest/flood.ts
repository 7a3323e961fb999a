/**
 * A sender in a process of its own: opens connections, says hello if it is told to, and then writes the same chunk of WebSocket
 * messages over all of them as fast as the system takes it, as often as it is told.
 */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { encodeFrame, Kind, makeFrame } from '../../core/frame.js';
import { MASK_BYTES, makeChunk, maskedMessage } from './messages.js';

export interface FloodOrder {
  readonly open?: {
    readonly port: number;
    /** One a connection; empty strings: the server asks for none, and is not told hello. */
    readonly tokens: readonly string[];
    readonly messagesAChunk: number;
    readonly seed: number;
    readonly payloadBytes?: number;
  };
  /** Chunks to write over each connection. */
  readonly chunks?: number;
  /** They come back, in WebSocket messages of their own, and must have before this is done. */
  readonly isEcho?: boolean;
}

let chunk: Buffer;
/** What comes back of one: the messages without their masks. */
let echoedChunkBytes = 0;
let sockets: readonly Socket[] = [];
let receivedBytes = 0;
let received: (() => void) | undefined;

async function open(port: number, token: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.setNoDelay(true);
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.once('data', (head) => {
      if (head.toString('latin1').startsWith('HTTP/1.1 101')) resolve();
      else reject(new Error(`an upgrade was answered with ${head.toString('latin1').split('\r\n')[0]}`));
    });
    socket.write(
      `GET /socket HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Version: 13\r\n` +
        `Authorization: Bearer ${token}\r\n\r\n`,
    );
  });
  if (token !== '') socket.write(maskedMessage(encodeFrame(makeFrame({ kind: Kind.HELLO, extra: 1 })), 0));
  // What is answered is only counted; an end is an error.
  socket.on('data', (bytes) => {
    receivedBytes += bytes.length;
    received?.();
  });
  socket.on('close', () => {
    process.exitCode = 1;
    process.disconnect?.();
  });
  return socket;
}

async function write(socket: Socket, chunks: number): Promise<void> {
  for (let left = chunks; left > 0; left--) {
    await new Promise<void>((resolve) => {
      socket.write(chunk, () => resolve());
    });
  }
}

async function untilReceived(bytes: number): Promise<void> {
  await new Promise<void>((resolve) => {
    received = () => {
      if (receivedBytes >= bytes) resolve();
    };
    received();
  });
}

async function obey(order: FloodOrder): Promise<void> {
  if (order.open !== undefined) {
    const { port, tokens, messagesAChunk, seed, payloadBytes } = order.open;
    const made = makeChunk(messagesAChunk, seed, payloadBytes);
    chunk = made.bytes;
    echoedChunkBytes = chunk.length - made.messages * MASK_BYTES;
    sockets = await Promise.all(tokens.map((token) => open(port, token)));
  }
  const { chunks, isEcho } = order;
  if (chunks !== undefined) {
    const expected = receivedBytes + sockets.length * chunks * echoedChunkBytes;
    await Promise.all(sockets.map((socket) => write(socket, chunks)));
    if (isEcho === true) await untilReceived(expected);
  }
  process.send!('done');
}

process.on('message', (order: FloodOrder) => void obey(order));
process.on('disconnect', () => process.exit());

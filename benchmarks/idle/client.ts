/** A client process of `idle-session`: opens connections, one a token, and holds them until its parent goes. */
import type { IncomingMessage } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { At, encodeFrame, frameLength, Kind, makeFrame, viewOf } from '../../core/frame.js';
import { mix32 } from '../../core/ids.js';

/** Upgrades under way at a time. */
const OPENING_AT_ONCE = 64;

export interface Order {
  readonly url: string;
  readonly tokens: readonly string[];
}

/** Opens one connection; resolves when it is live, with the frames up to then folded into a number, or with a time to wait. */
async function open(url: string, token: string): Promise<{ readonly hash: number } | { readonly retryAfterS: number }> {
  const socket = new WebSocket(url, {
    headers: { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    skipUTF8Validation: true,
  });
  socket.binaryType = 'nodebuffer';
  return await new Promise((resolve, reject) => {
    let hash = 0;
    socket.once('unexpected-response', (_request, response: IncomingMessage) => {
      response.resume();
      const retryAfterS = Number(response.headers['retry-after']);
      if (retryAfterS > 0) resolve({ retryAfterS });
      else reject(new Error(`an upgrade was answered with ${response.statusCode}`));
    });
    socket.once('error', reject);
    socket.once('close', (code) => reject(new Error(`a connection was closed with ${code}`)));
    socket.once('open', () => socket.send(encodeFrame(makeFrame({ kind: Kind.HELLO, extra: 1 }))));
    socket.on('message', (message: Buffer) => {
      const view = viewOf(message);
      for (let at = 0; at < message.length; at += frameLength(view, at)) {
        const kind = message[at + At.KIND]!;
        hash = mix32(hash ^ kind ^ (view.getUint32(at + At.DEVICE + 4) << 8));
        if (kind === Kind.CAUGHT_UP) resolve({ hash });
      }
    });
  });
}

async function openAtLast(url: string, token: string): Promise<number> {
  for (;;) {
    const outcome = await open(url, token);
    if ('hash' in outcome) return outcome.hash;
    await pause(outcome.retryAfterS * 1_000);
  }
}

async function openAll({ url, tokens }: Order): Promise<number> {
  let next = 0;
  let hash = 0;
  const opener = async (): Promise<void> => {
    while (next < tokens.length) {
      const seen = await openAtLast(url, tokens[next++]!);
      hash = (hash + seen) >>> 0;
    }
  };
  await Promise.all(Array.from({ length: OPENING_AT_ONCE }, opener));
  return hash;
}

process.on('disconnect', () => process.exit(0));
process.once('message', (order: Order) => {
  void openAll(order).then(
    (hash) => process.send!({ hash }),
    (error: Error) => process.send!({ failed: error.message }),
  );
});

/** A TCP server for tests of a client's protocol: it answers what a script says, byte by byte, so that every piece comes apart. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { PeerEvents } from './peer.js';

export interface Scripted {
  readonly port: number;
  /** What the client sent so far. */
  readonly received: () => Buffer;
  close(): void;
}

/** `answer` is given all that came since it last answered something, and says what to send; undefined to wait for more. */
export async function scriptedServer(answer: (received: Buffer) => Buffer | string | undefined): Promise<Scripted> {
  const sockets: Socket[] = [];
  let all = Buffer.alloc(0);
  let pending = Buffer.alloc(0);
  const server: Server = createServer((socket) => {
    sockets.push(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', (piece: Buffer) => {
      all = Buffer.concat([all, piece]);
      pending = Buffer.concat([pending, piece]);
      const reply = answer(pending);
      if (reply === undefined) return;
      pending = Buffer.alloc(0);
      for (const byte of Buffer.from(reply as string)) socket.write(Uint8Array.of(byte));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    received: () => all,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Collects what a connection tells; `until` resolves when so much was acknowledged and delivered. */
export class Told implements PeerEvents {
  ackedCount = 0;
  readonly bodies: string[] = [];
  readonly failures: string[] = [];
  #check: () => void = () => {};

  acked(count: number): void {
    this.ackedCount += count;
    this.#check();
  }

  delivered(body: Uint8Array): void {
    this.bodies.push(Buffer.from(body).toString('latin1'));
    this.#check();
  }

  failed(sentence: string): void {
    this.failures.push(sentence);
    this.#check();
  }

  async until(acked: number, delivered: number, failed = 0): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#check = () => {
        if (this.ackedCount >= acked && this.bodies.length >= delivered && this.failures.length >= failed) resolve();
      };
      this.#check();
    });
  }
}

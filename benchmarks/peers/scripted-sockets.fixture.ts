/** A WebSocket server for tests of a client's protocol: it answers each message as a script says. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';

export interface ScriptedSockets {
  readonly port: number;
  readonly received: Buffer[];
  close(): void;
}

/** `greeting` is sent to who connects; `answer` says what a message is answered with. Strings go as text. */
export async function scriptedSockets(
  greeting: readonly (string | Buffer)[],
  answer: (message: Buffer) => readonly (string | Buffer)[],
): Promise<ScriptedSockets> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  const received: Buffer[] = [];
  server.on('connection', (socket) => {
    for (const message of greeting) socket.send(message);
    socket.on('message', (message: Buffer) => {
      received.push(message);
      for (const reply of answer(message)) socket.send(reply);
    });
  });
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    received,
    close: () => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    },
  };
}

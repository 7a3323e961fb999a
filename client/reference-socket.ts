/** The reference server behind real WebSockets on the loopback interface, for tests of the shells. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { Prng } from '../core/prng.js';
import { ReferenceServer, type ServerConnection } from './reference-server.js';
import { deviceOfToken } from './shell.js';

/** A token that the reference server takes: it checks no signature. */
export function unsignedToken(user: number, device: number): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none' })}.${part({ sub: String(user), dev: device })}.`;
}

export class ReferenceSocketServer {
  readonly reference = new ReferenceServer(new Prng(1));
  /** Answer to every upgrade, in place of a connection: status, and seconds for Retry-After. */
  refuseWith: { status: number; retryAfterS: number } | undefined;
  /** The sub-protocols that clients offered. */
  readonly protocols: string[] = [];
  readonly #sockets = new Map<ServerConnection, WebSocket>();
  #http: Server | undefined;
  #port = 0;

  get url(): string {
    return `ws://127.0.0.1:${this.#port}/socket`;
  }

  /** Listens; again on the same port after a `kill`. */
  async listen(): Promise<void> {
    const webSockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      handleProtocols: () => 'dunlin',
    });
    const http = createServer();
    http.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      if (this.refuseWith !== undefined) {
        const { status, retryAfterS } = this.refuseWith;
        socket.end(`HTTP/1.1 ${status} No\r\nRetry-After: ${retryAfterS}\r\nConnection: close\r\n\r\nnot now`);
        return;
      }
      webSockets.handleUpgrade(request, socket, head, (webSocket) => this.#accept(request, webSocket));
    });
    http.listen(this.#port, '127.0.0.1');
    await once(http, 'listening');
    this.#port = (http.address() as AddressInfo).port;
    this.#http = http;
  }

  #accept(request: IncomingMessage, webSocket: WebSocket): void {
    const offered = request.headers['sec-websocket-protocol'];
    if (offered !== undefined) this.protocols.push(offered);
    const token = offered?.split(',')[1]?.trim() ?? (request.headers.authorization ?? '').slice('Bearer '.length);
    const connection = this.reference.connect(deviceOfToken(token));
    this.#sockets.set(connection, webSocket);
    webSocket.on('message', (data: Buffer) => {
      connection.receive(data);
      this.run();
    });
    webSocket.on('close', () => {
      this.#sockets.delete(connection);
      if (connection.isOpen) this.reference.lose(connection, 0);
      this.run();
    });
  }

  /** Does all waiting work, and puts on the wire what came of it. */
  run(): void {
    this.reference.nowMs = Date.now();
    this.reference.settle();
    for (const [connection, webSocket] of this.#sockets) {
      if (connection.toClient.length > 0) webSocket.send(connection.take(1_000));
      if (connection.closeCode !== 0) webSocket.close(connection.closeCode);
    }
  }

  /** `kill -9`: every connection breaks without a word. */
  async kill(): Promise<void> {
    for (const webSocket of this.#sockets.values()) webSocket.terminate();
    this.#sockets.clear();
    this.reference.restart(3, 0);
    const http = this.#http;
    this.#http = undefined;
    if (http === undefined) return;
    http.closeAllConnections();
    http.close();
    await once(http, 'close');
  }

  /** Closes a device's connection with a code. */
  close(device: number, code: number): void {
    for (const connection of this.#sockets.keys())
      if (connection.device === device) this.reference.close(connection, code);
    this.run();
  }
}

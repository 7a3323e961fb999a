/**
 * The server of socket-io.ts: `node socket-io-server.js PORT DIRECTORY`, where the directory has socket.io in its node_modules. A
 * user is a room, a group is a room.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';

interface Socket {
  readonly handshake: { readonly auth: { readonly user: number } };
  readonly conn: { request?: unknown };
  join(room: string): void;
  to(room: string): { emit(event: string, body: string): void };
  on(event: 'message', listener: (room: string, body: string, done: () => void) => void): void;
  on(event: 'join', listener: (room: string, done: () => void) => void): void;
}

type Server = new (
  port: number,
  options: { transports: string[]; serveClient: boolean },
) => { on(event: 'connection', listener: (socket: Socket) => void): void };

const [, , port, directory] = process.argv;
const { Server } = createRequire(join(directory!, 'package.json'))('socket.io') as { Server: Server };
const server = new Server(Number(port), { transports: ['websocket'], serveClient: false });

server.on('connection', (socket) => {
  // What the handshake came with is of no use any more, and takes memory.
  delete socket.conn.request;
  socket.join(`user:${socket.handshake.auth.user}`);
  socket.on('join', (room, done) => {
    socket.join(room);
    done();
  });
  socket.on('message', (room, body, done) => {
    socket.to(room).emit('message', body);
    done();
  });
});
process.on('SIGTERM', () => process.exit(0));

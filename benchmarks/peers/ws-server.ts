/** The server of ws.ts: `node ws-server.js PORT`. A message is a user, or GROUP + a group, in four bytes, then the body; the answer is ACK. */
import { type WebSocket, WebSocketServer } from 'ws';

const HOST = '127.0.0.1';
const GROUP = 0x8000_0000;
const MAKE_GROUP = 0;
const ACK = Buffer.from('+');

const users = new Map<number, WebSocket>();
const groups = new Map<number, WebSocket[]>();
const server = new WebSocketServer({ host: HOST, port: Number(process.argv[2]), skipUTF8Validation: true });

server.on('connection', (socket, request) => {
  const user = Number(request.url!.slice(1));
  users.set(user, socket);
  socket.on('close', () => users.delete(user));
  socket.on('message', (data: Buffer) => {
    const to = data.readUInt32BE(0);
    if (to === MAKE_GROUP) {
      const [group, ...members] = new Uint32Array(
        data.buffer.slice(data.byteOffset + 4, data.byteOffset + data.length),
      );
      groups.set(
        group!,
        members.map((member) => users.get(member)!),
      );
    } else {
      const body = data.subarray(4);
      const receivers = to >= GROUP ? groups.get(to - GROUP)! : [users.get(to)];
      for (const receiver of receivers) if (receiver !== socket) receiver?.send(body);
    }
    socket.send(ACK);
  });
});
process.on('SIGTERM', () => process.exit(0));

/**
 * The limit of any gateway: a uWebSockets.js receive loop whose callback counts bytes and does nothing else. Beside
 * gateway/sockets.ts the only file that knows uWebSockets.js, since a loop behind that file would have its cost. With `echo` it
 * also sends each message back: the limit of whatever goes from socket to socket.
 */

import uWS, { type us_listen_socket } from 'uWebSockets.js';
import { parentPort, workerData } from 'node:worker_threads';
import { MESSAGE_BYTES_MAX } from '../../core/limits.js';

export interface BareData {
  readonly echo: boolean;
  /** Float64: WebSocket messages and bytes received. */
  readonly counted: SharedArrayBuffer;
}

const { echo, counted } = workerData as BareData;
const counts = new Float64Array(counted);

const app = uWS.App().ws('/socket', {
  maxPayloadLength: MESSAGE_BYTES_MAX,
  idleTimeout: 0,
  compression: uWS.DISABLED,
  message: (ws, message) => {
    counts[0]!++;
    counts[1]! += message.byteLength;
    if (echo) ws.send(message, true);
  },
});
let listening: us_listen_socket | undefined;
app.listen('127.0.0.1', 0, (socket: us_listen_socket | false) => {
  if (socket === false) throw new Error('no port for the bare loop');
  listening = socket;
  parentPort!.postMessage({ listening: uWS.us_socket_local_port(socket) });
});
parentPort!.once('message', () => {
  // Sockets must be given back before the thread ends.
  uWS.us_listen_socket_close(listening!);
  app.close();
  parentPort!.close();
});

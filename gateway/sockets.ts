/**
 * The one file that knows uWebSockets.js. It turns upgrades into sessions' sockets and nothing else.
 *
 * Upgrades are answered within their callback, never later. Upgrading later means doing it inside `response.cork`, and that
 * closes some of the connections right after they opened: `cork` looks at the state of a response that is none any more
 * (uWebSockets, pull request 1929). Measured with 250 upgrades of 64 clients after a fresh start: one in three starts lost some.
 *
 * `publish` is never used: under backpressure it drops silently. `send` is checked, and what a socket holds unsent is bounded by
 * outbound.ts; `maxBackpressure` is only the last line, and passing it closes the connection, which then resumes.
 */

import type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  us_listen_socket,
  us_socket_context_t,
  WebSocket,
} from 'uWebSockets.js';
import uWS from 'uWebSockets.js';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { DunlinError } from '../core/errors.js';
import { IDLE_TIMEOUT_MS, MESSAGE_BYTES_MAX, SOCKET_BUFFER_BYTES_MAX } from '../core/limits.js';
import type { Session, Socket } from './hub.js';

/** What is needed to decide about an upgrade. */
export interface Upgrade {
  readonly token: string;
  readonly address: string;
}

export interface Refusal {
  /** HTTP status line, e.g. "401 Unauthorized". */
  readonly status: string;
  readonly sentence: string;
  readonly retryAfterS?: number;
}

/** PEM files. */
export interface TlsFiles {
  readonly keyFile: string;
  readonly certFile: string;
}

export interface SocketsOptions {
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsFiles;
  /** A session, or why there is none. */
  readonly accept: (upgrade: Upgrade) => Session | Refusal;
  readonly opened: (session: Session) => void;
  readonly message: (session: Session, bytes: Uint8Array) => void;
  readonly text: (session: Session) => void;
  readonly drained: (session: Session) => void;
  readonly closed: (session: Session) => void;
  /** Called for every refused upgrade. */
  readonly refused: (refusal: Refusal) => void;
}

/** Above what a session may hold unsent plus the largest message that may come on top. */
const BACKPRESSURE_BYTES_MAX = 4 * (SOCKET_BUFFER_BYTES_MAX + MESSAGE_BYTES_MAX);
const DROPPED = 2;
const ListenOption = { SHARED: 0, EXCLUSIVE: 1 } as const;
/** uWS rounds to 4 seconds, and pings half-way. */
const IDLE_TIMEOUT_S = Math.ceil(IDLE_TIMEOUT_MS / 4_000) * 4;

interface UserData {
  readonly session: Session;
}

class UwsSocket implements Socket {
  readonly #ws: WebSocket<UserData>;

  constructor(ws: WebSocket<UserData>) {
    this.#ws = ws;
  }

  send(bytes: Uint8Array): boolean {
    return this.#ws.send(bytes, true) !== DROPPED;
  }

  bufferedBytes(): number {
    return this.#ws.getBufferedAmount();
  }

  close(code: number, reason: string): void {
    this.#ws.end(code, reason);
  }
}

const decoder = new TextDecoder();

/** The token, and the sub-protocol to answer with ("" for none). */
export function bearer(request: Pick<HttpRequest, 'getHeader' | 'getQuery'>): { token: string; protocol: string } {
  const [protocol = '', inProtocols = ''] = request
    .getHeader('sec-websocket-protocol')
    .split(',')
    .map((part) => part.trim());
  const authorization = request.getHeader('authorization');
  if (/^bearer /i.test(authorization)) return { token: authorization.slice(7).trim(), protocol };
  const query = request.getQuery('token');
  if (query !== undefined && query !== '') return { token: query, protocol };
  return { token: protocol === 'dunlin' ? inProtocols : '', protocol };
}

function answerRefusal(response: HttpResponse, refusal: Refusal, options: SocketsOptions): void {
  options.refused(refusal);
  response.writeStatus(refusal.status).writeHeader('content-type', 'text/plain');
  if (refusal.retryAfterS !== undefined) response.writeHeader('retry-after', String(refusal.retryAfterS));
  response.end(`${refusal.sentence}\n`, true);
}

/**
 * TLS 1.3 only. uWebSockets has no option for the lowest version (it takes 1.2 as well). But it has one for the cipher suites of
 * TLS 1.2, while those of 1.3 are fixed: with a suite that needs a pre-shared key, which nobody has, no 1.2 handshake succeeds.
 */
const NO_TLS_1_2_SUITE = 'ECDHE-PSK-AES128-CBC-SHA';

function createApp(tls: TlsFiles | undefined): TemplatedApp {
  if (tls === undefined) return uWS.App();
  const { keyFile, certFile } = tls;
  const refuse = (reason: string): never => {
    throw new DunlinError(`TLS cannot start with the key ${keyFile} and the certificate ${certFile}: ${reason}.`);
  };
  // uWebSockets says of any problem that the construction failed. Node's own TLS says which, if it is in one of the files.
  try {
    createSecureContext({ key: readFileSync(keyFile), cert: readFileSync(certFile) });
  } catch (error) {
    refuse((error as Error).message);
  }
  try {
    return uWS.SSLApp({ key_file_name: keyFile, cert_file_name: certFile, ssl_ciphers: NO_TLS_1_2_SUITE });
  } catch {
    return refuse('they do not belong together');
  }
}

export class Sockets {
  readonly #options: SocketsOptions;
  readonly #app: TemplatedApp;
  #listening: us_listen_socket | undefined;

  constructor(options: SocketsOptions) {
    this.#options = options;
    this.#app = createApp(options.tls);
    this.#route();
  }

  #route(): void {
    const options = this.#options;
    this.#app
      .ws<UserData>('/socket', {
        maxPayloadLength: MESSAGE_BYTES_MAX,
        idleTimeout: IDLE_TIMEOUT_S,
        sendPingsAutomatically: true,
        maxBackpressure: BACKPRESSURE_BYTES_MAX,
        closeOnBackpressureLimit: 1,
        compression: uWS.DISABLED,
        upgrade: (response, request, context) => this.#upgrade(response, request, context),
        open: (ws) => {
          const { session } = ws.getUserData();
          session.socket = new UwsSocket(ws);
          options.opened(session);
        },
        message: (ws, message, isBinary) => {
          const { session } = ws.getUserData();
          if (isBinary) options.message(session, new Uint8Array(message));
          else options.text(session);
        },
        drain: (ws) => options.drained(ws.getUserData().session),
        close: (ws) => {
          const { session } = ws.getUserData();
          session.socket = undefined;
          options.closed(session);
        },
      })
      .any('/*', (response) => {
        const sentence = 'Clients connect to /socket by WebSocket; operators have a port of their own.';
        response.writeStatus('404 Not Found').writeHeader('content-type', 'text/plain').end(`${sentence}\n`, true);
      });
  }

  #upgrade(response: HttpResponse, request: HttpRequest, context: us_socket_context_t): void {
    const { accept } = this.#options;
    const { token, protocol } = bearer(request);
    const result = accept({ token, address: decoder.decode(response.getRemoteAddressAsText()) });
    if ('status' in result) {
      answerRefusal(response, result, this.#options);
      return;
    }
    const key = request.getHeader('sec-websocket-key');
    const extensions = request.getHeader('sec-websocket-extensions');
    response.upgrade<UserData>({ session: result }, key, protocol, extensions, context);
  }

  /**
   * Listens; returns the port, which was chosen if 0 was asked for. Throws a DunlinError if it cannot. Gateways of one process
   * share a port, which the kernel allows to any that ask for it: the first makes sure that nobody else is there already.
   */
  listen(isFirst: boolean): number {
    let { port } = this.#options;
    if (isFirst) {
      this.#listenOn(port, ListenOption.EXCLUSIVE);
      port = uWS.us_socket_local_port(this.#listening!);
      this.stopListening();
    }
    this.#listenOn(port, ListenOption.SHARED);
    return uWS.us_socket_local_port(this.#listening!);
  }

  #listenOn(port: number, option: number): void {
    const { host } = this.#options;
    // The callback is called at once. The overload with a host and an option is missing in the types.
    const app = this.#app as unknown as {
      listen(host: string, port: number, option: number, listening: (socket: us_listen_socket | false) => void): void;
    };
    app.listen(host, port, option, (socket) => {
      if (socket !== false) this.#listening = socket;
    });
    if (this.#listening !== undefined) return;
    throw new DunlinError(`the clients' port ${host}:${port} is in use or not ours: choose another with --port.`);
  }

  /** Takes no more connections. */
  stopListening(): void {
    if (this.#listening !== undefined) uWS.us_listen_socket_close(this.#listening);
    this.#listening = undefined;
  }

  /** Ends all connections. Needed before the thread ends, or Node aborts. */
  close(): void {
    this.stopListening();
    this.#app.close();
  }
}

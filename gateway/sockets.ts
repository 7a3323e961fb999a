/**
 * The one file that knows uWebSockets.js. It turns upgrades into sessions' sockets and nothing else.
 *
 * `publish` is never used: under backpressure it drops silently. `send` is checked, and what a socket holds unsent is bounded by
 * outbound.ts; `maxBackpressure` is only the last line, and passing it closes the connection, which then resumes.
 */
import uWS from 'uWebSockets.js';
import type { HttpRequest, HttpResponse, TemplatedApp, us_listen_socket, us_socket_context_t, WebSocket } from 'uWebSockets.js';
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

export interface SocketsOptions {
  readonly host: string;
  readonly port: number;
  readonly tls?: { readonly keyFile: string; readonly certFile: string };
  /** Cheap checks before the token is looked at. */
  readonly admit: (upgrade: Upgrade) => Refusal | undefined;
  /** A session, or why there is none. */
  readonly authenticate: (upgrade: Upgrade) => Promise<Session | Refusal>;
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

function bearer(request: HttpRequest): { token: string; protocol: string } {
  const protocol = request.getHeader('sec-websocket-protocol');
  const authorization = request.getHeader('authorization');
  if (/^bearer /i.test(authorization)) return { token: authorization.slice(7).trim(), protocol };
  const query = request.getQuery('token');
  if (query !== undefined && query !== '') return { token: query, protocol };
  const [name, token] = protocol.split(',').map((part) => part.trim());
  return { token: name === 'dunlin' ? (token ?? '') : '', protocol };
}

function refuse(response: HttpResponse, refusal: Refusal, options: SocketsOptions): void {
  options.refused(refusal);
  response.cork(() => {
    response.writeStatus(refusal.status).writeHeader('content-type', 'text/plain');
    if (refusal.retryAfterS !== undefined) response.writeHeader('retry-after', String(refusal.retryAfterS));
    response.end(`${refusal.sentence}\n`, true);
  });
}

export class Sockets {
  readonly #options: SocketsOptions;
  readonly #app: TemplatedApp;
  #listening: us_listen_socket | undefined;

  constructor(options: SocketsOptions) {
    this.#options = options;
    this.#app =
      options.tls === undefined
        ? uWS.App()
        : uWS.SSLApp({ key_file_name: options.tls.keyFile, cert_file_name: options.tls.certFile });
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
    const options = this.#options;
    // The request is gone after this call: everything needed later is copied now.
    const key = request.getHeader('sec-websocket-key');
    const extensions = request.getHeader('sec-websocket-extensions');
    const { token, protocol } = bearer(request);
    const upgrade: Upgrade = { token, address: decoder.decode(response.getRemoteAddressAsText()) };
    const refusal = options.admit(upgrade);
    if (refusal !== undefined) return refuse(response, refusal, options);
    let isGone = false;
    response.onAborted(() => {
      isGone = true;
    });
    void options.authenticate(upgrade).then((result) => {
      if (isGone) return;
      if ('status' in result) return refuse(response, result, options);
      const chosen = protocol.split(',')[0]!.trim() === 'dunlin' ? 'dunlin' : protocol;
      response.cork(() => response.upgrade<UserData>({ session: result }, key, chosen, extensions, context));
    });
  }

  /** Listens; the port, which was chosen if 0 was asked for. Throws a DunlinError if it cannot. */
  async listen(): Promise<number> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#app.listen(host, port, (socket) => {
        if (socket === false) {
          reject(new DunlinError(`the clients' port ${host}:${port} is in use or not ours: choose another with --port.`));
          return;
        }
        this.#listening = socket;
        resolve();
      });
    });
    return uWS.us_socket_local_port(this.#listening!);
  }

  /** Takes no more connections. */
  stopListening(): void {
    if (this.#listening !== undefined) uWS.us_listen_socket_close(this.#listening);
    this.#listening = undefined;
  }

  /** Ends all connections and gives everything back. Needed before the thread ends, or Node aborts. */
  close(): void {
    this.stopListening();
    this.#app.close();
  }

  /** The last call of the thread. */
  static free(): void {
    (uWS as unknown as { free?: () => void }).free?.();
  }
}

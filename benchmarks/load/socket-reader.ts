/**
 * What a WebSocket client reads (RFC 6455): the answer to the upgrade, then frames, from bytes in pieces of any size. It has no
 * socket; the other half is socket.ts. No extensions. Messages are views into the bytes that were given, if they are there whole.
 */
const HEAD_BYTES_MAX = 16 * 1024;
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** The socket ended without a close frame. */
export const CLOSE_ABNORMAL = 1006;

/** What is done with what was read. Bytes are only valid during the call. */
export interface ReaderSink {
  /** True: the connection is gone, and nothing more is read. Looked at before each frame. */
  readonly isGone: boolean;
  opened(): void;
  /** The message lies in `bytes` from `start` to `end`; what is around it is not its. */
  message(bytes: Buffer, start: number, end: number): void;
  ping(payload: Buffer): void;
  /** The server sent a close frame; `payload` is what it said, the code in front. */
  closing(payload: Buffer): void;
  /** The server broke the protocol, or refused the upgrade: `code` is its HTTP status then. */
  failed(reason: string, code?: number): void;
}

export class WebSocketReader {
  readonly #accept: string;
  readonly #sink: ReaderSink;
  readonly #messageBytesMax: number;
  #open = false;
  /** Bytes of a message or a head that has not come whole. */
  #pending: Buffer | undefined;
  #fragments: Buffer[] = [];
  #fragmentBytes = 0;

  /** `accept` is the Sec-WebSocket-Accept that the server must answer with. */
  constructor(accept: string, sink: ReaderSink, messageBytesMax: number = MESSAGE_BYTES_MAX) {
    this.#accept = accept;
    this.#sink = sink;
    this.#messageBytesMax = messageBytesMax;
  }

  /** The upgrade was answered well. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** Bytes that wait for more. */
  get heldBytes(): number {
    return (this.#pending?.length ?? 0) + this.#fragmentBytes;
  }

  /** Forgets what waits for more. */
  drop(): void {
    this.#pending = undefined;
    this.#fragments = [];
    this.#fragmentBytes = 0;
  }

  /** Takes the next piece: the first `length` bytes. What is left over is copied: the piece may lie in a buffer that is shared. */
  read(chunk: Buffer, length: number = chunk.length): void {
    if (this.#sink.isGone) return;
    let bytes = chunk;
    let end = length;
    if (this.#pending) {
      bytes = Buffer.concat([this.#pending, chunk.subarray(0, length)]);
      end = bytes.length;
      this.#pending = undefined;
    }
    let at = this.#open ? 0 : this.#head(bytes.subarray(0, end));
    if (at < 0) return;
    while (at < end && !this.#sink.isGone) {
      const next = this.#one(bytes, at, end);
      if (next < 0) break;
      at = next;
    }
    if (at < end && !this.#sink.isGone) this.#pending = Buffer.from(bytes.subarray(at, end));
  }

  #fail(reason: string, code?: number): void {
    this.drop();
    this.#sink.failed(reason, code);
  }

  /** Reads the answer to the upgrade; returns where frames begin, or −1 if it is not whole or not good. */
  #head(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n\r\n');
    if (end < 0 || end > HEAD_BYTES_MAX) {
      if (bytes.length > HEAD_BYTES_MAX) this.#fail('the answer to the upgrade is too long');
      else this.#pending = Buffer.from(bytes);
      return -1;
    }
    const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
    const word = statusLine.split(' ')[1] ?? '';
    if (word !== '101') {
      const status = /^[1-5]\d\d$/.test(word) ? Number(word) : CLOSE_ABNORMAL;
      const body = bytes.toString('utf8', end + 4, end + 404).trim();
      const retry = lines.find((line) => /^retry-after:/i.test(line));
      this.#fail([statusLine, retry, body].filter(Boolean).join('; '), status);
      return -1;
    }
    const accept = lines
      .find((line) => /^sec-websocket-accept:/i.test(line))
      ?.replace(/^[^:]*:/, '')
      .trim();
    if (accept !== this.#accept) {
      this.#fail('the answer to the upgrade has a wrong Sec-WebSocket-Accept');
      return -1;
    }
    this.#open = true;
    this.#sink.opened();
    return end + 4;
  }

  /** Handles the frame at `at`; returns where it ends, or −1 if it is not whole by `end`. */
  #one(bytes: Buffer, at: number, end: number): number {
    if (end - at < 2) return -1;
    const first = bytes[at]!;
    const lengthCode = bytes[at + 1]! & 0x7f;
    if ((bytes[at + 1]! & 0x80) !== 0 || (first & 0x70) !== 0) {
      this.#fail('a frame from the server is masked or uses an extension');
      return -1;
    }
    let start = at + 2;
    let length = lengthCode;
    if (lengthCode === 126) {
      if (end - at < 4) return -1;
      length = bytes.readUInt16BE(at + 2);
      start = at + 4;
    } else if (lengthCode === 127) {
      if (end - at < 10) return -1;
      length = bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6);
      start = at + 10;
    }
    if (length > this.#messageBytesMax) {
      this.#fail(`a frame of ${length} bytes is over the limit`);
      return -1;
    }
    if (end < start + length) return -1;
    this.#take(first & 0x0f, (first & 0x80) !== 0, bytes, start, start + length);
    return start + length;
  }

  #take(opcode: number, isLast: boolean, bytes: Buffer, start: number, end: number): void {
    switch (opcode) {
      case Opcode.BINARY:
      case Opcode.TEXT:
      case Opcode.CONTINUATION:
        this.#data(isLast, bytes, start, end);
        return;
      case Opcode.PING:
        this.#sink.ping(bytes.subarray(start, end));
        return;
      case Opcode.CLOSE:
        this.#sink.closing(bytes.subarray(start, end));
        return;
      default:
    }
  }

  #data(isLast: boolean, bytes: Buffer, start: number, end: number): void {
    if (isLast && this.#fragmentBytes === 0) {
      this.#sink.message(bytes, start, end);
      return;
    }
    this.#fragmentBytes += end - start;
    if (this.#fragmentBytes > this.#messageBytesMax) {
      this.#fail(`a message of more than ${this.#messageBytesMax} bytes is over the limit`);
      return;
    }
    // An empty one would be held as well, and there may be any number.
    if (end > start) this.#fragments.push(Buffer.from(bytes.subarray(start, end)));
    if (!isLast) return;
    const whole = Buffer.concat(this.#fragments);
    this.#fragments = [];
    this.#fragmentBytes = 0;
    this.#sink.message(whole, 0, whole.length);
  }
}

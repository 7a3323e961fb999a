/** A TCP connection of a text protocol: bytes in pieces of any size become lines and bodies. */
import { connect, type Socket } from 'node:net';

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** Takes what is there, from `at` on; returns how far it got. What is left comes again, in front of the next piece. */
export type Take = (bytes: Buffer, at: number) => number;

export class TextConnection {
  readonly #socket: Socket;
  #rest: Buffer | undefined;
  #closing = false;

  constructor(port: number, take: Take, failed: (sentence: string) => void) {
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#socket.on('data', (piece: Buffer) => {
      const bytes = this.#rest === undefined ? piece : Buffer.concat([this.#rest, piece]);
      const at = take(bytes, 0);
      this.#rest = at < bytes.length ? bytes.subarray(at) : undefined;
    });
    this.#socket.on('error', (error) => this.#closing || failed(error.message));
    this.#socket.on('close', () => this.#closing || failed('the connection was closed'));
  }

  write(bytes: Uint8Array | string): void {
    this.#socket.write(bytes);
  }

  /** Several pieces with one write to the system. */
  writeAll(pieces: readonly (Uint8Array | string)[]): void {
    this.#socket.cork();
    for (const piece of pieces) this.#socket.write(piece);
    this.#socket.uncork();
  }

  close(): void {
    this.#closing = true;
    this.#socket.destroy();
  }
}

/** Where the line that begins at `at` ends, without its end of line; −1 if it is not whole. The next begins at `nextLine`. */
export function endOfLine(bytes: Buffer, at: number): number {
  const newline = bytes.indexOf(NEWLINE, at);
  if (newline < 0) return -1;
  return newline > at && bytes[newline - 1] === CARRIAGE_RETURN ? newline - 1 : newline;
}

export function nextLine(bytes: Buffer, end: number): number {
  return bytes[end] === CARRIAGE_RETURN ? end + 2 : end + 1;
}

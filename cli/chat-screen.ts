/** How `dunlin chat` shows itself: lines with ticks on a terminal, plain events, one a line, anywhere else. */
import type { Interface } from 'node:readline';
import { clearLine, cursorTo, moveCursor } from 'node:readline';

/** How far an own line has come. */
export const Mark = { QUEUED: 0, SENT: 1, DELIVERED: 2, READ: 3, REFUSED: 4 } as const;

export interface ShownLine {
  readonly name: string;
  readonly text: string;
  readonly timeMs: number;
  readonly seq: number;
}

export interface ChatStatus {
  /** Undefined: live. */
  readonly connection: string | undefined;
  /** The other's presence, or what is known of it. */
  readonly presence: string | undefined;
  readonly typing: string | undefined;
}

export interface ChatScreen {
  /** Lines of earlier runs. */
  history(lines: readonly (ShownLine & { readonly own: number | undefined; readonly mark: number })[]): void;
  /** A line was entered: a command, or what `own` follows for. */
  entered(text: string): void;
  /** An own line. `id` names it in `mark`. */
  own(id: number, line: ShownLine): void;
  /** An own line has come further; its sequence is known once it was sent. */
  mark(id: number, mark: number, seq: number, text: string): void;
  message(line: ShownLine): void;
  notice(text: string): void;
  status(status: ChatStatus): void;
}

/** Text of others must not steer this terminal. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ');
}

export class PlainScreen implements ChatScreen {
  readonly #output: NodeJS.WritableStream;
  #status: ChatStatus = { connection: undefined, presence: undefined, typing: undefined };

  constructor(output: NodeJS.WritableStream) {
    this.#output = output;
  }

  #write(text: string): void {
    this.#output.write(`${printable(text)}\n`);
  }

  history(): void {
    // Was printed by the run that received it.
  }

  entered(): void {
    // Nothing is echoed.
  }

  own(): void {
    // The `sent` that follows says enough.
  }

  mark(_id: number, mark: number, seq: number, text: string): void {
    if (mark === Mark.SENT) this.#write(`sent ${seq}`);
    else if (mark === Mark.DELIVERED) this.#write(`delivered ${seq}`);
    else if (mark === Mark.READ) this.#write(`read ${seq}`);
    else if (mark === Mark.REFUSED) this.#write(`refused ${text}`);
  }

  message({ name, text, seq }: ShownLine): void {
    this.#write(`message ${seq} ${name}: ${text}`);
  }

  notice(text: string): void {
    for (const line of text.split('\n')) this.#write(`# ${line}`);
  }

  status(status: ChatStatus): void {
    const before = this.#status;
    this.#status = status;
    if (status.connection !== before.connection) this.#write(status.connection ?? 'connected');
    if (status.presence !== before.presence && status.presence !== undefined) this.#write(status.presence);
    if (status.typing !== before.typing && status.typing !== undefined) this.#write(status.typing);
  }
}

const DIM = '\u001b[2m';
const BLUE = '\u001b[34m';
const RED = '\u001b[31m';
const PLAIN = '\u001b[0m';
/** Two columns each, so that a mark can be drawn over another. */
const MARKS: readonly string[] = ['· ', '✓ ', '✓✓', `${BLUE}✓✓${PLAIN}`, `${RED}✗ ${PLAIN}`];
/** Lines whose place on the screen is remembered. */
const PLACES_MAX = 1_000;

export class TerminalScreen implements ChatScreen {
  readonly #readline: Interface;
  readonly #output: NodeJS.WriteStream;
  /** Row of each own line, counted from the first row printed. */
  readonly #places = new Map<number, number>();
  /** Rows printed so far: the prompt is in this row. */
  #rows = 0;

  constructor(readline: Interface, output: NodeJS.WriteStream) {
    this.#readline = readline;
    this.#output = output;
  }

  #print(text: string, width: number): void {
    cursorTo(this.#output, 0);
    clearLine(this.#output, 0);
    this.#output.write(`${text}\n`);
    this.#rows += Math.max(1, Math.ceil(width / this.#columns));
    this.#readline.prompt(true);
  }

  get #columns(): number {
    return this.#output.columns || 80;
  }

  #line(mark: string, { name, text: received, timeMs }: ShownLine): void {
    const text = printable(received);
    const time = new Date(timeMs).toTimeString().slice(0, 5);
    this.#print(`${mark} ${DIM}${time}${PLAIN} ${name}: ${text}`, 2 + 1 + 5 + 1 + name.length + 2 + text.length);
  }

  #ownLine(id: number, mark: number, line: ShownLine): void {
    this.#places.set(id, this.#rows);
    if (this.#places.size > PLACES_MAX) this.#places.delete(this.#places.keys().next().value!);
    this.#line(MARKS[mark]!, line);
  }

  history(lines: Parameters<ChatScreen['history']>[0]): void {
    for (const line of lines) {
      if (line.own === undefined) this.#line('  ', line);
      else this.#ownLine(line.own, line.mark, line);
    }
  }

  /** Readline has left the prompt and the text in the rows above: they go, so that rows count right. */
  entered(text: string): void {
    const width = this.#readline.getPrompt().length + text.length;
    moveCursor(this.#output, 0, -Math.max(1, Math.ceil(width / this.#columns)));
    cursorTo(this.#output, 0);
    this.#output.write('\u001b[J');
    this.#readline.prompt(true);
  }

  own(id: number, line: ShownLine): void {
    this.#ownLine(id, Mark.QUEUED, line);
  }

  mark(id: number, mark: number): void {
    const place = this.#places.get(id);
    if (place === undefined) return;
    const promptRows = this.#readline.getCursorPos().rows;
    const up = this.#rows - place + promptRows;
    // A line that has left the screen cannot be drawn over.
    if (up >= (this.#output.rows || 24)) return;
    const { cols } = this.#readline.getCursorPos();
    moveCursor(this.#output, 0, -up);
    cursorTo(this.#output, 0);
    this.#output.write(MARKS[mark]!);
    moveCursor(this.#output, 0, up);
    cursorTo(this.#output, cols);
  }

  message(line: ShownLine): void {
    this.#line('  ', line);
  }

  notice(text: string): void {
    for (const line of text.split('\n')) this.#print(`${DIM}${printable(line)}${PLAIN}`, line.length);
  }

  status({ connection, presence, typing }: ChatStatus): void {
    this.#readline.setPrompt(`[${connection ?? typing ?? presence ?? 'connected'}] `);
    this.#readline.prompt(true);
  }
}

/** `dunlin chat`: two people, or a group, in terminals. Text is sent as it is: this demonstration does not encrypt. */
import { join } from 'node:path';
import { createInterface, emitKeypressEvents, type Interface } from 'node:readline';
import { Command } from 'commander';
import {
  type ClientState,
  type ConversationInfo,
  DunlinClient,
  deviceOfToken,
  type Receipt,
  type ReceivedMessage,
  RejectedError,
  Role,
} from '../client/node.js';
import { DunlinError, ErrorCodes } from '../core/errors.js';
import { type ConversationId, directConversation, groupConversation, isGroupId, userOfDevice } from '../core/ids.js';
import { DEVICE_NUMBER_MAX, PAYLOAD_BYTES_MAX, TYPING_INTERVAL_MS } from '../core/limits.js';
import { type ChatScreen, Mark, PlainScreen, type ShownLine, TerminalScreen } from './chat-screen.js';
import { type ChatConversation, type ChatLine, ChatState } from './chat-state.js';
import { DEFAULT_URL, defaultDataDirectory } from './defaults.js';
import { wholeNumber } from './flags.js';

const HELP = `/who          who is here, and how far they have read
/block        block the other; /block off ends it
/quit         leave (or Ctrl-C, Ctrl-D)
/help         this list
Ticks: · waiting, ✓ sent, ✓✓ delivered, blue ✓✓ read. Text is not encrypted in this demonstration.`;

/** Lines of earlier runs that are shown at the start. */
const HISTORY_LINES = 10;
/** Another's typing is believed for this long. */
const TYPING_SHOWN_MS = 3 * TYPING_INTERVAL_MS;
/** At the end of the input, what was entered has this long to go out. */
const LAST_SENDS_MS = 5_000;

export interface ChatOptions {
  readonly url: string;
  readonly token: string | (() => Promise<string>);
  /** This user and device. */
  readonly user: number;
  readonly conversation: ConversationId;
  /** Names of users, as far as they are known. */
  readonly names: ReadonlyMap<number, string>;
  readonly statePath: string;
}

export interface ChatStreams {
  readonly input: NodeJS.ReadableStream;
  readonly output: NodeJS.WritableStream;
}

/** Runs until `/quit`, the end of the input, Ctrl-C, or a connection that is closed for good; returns the exit code. */
export async function runChat(options: ChatOptions, streams: ChatStreams): Promise<number> {
  const state = new ChatState(options.statePath);
  try {
    return await new Chat(options, state, streams).run();
  } finally {
    state.unlock();
  }
}

class Chat {
  readonly #options: ChatOptions;
  readonly #state: ChatState;
  readonly #streams: ChatStreams;
  readonly #isTerminal: boolean;
  readonly #readline: Interface;
  readonly #screen: ChatScreen;
  readonly #client: DunlinClient;
  readonly #conversation: ChatConversation;
  /** Own lines that may still get a mark. */
  readonly #open = new Map<number, { line: ChatLine; mark: number }>();
  #connection: string | undefined = 'connecting';
  #presence: string | undefined;
  #typingUser: number | undefined;
  #typingTimer: ReturnType<typeof setTimeout> | undefined;
  #countdown: ReturnType<typeof setInterval> | undefined;
  #toldTypingAtMs = 0;
  #exitCode = 0;
  #finish: (() => void) | undefined;
  /** What was entered before the saved state was loaded. */
  #early: string[] | undefined = [];

  constructor(options: ChatOptions, state: ChatState, streams: ChatStreams) {
    this.#options = options;
    this.#state = state;
    this.#streams = streams;
    const output = streams.output as NodeJS.WriteStream;
    this.#isTerminal = output.isTTY === true && (streams.input as NodeJS.ReadStream).isTTY === true;
    this.#readline = createInterface({ ...streams, terminal: this.#isTerminal });
    this.#screen = this.#isTerminal ? new TerminalScreen(this.#readline, output) : new PlainScreen(output);
    this.#client = new DunlinClient({ url: options.url, token: options.token, storage: state, acknowledge: 'manual' });
    this.#conversation = state.conversation(options.conversation);
  }

  async run(): Promise<number> {
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    this.#showHistory();
    this.#listen();
    this.#readInput();
    void this.#connect();
    await finished;
    this.#finish = undefined;
    clearInterval(this.#countdown);
    clearTimeout(this.#typingTimer);
    await this.#client.close();
    this.#readline.close();
    return this.#exitCode;
  }

  async #connect(): Promise<void> {
    try {
      await this.#client.prepare();
      const early = this.#early ?? [];
      this.#early = undefined;
      const connected = this.#client.connect();
      for (const text of early) this.#entered(text);
      await connected;
    } catch (error) {
      this.#fail(textOf(error));
      return;
    }
    this.#started();
  }

  #fail(text: string): void {
    if (this.#finish === undefined) return;
    this.#screen.notice(text);
    this.#exitCode = 1;
    this.#finish?.();
  }

  #name(user: number): string {
    return this.#options.names.get(user) ?? `user ${user}`;
  }

  // --- what comes ---------------------------------------------------------------------------------------------------------

  #listen(): void {
    const client = this.#client;
    client.on('message', (message) => this.#message(message));
    client.on('sent', ({ tag, seq }) => {
      const open = this.#open.get(tag);
      if (open === undefined) return;
      open.line.seq = seq;
      this.#updateMarks();
    });
    client.on('rejected', ({ final, tag, text }) => {
      const open = this.#open.get(tag);
      if (!final || open === undefined) return;
      open.line.refused = true;
      this.#open.delete(tag);
      this.#screen.mark(tag, Mark.REFUSED, 0, `${open.line.text} (${text})`);
      if (this.#isTerminal) this.#screen.notice(`not sent: ${text}`);
    });
    client.on('receipt', (receipt) => this.#receipt(receipt));
    client.on('typing', ({ conversation, user, started }) => {
      if (this.#isThis(conversation) && user !== client.user) this.#typing(user, started);
    });
    client.on('presence', ({ user, online, lastSeenMs }) => {
      const seen = lastSeenMs > 0 ? `, last seen ${new Date(lastSeenMs).toLocaleString()}` : '';
      this.#presence = `${this.#name(user)} is ${online ? 'online' : `offline${seen}`}`;
      this.#showStatus();
    });
    client.on('block', ({ user, blocked }) => {
      this.#screen.notice(`${this.#name(user)} is ${blocked ? 'blocked' : 'no longer blocked'}`);
    });
    client.on('group', ({ user, change, users, conversation, seq }) => {
      if (!this.#isThis(conversation)) return;
      client.read(conversation, seq);
      const names = users.map((one) => this.#name(one)).join(', ');
      this.#screen.notice(`${this.#name(user)}: ${change}${names === '' ? '' : ` ${names}`}`);
    });
    client.on('gap', ({ conversation, from, through }) => {
      if (this.#isThis(conversation)) this.#screen.notice(`messages ${from} to ${through} are not available`);
    });
    client.on('problem', ({ text }) => this.#screen.notice(text));
    client.on('state', (change) => this.#connectionChanged(change));
  }

  #isThis({ a, b }: ConversationId): boolean {
    return a === this.#options.conversation.a && b === this.#options.conversation.b;
  }

  #message(message: ReceivedMessage): void {
    const { conversation, user, timeMs, seq } = message;
    const text = new TextDecoder().decode(message.payload);
    const line = this.#state.addReceived(conversation, user, text, timeMs, seq);
    if (this.#isThis(conversation)) {
      this.#show(line);
      if (user !== this.#client.user) this.#typing(user, false);
    } else {
      this.#screen.notice(`${this.#name(user)} wrote in another conversation`);
    }
    message.acknowledge();
  }

  #show(line: ChatLine): void {
    this.#screen.message(this.#shown(line));
    this.#conversation.shown = line.seq;
    this.#client.read(this.#options.conversation, line.seq);
  }

  #shown({ user, text, timeMs, seq }: ChatLine): ShownLine {
    return { name: this.#name(user), text, timeMs, seq };
  }

  #receipt({ conversation: id, user, delivered, read }: Receipt): void {
    if (user === this.#client.user) return;
    const conversation = this.#state.conversation(id);
    conversation.delivered = Math.max(conversation.delivered, delivered);
    conversation.read = Math.max(conversation.read, read);
    if (this.#isThis(id)) this.#updateMarks();
  }

  #markOf({ seq, refused }: ChatLine): number {
    if (refused) return Mark.REFUSED;
    if (seq === 0) return Mark.QUEUED;
    if (seq <= this.#conversation.read) return Mark.READ;
    return seq <= this.#conversation.delivered ? Mark.DELIVERED : Mark.SENT;
  }

  /** Every step is shown, also when several come at once. */
  #updateMarks(): void {
    for (const [tag, open] of this.#open) {
      const now = this.#markOf(open.line);
      while (open.mark < now) this.#screen.mark(tag, ++open.mark, open.line.seq, open.line.text);
      if (now >= Mark.READ) this.#open.delete(tag);
    }
  }

  #typing(user: number, started: boolean): void {
    clearTimeout(this.#typingTimer);
    this.#typingUser = started ? user : undefined;
    if (started) this.#typingTimer = setTimeout(() => this.#typing(user, false), TYPING_SHOWN_MS);
    this.#showStatus();
  }

  #connectionChanged({ state, reconnectInMs, reason, code }: ClientState): void {
    clearInterval(this.#countdown);
    if (state === 'closed') {
      this.#fail(reason === undefined || reason === '' ? `closed with code ${code}` : reason);
      return;
    }
    if (state === 'live') this.#connection = undefined;
    else if (state === 'connecting') this.#connection = 'connecting';
    else if (state === 'offline') this.#countDown(reconnectInMs ?? 0);
    // The server answered, and refused: `401: the token …`.
    if (state === 'offline' && reason !== undefined && /^\d{3}: /.test(reason)) this.#screen.notice(reason);
    this.#showStatus();
  }

  #countDown(inMs: number): void {
    const untilMs = performance.now() + inMs;
    const say = (): void => {
      const seconds = Math.max(0, Math.ceil((untilMs - performance.now()) / 1_000));
      this.#connection = `offline — reconnecting in ${seconds} s`;
    };
    say();
    if (!this.#isTerminal) return;
    this.#countdown = setInterval(() => {
      say();
      this.#showStatus();
    }, 1_000);
  }

  #showStatus(): void {
    const typing = this.#typingUser === undefined ? undefined : `${this.#name(this.#typingUser)} is typing`;
    this.#screen.status({ connection: this.#connection, presence: this.#presence, typing });
  }

  // --- what goes ----------------------------------------------------------------------------------------------------------

  #showHistory(): void {
    const { lines, shown } = this.#conversation;
    const known = lines.filter((line) => line.tag > 0 || line.seq <= shown);
    const marked = (line: ChatLine) => ({
      ...this.#shown(line),
      own: line.tag > 0 ? line.tag : undefined,
      mark: this.#markOf(line),
    });
    this.#screen.history(known.slice(-HISTORY_LINES).map(marked));
    for (const line of known) {
      const mark = this.#markOf(line);
      if (line.tag > 0 && mark < Mark.READ) this.#open.set(line.tag, { line, mark });
    }
    this.#showStatus();
  }

  /** The first connection stands. */
  #started(): void {
    const { conversation, user } = this.#options;
    for (const line of this.#conversation.lines) {
      if (line.tag === 0 && line.seq > this.#conversation.shown) this.#show(line);
    }
    if (conversation.a === 0) void this.#joinGroup();
    else this.#client.watch(conversation.a === user ? conversation.b : conversation.a);
  }

  /** Creates the group, unless it is there. */
  async #joinGroup(): Promise<void> {
    const { conversation, names, user } = this.#options;
    const refusal = await this.#askGroup();
    if (refusal === undefined) return;
    const others = [...names.keys()].filter((one) => one !== user);
    if (others.length === 0) {
      this.#fail(`${refusal.message} If there is no such group, name its members with --to to create it.`);
      return;
    }
    try {
      await this.#client.createGroup(others, conversation.b);
      this.#screen.notice(`created with ${others.map((one) => this.#name(one)).join(', ')}`);
    } catch (error) {
      // Somebody was faster; that is good if it was with this user.
      const isThere = error instanceof RejectedError && error.code === ErrorCodes.GROUP_EXISTS.code;
      const again = isThere ? await this.#askGroup() : error;
      if (again !== undefined) this.#fail(textOf(again));
    }
  }

  /** Why this user cannot look into the group; undefined: it is a member. */
  async #askGroup(): Promise<RejectedError | undefined> {
    try {
      await this.#client.info(this.#options.conversation);
      return undefined;
    } catch (error) {
      if (error instanceof RejectedError) return error;
      throw error;
    }
  }

  #readInput(): void {
    this.#readline.on('line', (text) => {
      this.#screen.entered(text);
      if (this.#early === undefined) this.#entered(text.trim());
      else this.#early.push(text.trim());
    });
    this.#readline.on('SIGINT', () => this.#finish?.());
    this.#readline.on('close', () => void this.#inputEnded());
    if (!this.#isTerminal) return;
    emitKeypressEvents(this.#streams.input, this.#readline);
    this.#streams.input.on('keypress', () => this.#tellTyping(this.#readline.line.length > 0));
  }

  #tellTyping(started: boolean): void {
    const nowMs = performance.now();
    const isDue = started ? nowMs - this.#toldTypingAtMs >= TYPING_INTERVAL_MS : this.#toldTypingAtMs > 0;
    if (!isDue || !this.#client.isLive || this.#readline.line.startsWith('/')) return;
    this.#toldTypingAtMs = started ? nowMs : 0;
    this.#client.typing(this.#options.conversation, started);
  }

  #entered(text: string): void {
    if (text === '') return;
    if (text.startsWith('/')) this.#command(text);
    else if (Buffer.byteLength(text) > PAYLOAD_BYTES_MAX) this.#screen.notice(`over ${PAYLOAD_BYTES_MAX} bytes`);
    else this.#send(text);
  }

  #send(text: string): void {
    const { conversation, user } = this.#options;
    const line = this.#state.addOwn(conversation, user, text, Date.now());
    this.#open.set(line.tag, { line, mark: Mark.QUEUED });
    this.#screen.own(line.tag, this.#shown(line));
    this.#tellTyping(false);
    // The outcome shows as a mark.
    this.#client.send(conversation, text, { tag: line.tag }).catch((error: unknown) => {
      if (error instanceof DunlinError) this.#screen.notice(error.message);
    });
  }

  #command(text: string): void {
    const [name, argument] = text.split(/\s+/);
    if (name === '/quit') this.#finish?.();
    else if (name === '/who') void this.#who();
    else if (name === '/block') this.#block(argument !== 'off');
    else this.#screen.notice(name === '/help' ? HELP : `${name} is not a command.\n${HELP}`);
  }

  #block(blocked: boolean): void {
    const { conversation, user } = this.#options;
    if (conversation.a === 0) this.#screen.notice('A group cannot be blocked.');
    else this.#client.block(conversation.a === user ? conversation.b : conversation.a, blocked);
  }

  async #who(): Promise<void> {
    let info: ConversationInfo;
    if (!this.#client.isLive) return this.#screen.notice('offline: nobody to ask');
    try {
      info = await this.#client.info(this.#options.conversation);
    } catch (error) {
      return this.#screen.notice(textOf(error));
    }
    for (const { user, role, delivered, read } of info.members) {
      const admin = role === Role.ADMIN ? ', admin' : '';
      const name = `${this.#name(user)} (${user}${admin})`;
      this.#screen.notice(`${name}: delivered ${delivered}, read ${read} of ${info.head}`);
    }
    if (this.#presence !== undefined) this.#screen.notice(this.#presence);
  }

  /** What was piped in still goes out, if it can soon. */
  async #inputEnded(): Promise<void> {
    if (this.#finish === undefined) return;
    const isLeft = (): boolean => this.#client.outboxSize > 0 || (this.#early ?? []).length > 0;
    if (isLeft() && !this.#isTerminal) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LAST_SENDS_MS);
        const look = (): void => {
          if (isLeft()) return;
          clearTimeout(timer);
          resolve();
        };
        this.#client.on('sent', look).on('rejected', look);
      });
    }
    this.#finish?.();
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

interface ChatFlags {
  readonly as: string;
  readonly to?: string[];
  readonly group?: string;
  readonly device: number;
  readonly url: string;
  readonly data: string;
  readonly token?: string;
}

export function chatCommand(): Command {
  return new Command('chat')
    .description('Talk in a terminal, with ticks, typing and last seen. Text is not encrypted in this demonstration.')
    .requiredOption('--as <name or id>', 'who you are')
    .option('--to <name or id...>', 'whom you talk to; with --group, the members if the group is to be created')
    .option('--group <id>', 'talk in this group')
    .option('--device <number>', 'your device number', wholeNumber(1, DEVICE_NUMBER_MAX), 1)
    .option('--url <url>', 'where the backbone listens', DEFAULT_URL)
    .option('--data <directory>', 'where the development key and the state of chats are', defaultDataDirectory())
    .option('--token <jwt>', 'a token of your own, in place of a development token')
    .addHelpText(
      'after',
      `
Examples:
  dunlin chat --as ada --to bo
  dunlin chat --as ada --device 2 --to bo
  dunlin chat --as ada --group 7 --to bo cy`,
    )
    .action(async (flags: ChatFlags) => {
      const options = await optionsOf(flags);
      process.exitCode = await runChat(options, { input: process.stdin, output: process.stdout });
    });
}

async function optionsOf(flags: ChatFlags): Promise<ChatOptions> {
  const { createDevelopmentIssuer, userIdOfName } = await import('../gateway/tokens.js');
  const { device, url, data, token } = flags;
  const user = token === undefined ? userIdOfName(flags.as) : userOfDevice(deviceOfToken(token));
  const names = new Map([[user, flags.as]]);
  const others = (flags.to ?? []).map((name) => ({ name, user: userIdOfName(name) }));
  for (const other of others) names.set(other.user, other.name);
  const statePath = join(data, 'chat', `${user}-${device}.json`);
  const conversation = conversationOf(flags, user, others);
  if (token !== undefined) return { url, token, user, conversation, names, statePath };
  const issuer = await createDevelopmentIssuer(data);
  const sign = async (): Promise<string> => await issuer.sign({ user, device, ttlMs: 24 * 3_600_000 });
  return { url, token: sign, user, conversation, names, statePath };
}

function conversationOf(flags: ChatFlags, user: number, others: readonly { user: number }[]): ConversationId {
  if (flags.group !== undefined) {
    const id = Number(flags.group);
    if (!isGroupId(id)) throw new DunlinError(`--group ${flags.group} is not a group id: 1 to 2^52 − 1.`);
    return groupConversation(id);
  }
  const other = others[0];
  if (other === undefined || others.length > 1)
    throw new DunlinError('Name one user with --to, or a group with --group.');
  if (other.user === user) throw new DunlinError('--as and --to are the same user.');
  return directConversation(user, other.user);
}

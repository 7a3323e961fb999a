/**
 * What a conversation partition does, said as simply as it can be: plain objects, every minimum computed anew, every outcome
 * remembered. The stage is compared with it frame by frame.
 */
import { readDeviceTable } from '../../core/device-table.js';
import { type ErrorCode, ErrorCodes } from '../../core/errors.js';
import { Flag, type Frame, isSequenced, Kind, makeFrame } from '../../core/frame.js';
import { isConversation, isUserId, numberOfDevice, userOfDevice } from '../../core/ids.js';
import {
  GROUP_MEMBERS_MAX,
  MESSAGE_TTL_S_MAX,
  PAYLOAD_BYTES_MAX,
  SEQUENCE_MAX,
  TABLE_PAYLOAD_BYTES_MAX,
  TYPING_INTERVAL_MS,
  TYPING_MEMBERS_MAX,
} from '../../core/limits.js';
import { encodeMemberRows, readMembers } from '../../core/members.js';

export interface Sent {
  readonly frame: Frame;
  readonly recipients: readonly number[];
}

interface Member {
  readonly user: number;
  readonly joined: number;
  isAdmin: boolean;
  delivered: number;
  read: number;
  lastSent: number;
  isTyping: boolean;
  typingAtMs: number;
}

interface Outcome {
  readonly seq: number;
  readonly error: ErrorCode | undefined;
}

interface Device {
  counter: number;
  last: Outcome;
}

export interface Conversation {
  head: number;
  isCreated: boolean;
  /** In the order in which they joined. */
  members: Member[];
  readonly devices: Map<number, Device>;
}

export function aggregate(conversation: Conversation): { delivered: number; read: number } {
  const { members } = conversation;
  if (members.length === 0) return { delivered: 0, read: 0 };
  return {
    delivered: Math.min(...members.map(({ delivered }) => delivered)),
    read: Math.min(...members.map(({ read }) => read)),
  };
}

function newMember(user: number, joined: number, isAdmin: boolean): Member {
  return {
    user,
    joined,
    isAdmin,
    delivered: joined - 1,
    read: joined - 1,
    lastSent: 0,
    isTyping: false,
    typingAtMs: 0,
  };
}

function newConversation(a: number, b: number): Conversation {
  const members = a === 0 ? [] : [newMember(a, 1, false), newMember(b, 1, false)];
  return { head: 0, isCreated: a !== 0, members, devices: new Map() };
}

export class Model {
  readonly conversations = new Map<string, Conversation>();
  #frame: Frame = makeFrame({ kind: 0 });
  #user = 0;
  #timeMs = 0;
  #sent: Sent[] = [];

  find(a: number, b: number): Conversation | undefined {
    return this.conversations.get(`${a} ${b}`);
  }

  /** What handling a frame sends, and to whom. */
  handle(frame: Frame, timeMs: number): Sent[] {
    this.#frame = frame;
    this.#user = userOfDevice(frame.device);
    this.#timeMs = timeMs;
    this.#sent = [];
    if (!isUserId(this.#user)) return [];
    if (isSequenced(frame.kind)) this.#sequence();
    else if (frame.kind === Kind.READ) this.#read();
    else if (frame.kind === Kind.DELIVERED) this.#delivered();
    else if (frame.kind === Kind.TYPING) this.#typing();
    else if (frame.kind === Kind.INFO) this.#info();
    return this.#sent;
  }

  #send(fields: Partial<Frame> & { kind: number }, recipients: readonly number[]): void {
    const { convA, convB } = this.#frame;
    if (recipients.length === 0) return;
    this.#sent.push({ frame: makeFrame({ convA, convB, time: this.#timeMs, ...fields }), recipients });
  }

  #reject(error: ErrorCode, seq = 0): void {
    const { device, kind } = this.#frame;
    const counter = isSequenced(kind) ? this.#frame.counter : 0;
    const payload = new TextEncoder().encode(error.sentence);
    this.#send({ kind: Kind.REJECT, device, counter, seq, extra: error.code, payload }, [this.#user]);
  }

  get #isParty(): boolean {
    return this.#user === this.#frame.convA || this.#user === this.#frame.convB;
  }

  // --- sequenced ------------------------------------------------------------------------------------------------------------

  #sequence(): void {
    const { convA, convB, device, counter } = this.#frame;
    if (numberOfDevice(device) === 0) return;
    if (!isConversation(convA, convB)) return this.#reject(ErrorCodes.BAD_CONVERSATION);
    if (counter === 0) return this.#reject(ErrorCodes.BAD_VALUE);
    if (convA !== 0 && !this.#isParty) return this.#reject(ErrorCodes.NOT_MEMBER);
    const known = this.find(convA, convB);
    const before = known?.devices.get(device);
    const last = before?.counter ?? 0;
    if (counter > last + 1) return this.#reject(ErrorCodes.COUNTER_GAP, last + 1);
    if (before !== undefined && counter <= last) return this.#again(counter === last ? before.last : undefined);
    const conversation = known ?? newConversation(convA, convB);
    this.conversations.set(`${convA} ${convB}`, conversation);
    const outcome = this.#accept(conversation);
    conversation.devices.set(device, { counter, last: outcome });
    if (outcome.error !== undefined) this.#reject(outcome.error);
  }

  #again(outcome: Outcome | undefined): void {
    if (outcome?.error !== undefined) return this.#reject(outcome.error);
    const { device, counter } = this.#frame;
    this.#send({ kind: Kind.SENT, flags: Flag.DUPLICATE, device, counter, seq: outcome?.seq ?? 0 }, [this.#user]);
  }

  #accept(conversation: Conversation): Outcome {
    const seq = conversation.head + 1;
    if (seq > SEQUENCE_MAX) return { seq: 0, error: ErrorCodes.SEQUENCE_END };
    const membersBefore = conversation.members.map(({ user }) => user);
    const aggregateBefore = aggregate(conversation);
    const error =
      this.#frame.kind === Kind.MESSAGE ? this.#checkMessage(conversation) : this.#change(conversation, seq);
    if (error !== undefined) return { seq: 0, error };
    conversation.head = seq;
    const isTable = this.#frame.kind === Kind.MESSAGE && (this.#frame.flags & Flag.DEVICE_TABLE) !== 0;
    const concerned = new Set([...membersBefore, ...conversation.members.map(({ user }) => user)]);
    this.#send({ ...this.#frame, flags: isTable ? Flag.DEVICE_TABLE : 0, seq, inbox: 0, time: this.#timeMs }, [
      ...concerned,
    ]);
    const sender = conversation.members.find(({ user }) => user === this.#user);
    if (sender !== undefined) {
      sender.lastSent = seq;
      if (sender.delivered === seq - 1) sender.delivered = seq;
      if (sender.read === seq - 1) sender.read = seq;
    }
    if (this.#frame.convA === 0) this.#tellSenders(conversation, aggregateBefore);
    return { seq, error: undefined };
  }

  #checkMessage(conversation: Conversation): ErrorCode | undefined {
    const { flags, extra, payload } = this.#frame;
    const isTable = (flags & Flag.DEVICE_TABLE) !== 0;
    if (!conversation.isCreated) return ErrorCodes.NO_GROUP;
    if (!conversation.members.some(({ user }) => user === this.#user)) return ErrorCodes.NOT_MEMBER;
    if (extra > MESSAGE_TTL_S_MAX) return ErrorCodes.BAD_VALUE;
    if (payload.length > (isTable ? TABLE_PAYLOAD_BYTES_MAX : PAYLOAD_BYTES_MAX)) return ErrorCodes.TOO_LARGE;
    return isTable && readDeviceTable(payload) === undefined ? ErrorCodes.BAD_TABLE : undefined;
  }

  /** Changes a group, or says why not and leaves it as it is. */
  #change(group: Conversation, seq: number): ErrorCode | undefined {
    const { kind, convA, payload, extra } = this.#frame;
    if (convA !== 0) return ErrorCodes.BAD_CONVERSATION;
    if (kind === Kind.GROUP_CREATE && group.isCreated) return ErrorCodes.GROUP_EXISTS;
    if (kind !== Kind.GROUP_CREATE && !group.isCreated) return ErrorCodes.NO_GROUP;
    const sender = group.members.find(({ user }) => user === this.#user);
    if (kind !== Kind.GROUP_CREATE && sender === undefined) return ErrorCodes.NOT_MEMBER;
    if (kind === Kind.GROUP_LEAVE) {
      if (payload.length > 0) return ErrorCodes.BAD_VALUE;
      group.members = group.members.filter((member) => member !== sender);
      Model.#ensureAdmin(group);
      return undefined;
    }
    if (kind !== Kind.GROUP_CREATE && !sender!.isAdmin) return ErrorCodes.NOT_ADMIN;
    const isJoin = kind === Kind.GROUP_CREATE || kind === Kind.GROUP_ADD;
    const users = readMembers(payload, 0, payload.length, isJoin ? PAYLOAD_BYTES_MAX : GROUP_MEMBERS_MAX);
    if (users === undefined) return ErrorCodes.BAD_MEMBERS;
    const present = group.members.filter(({ user }) => users.includes(user));
    if (kind === Kind.GROUP_REMOVE) {
      if (present.length === 0) return ErrorCodes.NO_CHANGE;
      group.members = group.members.filter((member) => !present.includes(member));
      Model.#ensureAdmin(group);
      return undefined;
    }
    if (kind === Kind.GROUP_ROLE) {
      if (extra > 1) return ErrorCodes.BAD_VALUE;
      const others = present.filter(({ isAdmin }) => isAdmin !== (extra === 1));
      if (others.length === 0) return ErrorCodes.NO_CHANGE;
      for (const member of others) member.isAdmin = extra === 1;
      Model.#ensureAdmin(group);
      return undefined;
    }
    return this.#join(group, seq, users);
  }

  #join(group: Conversation, seq: number, users: readonly number[]): ErrorCode | undefined {
    const creator = group.isCreated ? [] : [newMember(this.#user, seq, true)];
    const there = [...group.members, ...creator];
    const fresh = users.filter((user) => !there.some((member) => member.user === user));
    if (fresh.length === 0 && group.isCreated) return ErrorCodes.NO_CHANGE;
    if (there.length + fresh.length > GROUP_MEMBERS_MAX) return ErrorCodes.GROUP_FULL;
    group.isCreated = true;
    group.members = [...there, ...fresh.map((user) => newMember(user, seq, false))];
    return undefined;
  }

  static #ensureAdmin(group: Conversation): void {
    const first = group.members[0];
    if (first !== undefined && !group.members.some(({ isAdmin }) => isAdmin)) first.isAdmin = true;
  }

  // --- receipts ---------------------------------------------------------------------------------------------------------------

  #tellSenders(group: Conversation, before: { delivered: number; read: number }): void {
    const { delivered, read } = aggregate(group);
    const recipients = group.members.filter(
      ({ lastSent }) =>
        (delivered > before.delivered && lastSent > before.delivered) || (read > before.read && lastSent > before.read),
    );
    this.#send(
      { kind: Kind.RECEIPT, seq: delivered, extra: read },
      recipients.map(({ user }) => user),
    );
  }

  #noAccess(conversation: Conversation | undefined): ErrorCode {
    const isMissing = this.#frame.convA === 0 && conversation?.isCreated !== true;
    return isMissing ? ErrorCodes.NO_GROUP : ErrorCodes.NOT_MEMBER;
  }

  #advance(conversation: Conversation, member: Member, delivered: number, read: number): void {
    const before = aggregate(conversation);
    member.delivered = Math.max(member.delivered, delivered);
    member.read = Math.max(member.read, read);
    if (this.#frame.convA === 0) return this.#tellSenders(conversation, before);
    const other = conversation.members.find((each) => each !== member)!;
    this.#sendOwn(member, other.user);
  }

  #sendOwn(member: Member, to: number): void {
    const { user, delivered, read } = member;
    this.#send({ kind: Kind.RECEIPT, device: user * 128, seq: delivered, extra: read }, [to]);
  }

  #read(): void {
    const { convA, convB, seq } = this.#frame;
    if (!isConversation(convA, convB)) return this.#reject(ErrorCodes.BAD_CONVERSATION);
    const known = this.find(convA, convB);
    const conversation = known ?? (convA !== 0 ? newConversation(convA, convB) : undefined);
    const member = conversation?.members.find(({ user }) => user === this.#user);
    if (conversation === undefined || member === undefined) return this.#reject(this.#noAccess(known));
    if (seq > conversation.head) return this.#reject(ErrorCodes.BEYOND_HEAD, conversation.head);
    if (seq <= member.read) return;
    this.#advance(conversation, member, seq, seq);
    this.#sendOwn(member, member.user);
  }

  #delivered(): void {
    const conversation = this.find(this.#frame.convA, this.#frame.convB);
    const member = conversation?.members.find(({ user }) => user === this.#user);
    if (conversation === undefined || member === undefined) return;
    const seq = Math.min(this.#frame.seq, conversation.head);
    if (seq > member.delivered) this.#advance(conversation, member, seq, member.read);
  }

  // --- not sequenced ------------------------------------------------------------------------------------------------------------

  #typing(): void {
    const conversation = this.find(this.#frame.convA, this.#frame.convB);
    const member = conversation?.members.find(({ user }) => user === this.#user);
    if (conversation === undefined || member === undefined) return;
    if (conversation.members.length > TYPING_MEMBERS_MAX) return;
    const isTyping = this.#frame.extra !== 0;
    const isNews = isTyping !== member.isTyping || (isTyping && this.#timeMs - member.typingAtMs >= TYPING_INTERVAL_MS);
    if (!isNews) return;
    member.isTyping = isTyping;
    member.typingAtMs = this.#timeMs;
    this.#send(
      { kind: Kind.TYPING, device: this.#frame.device, extra: isTyping ? 1 : 0 },
      conversation.members.filter((each) => each !== member).map(({ user }) => user),
    );
  }

  #info(): void {
    const { convA, convB, device } = this.#frame;
    if (!isConversation(convA, convB)) return this.#reject(ErrorCodes.BAD_CONVERSATION);
    const known = this.find(convA, convB);
    const conversation = known ?? newConversation(convA, convB);
    if (!conversation.members.some(({ user }) => user === this.#user)) return this.#reject(this.#noAccess(known));
    const payload = encodeMemberRows(
      conversation.members.map(({ user, isAdmin, joined, delivered, read }) => {
        return { user, role: isAdmin ? 1 : 0, joinedSeq: joined, delivered, read };
      }),
    );
    const counter = conversation.devices.get(device)?.counter ?? 0;
    this.#send({ kind: Kind.INFO, device, counter, seq: conversation.head, payload }, [this.#user]);
  }
}

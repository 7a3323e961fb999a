/**
 * Planted bugs: each a change of one place in a copy of the compiled program, so that none can ever be on in production. The
 * simulator must catch each within SEEDS_MAX seeds, by a guarantee that fits. `from` must stand in the file exactly once.
 */

export interface Mutant {
  readonly name: string;
  /** Compiled file. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Where to begin; default 1. */
  readonly firstSeed?: number;
  /** Guarantees that may catch it. `protocol`: the client sees a hole; `crash`: something throws. */
  readonly guarantees: readonly string[];
}

export const SEEDS_MAX = 200;
/** Parts of the compiled program that a world needs. */
export const PARTS = ['core', 'pipelines', 'gateway', 'client', 'engines', 'sim'];

const ORDER = ['G1', 'G2', 'G3', 'G4', 'G5', 'G6', 'G8', 'protocol'];

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'a new device is welcomed before the disk has it',
    file: 'pipelines/user/sessions.js',
    from: 'if (!isUnsynced(state, device))',
    to: 'if (true)',
    firstSeed: 150,
    guarantees: [...ORDER, 'G10', 'G15'],
  },
  {
    name: 'a repeated counter is sequenced again',
    file: 'pipelines/conversation/sequence.js',
    from: 'if (context.counter <= last)',
    to: 'if (false)',
    guarantees: ORDER,
  },
  {
    name: 'a rejection does not use its counter up',
    file: 'pipelines/conversation/sequence.js',
    from: '    rows.u32[deviceAt + Dev.COUNTER] = context.counter;\n    rows.touch(conversation);\n    const error = accept(context, conversation, deviceAt, recipients);',
    to: '    const error = accept(context, conversation, deviceAt, recipients);\n    if (error === undefined) rows.u32[deviceAt + Dev.COUNTER] = context.counter;\n    rows.touch(conversation);',
    guarantees: [...ORDER, 'G15'],
  },
  {
    name: 'the head is one too low',
    file: 'pipelines/conversation/sequence.js',
    from: 'rows.u32[at + Conv.HEAD] = seq;',
    to: 'rows.u32[at + Conv.HEAD] = seq > 3 && seq % 7 === 0 ? seq - 1 : seq;',
    guarantees: [...ORDER, 'G13'],
  },
  {
    name: 'a group change counts no aggregate anew, so it forgets a leaver',
    file: 'pipelines/conversation/receipts.js',
    from: 'if (context.kind !== Kind.MESSAGE) {',
    to: 'if (false) {',
    guarantees: ['G7', 'G13', 'crash'],
  },
  {
    name: 'a receipt does not reach the other of two',
    file: 'pipelines/conversation/receipts.js',
    from: '        tellOther(context, conversationAt, member);\n        return;',
    to: '        return;',
    guarantees: ['G7'],
  },
  {
    name: 'what a conversation lane says again is taken again',
    file: 'pipelines/user/fan-out.js',
    from: 'if (sourceSeq < seen || (sourceSeq === seen && index <= state.seenIndex[source])) {',
    to: 'if (false) {',
    guarantees: [...ORDER, 'G7'],
    firstSeed: 1_201,
  },
  {
    name: 'dedupe of fan-out is forgotten at a restart',
    file: 'pipelines/user/import.js',
    from: 'state.seenSeq[source] = seq;',
    to: '',
    guarantees: [...ORDER, 'G7', 'G13'],
  },
  {
    name: 'the slowest device is forgotten when entries are freed',
    file: 'pipelines/user/acks.js',
    from: 'lowest = Math.min(lowest, getPair(u32, device + DeviceAt.CURSOR));',
    to: 'lowest = lowest === Infinity ? getPair(u32, device + DeviceAt.CURSOR) : Math.max(lowest, getPair(u32, device + DeviceAt.CURSOR));',
    guarantees: ORDER,
  },
  {
    name: 'the cursor moves to the head before anything is delivered',
    file: 'pipelines/user/sessions.js',
    from: 'isKnown ? Math.max(claimed, cursor) : cursor);',
    to: 'getPair(u32, user + UserAt.LAST));',
    guarantees: ORDER,
  },
  {
    name: 'catch-up skips at the live edge',
    file: 'pipelines/user/catch-up.js',
    from: '        if (position <= piece.scanned)\n            continue;\n        const blob',
    to: '        if (position <= piece.scanned || (u32[entry + EntryAt.NEXT] === 0 && piece.entries > 0))\n            continue;\n        const blob',
    guarantees: ORDER,
  },
  {
    name: 'a block has no effect',
    file: 'pipelines/user/deliver.js',
    from: 'if (!state.isBlocked(user, frameUser(view, at)))',
    to: 'if (true)',
    guarantees: ['G10'],
  },
  {
    name: 'a new owner begins no new generation of positions',
    file: 'pipelines/user/stage.js',
    from: 'state.generation = Math.max(state.generation, generation);',
    to: '',
    firstSeed: 551,
    guarantees: ORDER,
  },
  {
    name: 'conversation lanes speak before user lanes have begun a generation',
    file: 'pipelines/lane.js',
    from: 'return this.#state !== LaneState.RECOVERING && this.#durable[this.#topic] >= this.#announcements;',
    to: 'return true;',
    firstSeed: 1_401,
    guarantees: ORDER,
  },
  {
    name: 'a commit does not wait until its outputs are durable',
    file: 'pipelines/partition.js',
    from: ' || commit.outputs.some((count, topic) => durable[topic] < count)',
    to: '',
    guarantees: [...ORDER, 'G7'],
  },
  {
    name: 'a commit does not wait until its source is durable',
    file: 'pipelines/partition.js',
    from: 'sourceEnd < commit.meta.offset || ',
    to: '',
    guarantees: [...ORDER, 'G13', 'G15', 'G16', 'crash'],
  },
  {
    name: 'the offset is committed without the state',
    file: 'pipelines/partition.js',
    from: '                chunks.push(chunk.slice());\n                bytes',
    to: '                if (chunks.length > 0) chunks.push(chunk.slice());\n                bytes',
    guarantees: [...ORDER, 'G7', 'G13', 'G15', 'crash'],
  },
  {
    name: 'the fence is missing',
    file: 'pipelines/checkpoint.js',
    from: 'expect: [...fenced(owner), unchanged],',
    to: 'expect: [],',
    guarantees: ['G14', 'G13', ...ORDER],
  },
  {
    name: 'a take-over does not raise the epoch',
    file: 'pipelines/checkpoint.js',
    from: 'value: encodeEpoch(decodeEpoch(before) + 1)',
    to: 'value: encodeEpoch(Math.max(1, decodeEpoch(before)))',
    guarantees: ['G14', 'G13', 'G15', ...ORDER],
  },
  {
    name: 'an output that the log did not take is passed over',
    file: 'pipelines/lane.js',
    from: 'if (outcome !== AppendOutcome.DURABLE) {',
    to: 'if (false) {',
    guarantees: [...ORDER, 'G7', 'G15'],
  },
  {
    name: 'what is not emitted yet is forgotten when the ring is full',
    file: 'pipelines/lane.js',
    from: '            this.counters.stalledTurns++;\n            return false;\n        }\n        this.#emitting = undefined;',
    to: '            this.counters.stalledTurns++;\n        }\n        this.#emitting = undefined;',
    guarantees: [...ORDER, 'G7', 'G15', 'crash'],
  },
  {
    name: 'the client takes a message twice',
    file: 'client/core.js',
    from: '            this.#inbox.deliver(frame.inbox, false, nowMs);\n            return false;',
    to: '            return true;',
    guarantees: ORDER,
  },
  {
    name: 'the client does not send again after a reconnect',
    file: 'client/conversation.js',
    from: 'this.nextCounter = this.firstCounter;\n        this.window = 1;',
    to: 'this.window = 1;',
    guarantees: [...ORDER, 'G15'],
  },
  {
    name: 'the gateway keeps silent about a send that the log refused',
    file: 'gateway/gateway.js',
    from: 'const session = this.hub.device(readU53(view, at + At.DEVICE));',
    to: 'return;\n        const session = this.hub.device(readU53(view, at + At.DEVICE));',
    firstSeed: 201,
    guarantees: ['G15', ...ORDER],
  },
  {
    name: 'a removed member keeps getting messages',
    file: 'pipelines/conversation/groups.js',
    from: 'recipients.addMembers(context, context.rows.conversations.at(conversation));\n    leave(context, conversation, members);',
    to: 'recipients.addMembers(context, context.rows.conversations.at(conversation));',
    guarantees: ['G9', 'G13', 'crash', 'G7'],
  },
  {
    name: 'the log believes a batch whatever its checksum says',
    file: 'engines/log-disk/recover.js',
    from: 'if (crc !== nativeCrc32c(bytes, at + BatchAt.LENGTH, at + length))',
    to: 'if (false)',
    guarantees: [...ORDER, 'G7', 'G13', 'crash'],
  },
  {
    name: 'a segment ends without a sync',
    file: 'engines/log-disk/journal.js',
    from: '        files.syncNow(this.#fd);\n        this.#synced = this.#written;\n        this.#publishSynced',
    to: '        this.#synced = this.#written;\n        this.#publishSynced',
    guarantees: [...ORDER, 'G7', 'G13', 'G15', 'crash'],
  },
  {
    name: 'the throttle of presence drops the last state',
    file: 'pipelines/user/updates.js',
    from: '    state.setAlarm(user, flushAtMs(state, user));',
    to: '',
    guarantees: ['G12', 'G13'],
  },
  {
    name: 'presence is not throttled',
    file: 'pipelines/user/updates.js',
    from: 'u32[user + UserAt.WINDOW_UPDATES] >= limits.presenceUpdatesPerWindow ||',
    to: '',
    guarantees: ['G12'],
  },
  {
    name: 'a watcher is not told that somebody left when a gateway died',
    file: 'pipelines/user/sessions.js',
    from: 'reached(Mark.SESSIONS_LOST_WITH_THEIR_GATEWAY);\n            lose(state, user, device);',
    to: 'detach(state, device, Mode.OFFLINE);',
    guarantees: ['G12'],
  },
  {
    name: 'an expired message is delivered',
    file: 'pipelines/user/deliver.js',
    from: 'if (deadlineMs !== 0 && deadlineMs <= state.nowMs) {',
    to: 'if (false) {',
    guarantees: ['G11'],
  },
  {
    name: 'expiry goes by the wall clock',
    file: 'pipelines/user/deliver.js',
    from: 'if (deadlineMs !== 0 && deadlineMs <= state.nowMs) {',
    to: 'if (deadlineMs !== 0 && deadlineMs <= Date.now()) {',
    guarantees: ['G11'],
  },
  {
    name: 'a message lives for as many milliseconds as it has seconds',
    file: 'pipelines/user/fan-out.js',
    from: 'Math.min(seconds * 1_000, queueTtlMs)',
    to: 'Math.min(seconds, queueTtlMs)',
    guarantees: ['G11'],
  },
  {
    name: 'a refusal expires',
    file: 'pipelines/user/fan-out.js',
    from: 'kind === Kind.RECEIPT ? deadlineOf(state, view, at) : 0',
    to: 'kind === Kind.GAP ? 0 : deadlineOf(state, view, at)',
    guarantees: ['G4', 'G5'],
  },
  {
    name: 'the client saves its state after it has acted',
    file: 'client/write-ahead.js',
    from: 'if (this.isSaved || (outputs.length === 0 && !this.#isDue))',
    to: 'if (this.isSaved || outputs.length > 0 || !this.#isDue)',
    guarantees: [...ORDER, 'G7'],
  },
  {
    name: 'a restarted client does not know what it had sent',
    file: 'client/saved-state.js',
    from: 'transmissions: wasSent ? 1 : 0',
    to: 'transmissions: 0',
    guarantees: [...ORDER, 'G15'],
  },
  {
    name: 'the answer to a repeated send overtakes its outcome',
    file: 'pipelines/user/fan-out.js',
    from: 'if (!isLive && batch.bytes[at + At.KIND] !== Kind.REJECT)',
    to: 'if (false)',
    firstSeed: 301,
    guarantees: ORDER,
  },
  {
    name: 'a log that says it lost something is read on',
    file: 'pipelines/lane.js',
    from: 'if (loss === undefined || loss.count === 0)',
    to: 'if (true)',
    guarantees: ['G16', 'G13', 'G15', ...ORDER],
  },
  {
    name: 'what was committed is not compared with what the log has in its place',
    file: 'pipelines/lane.js',
    from: 'if (!partition.verify(batch))',
    to: 'partition.verify(batch);\n            if (false)',
    guarantees: ['G16', 'G13', 'G15', ...ORDER],
    firstSeed: 301,
  },
  {
    name: 'a loss is told, and not written down',
    file: 'pipelines/loss.js',
    from: '{ key: lossKey(stage, partition), value: encodeLoss(loss) },',
    to: '',
    guarantees: ['G16', 'G15'],
  },
  {
    name: 'the epoch stays when something was lost',
    file: 'pipelines/loss.js',
    from: 'encodeEpoch(epoch + 1)',
    to: 'encodeEpoch(epoch)',
    guarantees: ['G16'],
  },
  {
    name: 'a broker acknowledges before the others have it',
    file: 'sim/broker.js',
    from: 'end = Math.min(end, lead.ends[broker] ?? 0);',
    to: 'continue;',
    guarantees: ['G16', ...ORDER],
  },
  {
    name: 'what a stale leader took stays when it comes back',
    file: 'sim/broker.js',
    from: 'offset > replica.end || replica.epochBefore(offset) !== request.epoch',
    to: 'offset > replica.end',
    guarantees: ['G16', 'G15', ...ORDER],
  },
  {
    name: 'a broker that lost its power stays in sync',
    file: 'sim/broker-controller.js',
    from: 'if (life !== this.#lives[broker]) {',
    to: 'this.#lives[broker] = life;\n        if (false) {',
    guarantees: ['G16', ...ORDER],
  },
];

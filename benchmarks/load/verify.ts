/**
 * Feeds what this process's devices see to the checkers of core/checks, in the numbers of the run's population, and tells
 * of every violation as it is found. What only all processes together can see (loss, agreement, final receipts) is judged
 * by the coordinator from their summaries.
 */
import { Checker } from '../../core/checks/checker.js';
import { contentOf, PairAt } from '../../core/checks/ledger.js';
import type { Fault, Guarantee, Violation } from '../../core/checks/violation.js';
import type { HistoryFile } from './history-file.js';
import type { Population } from './population.js';

export { contentOf };

/** A change of members: user indices that joined, or left, with a sequence. */
export interface MemberChange {
  readonly conversation: number;
  readonly seq: number;
  readonly joined: boolean;
  readonly users: readonly number[];
}

export class Verifier {
  readonly checker = new Checker({ gapsAllowed: false });
  readonly #population: Population;
  readonly #report: (violation: Violation) => void;
  /** The checker's numbers, by index of the population; −1: not asked for yet. */
  readonly #devices: Int32Array;
  readonly #conversations: Int32Array;
  /** Where all that is fed here is written down, too. */
  readonly #history: HistoryFile | undefined;
  #told = 0;

  constructor(population: Population, report: (violation: Violation) => void, history?: HistoryFile) {
    this.#population = population;
    this.#history = history;
    this.#report = report;
    this.#devices = new Int32Array(population.devices).fill(-1);
    this.#conversations = new Int32Array(population.conversations).fill(-1);
  }

  /** Devices of this process. */
  host(device: number): void {
    const key = this.#population.deviceKeyOf(device);
    this.#devices[device] = this.checker.host(key);
    this.#history?.add({ op: 'host', device: key });
  }

  /** All groups' first members see them from their first sequence on. */
  founded(): void {
    const population = this.#population;
    for (let group = 0; group < population.groupCount; group++) {
      for (const user of population.membersOf(group)) {
        this.#member(population.convB(group), population.userId(user), 1, true);
      }
    }
  }

  #member(convB: number, user: number, seq: number, joined: boolean): void {
    if (joined) this.checker.joined(0, convB, user, seq);
    else this.checker.left(0, convB, user, seq);
    this.#history?.add({ op: joined ? 'join' : 'leave', a: 0, b: convB, user, seq });
  }

  /** Whose event it is, and where, as a history has it. */
  #at(device: number, conversation: number): { readonly device: number; readonly a: number; readonly b: number } {
    const population = this.#population;
    return {
      device: population.deviceKeyOf(device),
      a: population.convA(conversation),
      b: population.convB(conversation),
    };
  }

  #pair(device: number, conversation: number): number {
    const { ledger } = this.checker;
    let deviceNumber = this.#devices[device]!;
    if (deviceNumber < 0) {
      deviceNumber = ledger.device(this.#population.deviceKeyOf(device));
      this.#devices[device] = deviceNumber;
    }
    let number = this.#conversations[conversation]!;
    if (number < 0) {
      number = ledger.conversation(this.#population.convA(conversation), this.#population.convB(conversation));
      this.#conversations[conversation] = number;
    }
    return ledger.pair(deviceNumber, number);
  }

  /** Tells of what the last call found. */
  #tell(): void {
    const { violations } = this.checker;
    if (violations.total === this.#told) return;
    // Beyond those that are kept in full there is nothing to show.
    for (let i = this.#told; i < violations.kept.length; i++) this.#report(violations.kept[i]!);
    this.#told = violations.total;
  }

  sending(device: number, conversation: number, counter: number, content: number): void {
    this.checker.sending(this.#pair(device, conversation), counter, content);
    this.#history?.add({ op: 'send', ...this.#at(device, conversation), counter, content });
    this.#tell();
  }

  /** An outcome. An answer to a repetition may tell a sequence out of the device's order. */
  sent(device: number, conversation: number, counter: number, seq: number): void {
    const pair = this.#pair(device, conversation);
    const { ledger } = this.checker;
    const last = ledger.memory.u32[ledger.pairs.at(pair) + PairAt.LAST]!;
    const isRepeated = seq === 0 || seq <= last;
    if (isRepeated) this.checker.answered(pair, counter, seq);
    else this.checker.sent(pair, counter, seq);
    this.#history?.add({ op: isRepeated ? 'duplicate' : 'ok', ...this.#at(device, conversation), counter, seq });
    this.#tell();
  }

  rejected(device: number, conversation: number, counter: number): void {
    this.checker.rejected(this.#pair(device, conversation), counter);
    this.#history?.add({ op: 'fail', ...this.#at(device, conversation), counter });
    this.#tell();
  }

  delivered(device: number, conversation: number, seq: number, sender: number, counter: number, content: number): void {
    this.checker.delivered(this.#pair(device, conversation), seq, this.#pair(sender, conversation), counter, content);
    if (this.#history !== undefined) {
      const key = this.#population.deviceKeyOf(sender);
      const where = this.#at(device, conversation);
      this.#history.add({ op: 'deliver', ...where, seq, sender: key, counter, content, time: 0, ttl: 0, at: 0 });
    }
    this.#tell();
  }

  /** Call it before the frame itself is told as sent or delivered. */
  changed(change: MemberChange): void {
    const convB = this.#population.convB(change.conversation);
    for (const user of change.users) {
      this.#member(convB, this.#population.userId(user), change.seq, change.joined);
    }
  }

  gap(device: number, conversation: number, through: number, reason: number): void {
    this.checker.gap(this.#pair(device, conversation), through, reason);
    this.#history?.add({ op: 'gap', ...this.#at(device, conversation), through, reason });
    this.#tell();
  }

  receipt(device: number, conversation: number, whose: number, delivered: number, read: number): void {
    this.checker.receipt(this.#pair(device, conversation), whose, delivered, read);
    this.#history?.add({ op: 'receipt', ...this.#at(device, conversation), whose, delivered, read });
    this.#tell();
  }

  /** The client tells it again until it is confirmed, so it surely arrives before the run ends. */
  read(device: number, conversation: number, seq: number): void {
    this.checker.read(this.#pair(device, conversation), seq, true);
    this.#history?.add({ op: 'read', ...this.#at(device, conversation), seq, sure: 1 });
  }

  resumed(device: number): void {
    this.checker.resumed(this.#devices[device]!);
    this.#history?.add({ op: 'resume', device: this.#population.deviceKeyOf(device) });
  }

  /** What is wrong besides what the checkers look at. Conversation −1: none. */
  wrong(guarantee: Guarantee, fault: Fault, sentence: string, device: number, conversation: number, seq: number): void {
    const population = this.#population;
    this.checker.violations.add({
      guarantee,
      fault,
      count: 1,
      sentence,
      device: population.deviceKeyOf(device),
      convA: conversation < 0 ? 0 : population.convA(conversation),
      convB: conversation < 0 ? 0 : population.convB(conversation),
      seq,
      counter: 0,
      context: [],
    });
    this.#tell();
  }
}

/** G16: no (conversation, sequence) ever names two messages, whatever was lost. Told of everything that conversation lanes say. */
import { mix32 } from '../core/ids.js';

export class SequenceAudit {
  /** By both words of a conversation: who said what stands at each sequence. */
  readonly #named = new Map<number, Map<number, number[]>>();

  /** False: another message had this sequence before. A message is known by its device and that one's counter. */
  name(a: number, b: number, seq: number, device: number, counter: number): boolean {
    let conversations = this.#named.get(a);
    if (conversations === undefined) this.#named.set(a, (conversations = new Map()));
    let names = conversations.get(b);
    if (names === undefined) conversations.set(b, (names = []));
    const name = mix32(mix32(device) ^ counter) || 1;
    const before = (names[seq] ??= name);
    return before === name;
  }
}

/**
 * Which READs are safe. A READ has no counter and no answer, so after a lost connection a client cannot know which of them came
 * through, and must repeat them. The gateway counts those of each connection, and once the log has everything that came up to a
 * moment it tells how many that is. Nobody waits for it: it goes along with something else (outbound.ts).
 */
import type { Session } from './hub.js';

export class ReadTally {
  /** Sessions with READs that came since the last mark. */
  #open: Session[] = [];
  /** Those whose READs up to the mark are with the log. */
  #marked: Session[] = [];
  /** So many batches were handed to the log when the mark was set. */
  #mark = 0;
  #isSpoilt = false;

  /** A READ came, whatever becomes of it. */
  came(session: Session): void {
    session.readsIn++;
    this.#list(session);
  }

  #list(session: Session): void {
    if (session.isReadListed) return;
    session.isReadListed = true;
    this.#open.push(session);
  }

  /** The log did not take a READ, and it goes there once more: it is not safe at the present mark, but at the next. */
  goesAgain(): void {
    this.#isSpoilt = true;
  }

  /**
   * To be called when outcomes were taken: batches handed to the log so far, those with an outcome, and whether all that came is
   * handed over.
   */
  advance(handedOver: number, settled: number, isHandedOver: boolean): void {
    if (this.#marked.length > 0 && settled >= this.#mark) this.#settle();
    if (this.#marked.length > 0 || !isHandedOver) return;
    const open = this.#open;
    this.#open = this.#marked;
    this.#marked = open;
    this.#mark = handedOver;
    this.#isSpoilt = false;
    for (const session of open) {
      session.isReadListed = false;
      session.readsMarked = session.readsIn;
    }
  }

  #settle(): void {
    for (const session of this.#marked) {
      if (this.#isSpoilt) this.#list(session);
      else if (!session.isReadLost) session.readsSafe = session.readsMarked;
    }
    this.#marked.length = 0;
  }
}

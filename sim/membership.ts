/**
 * Who is a member of a group when, as the group's changes tell it. They may come out of order: each user partition gets those that
 * concern its users, and a lane may find room for a later one before it finds room for an earlier one of another partition.
 */

interface Change {
  readonly seq: number;
  readonly isJoin: boolean;
  isTold: boolean;
}

/** Told what a change meant for a user who was not a member before, or was. */
export type MembershipSink = (isJoin: boolean, user: number, seq: number) => void;

export class Membership {
  /** By user, in order of sequence. */
  readonly #changes = new Map<number, Change[]>();
  readonly #seen = new Set<number>();
  readonly #sink: MembershipSink;

  constructor(sink: MembershipSink) {
    this.#sink = sink;
  }

  /** False: it was taken before. */
  begin(seq: number): boolean {
    if (this.#seen.has(seq)) return false;
    this.#seen.add(seq);
    return true;
  }

  change(seq: number, user: number, isJoin: boolean): void {
    let changes = this.#changes.get(user);
    if (changes === undefined) this.#changes.set(user, (changes = []));
    const at = changes.findLastIndex((change) => change.seq < seq) + 1;
    changes.splice(at, 0, { seq, isJoin, isTold: false });
    let isMember = false;
    for (const change of changes) {
      // Who is named again changes nothing.
      if (change.isJoin === isMember) continue;
      isMember = change.isJoin;
      if (change.isTold) continue;
      change.isTold = true;
      this.#sink(change.isJoin, user, change.seq);
    }
  }
}

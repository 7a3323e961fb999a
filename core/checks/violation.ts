/** What a checker says: which guarantee does not hold, where, and what happened there just before. */

export const Guarantees = ['G1', 'G2', 'G3', 'G4', 'G5', 'G6', 'G7', 'G8', 'G9', 'G10', 'G11', 'G12'] as const;
export type Guarantee = (typeof Guarantees)[number];

/** What went wrong, coarser than the guarantee and across them: the columns of a load report. */
export type Fault =
  | 'gap'
  | 'order'
  | 'double'
  | 'lost'
  | 'invented'
  | 'disagreement'
  | 'receipt'
  | 'membership'
  | 'block'
  | 'expiry'
  | 'presence';

/** Fields that do not apply are 0. Survives structured cloning and JSON. */
export interface Violation {
  readonly guarantee: Guarantee;
  readonly fault: Fault;
  /** How many messages, deliveries or receipts it concerns. */
  readonly count: number;
  /** One sentence with the values that contradict each other. */
  readonly sentence: string;
  /** The device (its key) that saw it, or 0. */
  readonly device: number;
  readonly convA: number;
  readonly convB: number;
  readonly seq: number;
  readonly counter: number;
  /** The last events of this device in this conversation, oldest first, as sentences. */
  readonly context: readonly string[];
}

/** The first violation in full, for people: a sentence, where, and the events that led there. */
export function describeViolation(violation: Violation): string {
  const lines = [`${violation.guarantee} violated: ${violation.sentence}`];
  const at: string[] = [];
  if (violation.device !== 0) {
    at.push(
      `device ${violation.device} (user ${Math.floor(violation.device / 128)}, number ${violation.device % 128})`,
    );
  }
  if (violation.convB !== 0) at.push(`conversation (${violation.convA}, ${violation.convB})`);
  if (violation.seq !== 0) at.push(`sequence ${violation.seq}`);
  if (violation.counter !== 0) at.push(`counter ${violation.counter}`);
  if (at.length > 0) lines.push(`  at ${at.join(', ')}`);
  if (violation.context.length > 0) {
    lines.push('  events of this device in this conversation before, oldest first:');
    for (const event of violation.context) lines.push(`    ${event}`);
  }
  return lines.join('\n');
}

/** Violations kept in full; more are only counted. */
export const VIOLATIONS_KEPT_MAX = 64;

/** How many violations there were, by guarantee, and how many messages they concern, by fault. */
export interface Tally {
  readonly guarantees: readonly (readonly [Guarantee, number])[];
  readonly faults: readonly (readonly [Fault, number])[];
}

/** Counts all violations, and keeps the first ones. */
export class Violations {
  readonly #keptMax: number;
  readonly #kept: Violation[] = [];
  readonly #guarantees = new Map<Guarantee, number>();
  readonly #faults = new Map<Fault, number>();
  #total = 0;

  constructor(keptMax = VIOLATIONS_KEPT_MAX) {
    this.#keptMax = keptMax;
  }

  add(violation: Violation): void {
    this.#keep(violation);
    this.#count([[violation.guarantee, 1]], [[violation.fault, violation.count]]);
  }

  /** Takes over what another found: its first violations, and its tally of all. */
  absorb(kept: readonly Violation[], tally: Tally): void {
    for (const violation of kept) this.#keep(violation);
    this.#count(tally.guarantees, tally.faults);
  }

  #keep(violation: Violation): void {
    if (this.#kept.length < this.#keptMax) this.#kept.push(violation);
  }

  #count(guarantees: Tally['guarantees'], faults: Tally['faults']): void {
    for (const [guarantee, count] of guarantees) {
      this.#total += count;
      this.#guarantees.set(guarantee, this.ofGuarantee(guarantee) + count);
    }
    for (const [fault, count] of faults) this.#faults.set(fault, this.ofFault(fault) + count);
  }

  /** True if no more are kept in full. */
  get isFull(): boolean {
    return this.#kept.length >= this.#keptMax;
  }

  get total(): number {
    return this.#total;
  }

  /** The first ones, in the order of being found. */
  get kept(): readonly Violation[] {
    return this.#kept;
  }

  get tally(): Tally {
    return { guarantees: [...this.#guarantees], faults: [...this.#faults] };
  }

  ofGuarantee(guarantee: Guarantee): number {
    return this.#guarantees.get(guarantee) ?? 0;
  }

  /** Messages, deliveries or receipts that violations of this sort concern. */
  ofFault(fault: Fault): number {
    return this.#faults.get(fault) ?? 0;
  }
}

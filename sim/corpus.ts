/**
 * Seeds of worlds that find the faults which the simulator found in the backbone, if these are planted again (mutants.ts). A seed
 * is only worth what its plan is, so scripts/e2e/mutants.e2e.ts plants each and demands that its seed still sees it: whoever
 * changes the draw, or the time that anything takes, looks for another.
 */
export interface Found {
  readonly seed: number;
  readonly what: string;
  /** Name of the planted bug that brings it back. */
  readonly mutant: string;
}

export const CORPUS: readonly Found[] = [
  {
    seed: 106,
    what: 'a device that was welcomed was forgotten by a power failure, and missed what came until it was new again',
    mutant: 'a new device is welcomed before the disk has it',
  },
  {
    seed: 1_528,
    what: 'after a power failure inbox positions were given out twice, so a device skipped what it had not seen',
    mutant: 'conversation lanes speak before user lanes have begun a generation',
  },
  {
    seed: 59,
    what: 'a refusal expired while its device was away, which was then told that the message had been taken',
    mutant: 'a refusal expires',
  },
  {
    seed: 374,
    what: 'the answer to a repeated send overtook the outcome, whose place in the order was then never told',
    mutant: 'the answer to a repeated send overtakes its outcome',
  },
];

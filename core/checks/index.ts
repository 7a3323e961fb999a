/**
 * The checkers of the guarantees (docs/guarantees.md). Everything is pure: who feeds them decides what is observed.
 *
 * - `Checker`: G1–G9 event by event, at the devices that one process hosts.
 * - `exportSummary`, `judge`: G2, G4, G5, G7, G8 at the end, over the parts of all processes.
 * - `BlockChecker` (G10), `ExpiryChecker` (G11), `PresenceChecker` (G12).
 * - `checkHistory`: all of them over a history, which can be written out and read back line by line.
 */
export { BlockChecker } from './blocks.js';
export { Checker, type CheckerOptions, type Counts, GapReason } from './checker.js';
export { ExpiryChecker, type ExpiryOptions } from './expiry.js';
export {
  checkHistory,
  HistoryChecker,
  type HistoryEvent,
  type HistoryOp,
  type HistoryOptions,
  judgeHistory,
  readHistoryLine,
  writeHistoryLine,
} from './history.js';
export { type JudgeOptions, judge, type Verdict } from './judge.js';
export { contentOf } from './ledger.js';
export { PresenceChecker, type PresenceOptions } from './presence.js';
export { exportSummary, type Summary } from './summary.js';
export {
  describeViolation,
  type Fault,
  type Guarantee,
  Guarantees,
  type Tally,
  VIOLATIONS_KEPT_MAX,
  type Violation,
  Violations,
} from './violation.js';

/** Hand-made histories, good and bad, one guarantee after the other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceKey } from '../ids.js';
import {
  BlockChecker,
  Checker,
  contentOf,
  describeViolation,
  ExpiryChecker,
  exportSummary,
  GapReason,
  type Guarantee,
  judge,
  PresenceChecker,
  type Verdict,
} from './index.js';

const ADA = 10;
const BO = 11;
const CY = 12;
const GROUP = 77;

/** Ada and Bo with one device each, in a direct conversation; Ada's sends have the content 100 + counter. */
class Direct {
  readonly checker: Checker;
  readonly ada: number;
  readonly bo: number;

  constructor(checker = new Checker()) {
    this.checker = checker;
    checker.host(deviceKey(ADA, 1));
    checker.host(deviceKey(BO, 1));
    this.ada = checker.pair(deviceKey(ADA, 1), ADA, BO);
    this.bo = checker.pair(deviceKey(BO, 1), ADA, BO);
  }

  /** Ada sends counters 1 to `count`; all are acknowledged in order. */
  sendAll(count: number): this {
    for (let counter = 1; counter <= count; counter++) {
      this.checker.sending(this.ada, counter, 100 + counter);
      this.checker.sent(this.ada, counter, counter);
    }
    return this;
  }

  hand(seq: number, counter = seq): this {
    this.checker.delivered(this.bo, seq, this.ada, counter, 100 + counter);
    return this;
  }

  verdict(isQuiescent = true): Verdict {
    return judge([exportSummary(this.checker)], { isQuiescent });
  }
}

function assertClean(verdict: Verdict): void {
  const first = verdict.violations.kept[0];
  assert.ok(verdict.isClean, first === undefined ? '' : describeViolation(first));
}

/** Exactly one violation was found, by this guarantee. */
function assertOnly(verdict: Verdict, guarantee: Guarantee): void {
  const found = verdict.violations.kept.map((violation) => `${violation.guarantee} ${violation.sentence}`);
  assert.equal(found.length, 1, found.join('\n'));
  assert.equal(verdict.violations.kept[0]!.guarantee, guarantee, found[0]);
}

test('a conversation in order is clean, and the verdict counts it', () => {
  const verdict = new Direct().sendAll(3).hand(1).hand(2).hand(3).verdict();
  assertClean(verdict);
  assert.deepEqual(
    [verdict.sends, verdict.acknowledged, verdict.unknown, verdict.deliveries, verdict.messages, verdict.conversations],
    [3, 3, 0, 3, 3, 1],
  );
});

test('G1: a sequence is left out', () => {
  const verdict = new Direct().sendAll(3).hand(1).hand(3).verdict();
  assertOnly(verdict, 'G1');
  assert.equal(verdict.violations.ofFault('gap'), 1);
});

test('G1: what comes first must be sequence 1', () => {
  assertOnly(new Direct().sendAll(3).hand(2).hand(3).verdict(), 'G1');
});

test('G1: a violation says where, and what happened before', () => {
  const text = describeViolation(new Direct().sendAll(4).hand(1).hand(4).verdict().violations.kept[0]!);
  assert.match(text, /^G1 violated: sequence 4 came after 1: 2 left out\n/);
  assert.match(text, /device 1409 \(user 11, number 1\), conversation \(10, 11\), sequence 4\n/);
  assert.match(text, /was handed sequence 1 .*\n.*was handed sequence 4/);
});

test('G2: the two see different contents at one sequence', () => {
  const direct = new Direct().sendAll(1);
  direct.checker.delivered(direct.bo, 1, direct.ada, 1, 999);
  assert.equal(direct.verdict().violations.kept[0]!.guarantee, 'G2');
});

test('G2: two observers that never meet are compared by their summaries', () => {
  const [one, other] = [new Checker(), new Checker()];
  for (const [checker, user, counter] of [
    [one, ADA, 1],
    [other, BO, 2],
  ] as const) {
    checker.joined(0, GROUP, user, 1);
    checker.host(deviceKey(user, 1));
    const sender = checker.pair(deviceKey(CY, 1), 0, GROUP);
    checker.delivered(checker.pair(deviceKey(user, 1), 0, GROUP), 1, sender, counter, 5);
  }
  const verdict = judge([exportSummary(one), exportSummary(other)], { isQuiescent: true });
  assert.ok(verdict.violations.ofGuarantee('G2') > 0);
  assertClean(judge([exportSummary(one)], { isQuiescent: true }));
});

test('a summary survives structured cloning', () => {
  const direct = new Direct().sendAll(2).hand(1).hand(2);
  assertClean(judge([structuredClone(exportSummary(direct.checker))], { isQuiescent: true }));
});

test('G3: counters stand in another order than they were sent', () => {
  const direct = new Direct();
  direct.checker.sending(direct.ada, 1, 101);
  direct.checker.sending(direct.ada, 2, 102);
  direct.checker.sent(direct.ada, 2, 1);
  direct.checker.sent(direct.ada, 1, 2);
  assertOnly(direct.hand(1, 2).hand(2, 1).verdict(), 'G3');
});

test('G4: what was acknowledged never came', () => {
  const verdict = new Direct().sendAll(3).hand(1).verdict();
  assertOnly(verdict, 'G4');
  assert.equal(verdict.missing, 2);
  assert.equal(verdict.violations.ofFault('lost'), 2);
});

test('G4: while things move, what is missing is only counted', () => {
  const verdict = new Direct().sendAll(3).hand(1).verdict(false);
  assertClean(verdict);
  assert.equal(verdict.missing, 2);
});

test('G4: a device that is away need not have it, one that came back must', () => {
  const direct = new Direct().sendAll(3).hand(1);
  const device = direct.checker.host(deviceKey(BO, 1));
  direct.checker.away(device);
  assertClean(direct.verdict());
  direct.checker.resumed(device);
  assertOnly(direct.verdict(), 'G4');
});

test('G4: a device that never was handed anything is missed too', () => {
  const direct = new Direct().sendAll(1).hand(1);
  direct.checker.host(deviceKey(BO, 2));
  assertOnly(direct.verdict(), 'G4');
});

test('a device that is new begins where it is told to', () => {
  const direct = new Direct().sendAll(2).hand(1).hand(2);
  const { checker } = direct;
  checker.host(deviceKey(BO, 2));
  const late = checker.pair(deviceKey(BO, 2), ADA, BO);
  checker.startsAt(late, 3);
  checker.sending(direct.ada, 3, 103);
  checker.sent(direct.ada, 3, 3);
  direct.hand(3);
  checker.delivered(late, 3, direct.ada, 3, 103);
  assertClean(direct.verdict());
});

test('G5: delivered, though it was refused', () => {
  const direct = new Direct();
  direct.checker.sending(direct.ada, 1, 101);
  direct.checker.rejected(direct.ada, 1);
  direct.hand(1);
  assert.ok(direct.verdict().violations.ofGuarantee('G5') === 1);
});

test('G5: delivered, though nobody sent it', () => {
  assert.equal(new Direct().hand(1).verdict().violations.ofGuarantee('G5'), 1);
});

test('G5: an unknown outcome may go either way', () => {
  const lost = new Direct();
  lost.checker.sending(lost.ada, 1, 101);
  assertClean(lost.verdict());
  assert.equal(lost.verdict().unknown, 1);
  const direct = new Direct();
  direct.checker.sending(direct.ada, 1, 101);
  direct.hand(1);
  direct.checker.away(direct.checker.host(deviceKey(ADA, 1)));
  assertClean(direct.verdict());
});

test('G6: delivered twice', () => {
  const verdict = new Direct().sendAll(2).hand(1).hand(1).hand(2).verdict();
  assertOnly(verdict, 'G6');
  assert.equal(verdict.violations.ofFault('double'), 1);
});

test('G6: one counter at two sequences', () => {
  const direct = new Direct().sendAll(1).hand(1);
  assert.equal(direct.hand(2, 1).verdict(false).violations.ofGuarantee('G6'), 1);
});

test('G6: sending again is no double, nor is being told again', () => {
  const direct = new Direct();
  direct.checker.sending(direct.ada, 1, 101);
  direct.sendAll(1).hand(1);
  direct.checker.sending(direct.ada, 1, 101);
  direct.checker.answered(direct.ada, 1, 1);
  direct.checker.answered(direct.ada, 1, 0);
  const verdict = direct.verdict();
  assertClean(verdict);
  assert.equal(verdict.sends, 1);
});

test('G7: receipts grow, and read stays below delivered', () => {
  const direct = new Direct().sendAll(3).hand(1).hand(2).hand(3);
  direct.checker.read(direct.bo, 2, true);
  direct.checker.receipt(direct.ada, BO, 2, 0);
  direct.checker.receipt(direct.ada, BO, 3, 2);
  assertClean(direct.verdict());
  direct.checker.receipt(direct.ada, BO, 2, 2);
  assertOnly(direct.verdict(), 'G7');
});

test('G7: a receipt above the truth, and one that never came', () => {
  const direct = new Direct().sendAll(3).hand(1).hand(2).hand(3);
  direct.checker.receipt(direct.ada, BO, 3, 1);
  assertOnly(direct.verdict(), 'G7');
  const silent = new Direct().sendAll(3).hand(1).hand(2).hand(3);
  silent.checker.receipt(silent.ada, BO, 2, 0);
  assertOnly(silent.verdict(), 'G7');
});

test('G8: the first message after a reconnect is the one after the cursor', () => {
  const direct = new Direct().sendAll(4).hand(1);
  direct.checker.resumed(direct.checker.host(deviceKey(BO, 1)));
  assertOnly(direct.hand(3).hand(4).verdict(), 'G8');
});

test('G8: own acknowledged sends come back', () => {
  const direct = new Direct();
  direct.checker.sending(direct.ada, 1, 101);
  direct.checker.answered(direct.ada, 1, 1);
  assert.equal(direct.hand(1).verdict().violations.kept[0]!.guarantee, 'G8');
});

/** A group that Ada made; Bo joins by sequence 3 and leaves by sequence 5; the head is 6. */
function group(boSees: readonly number[]): Verdict {
  const checker = new Checker();
  const ada = checker.pair(deviceKey(ADA, 1), 0, GROUP);
  const bo = checker.pair(deviceKey(BO, 1), 0, GROUP);
  checker.host(deviceKey(ADA, 1));
  checker.host(deviceKey(BO, 1));
  checker.joined(0, GROUP, ADA, 1);
  checker.joined(0, GROUP, BO, 3);
  checker.left(0, GROUP, BO, 5);
  for (let seq = 1; seq <= 6; seq++) {
    checker.sending(ada, seq, 100 + seq);
    checker.sent(ada, seq, seq);
  }
  for (const seq of boSees) checker.delivered(bo, seq, ada, seq, 100 + seq);
  return judge([exportSummary(checker)], { isQuiescent: true });
}

test('G9: a member sees what lies between joining and leaving', () => {
  assertClean(group([3, 4, 5]));
  assertOnly(group([3, 4, 5, 6]), 'G9');
  assert.equal(group([2, 3, 4, 5]).violations.kept[0]!.guarantee, 'G9');
  assertOnly(group([3, 4]), 'G4');
  assertOnly(group([4, 5]), 'G1');
});

test('G9: who comes back sees both stays, and nothing between', () => {
  const checker = new Checker();
  const ada = checker.pair(deviceKey(ADA, 1), 0, GROUP);
  const bo = checker.pair(deviceKey(BO, 1), 0, GROUP);
  checker.host(deviceKey(BO, 1));
  checker.joined(0, GROUP, BO, 1);
  checker.left(0, GROUP, BO, 2);
  checker.joined(0, GROUP, BO, 5);
  // Told again by somebody slower: nothing changes.
  checker.joined(0, GROUP, BO, 1);
  checker.left(0, GROUP, BO, 2);
  for (const seq of [1, 2, 5, 6]) checker.delivered(bo, seq, ada, seq, 100 + seq);
  assertClean(judge([exportSummary(checker)], { isQuiescent: true }));
  checker.left(0, GROUP, BO, 6);
  checker.joined(0, GROUP, BO, 9);
  checker.delivered(bo, 8, ada, 8, 108);
  assertOnly(judge([exportSummary(checker)], { isQuiescent: false }), 'G9');
});

test('GAP excuses what expired, unless nothing can', () => {
  for (const gapsAllowed of [true, false]) {
    const direct = new Direct(new Checker({ gapsAllowed })).sendAll(3).hand(1);
    direct.checker.gap(direct.bo, 2, GapReason.EXPIRED);
    const verdict = direct.hand(3).verdict();
    if (gapsAllowed) assertClean(verdict);
    else assertOnly(verdict, 'G4');
  }
});

test('G10: nothing of a blocked sender, until the block ends', () => {
  const blocks = new BlockChecker();
  const [bo, ada] = [deviceKey(BO, 1), deviceKey(ADA, 2)];
  blocks.delivered(bo, ADA, BO, 1, ada);
  blocks.acknowledged(bo, ADA, true);
  blocks.delivered(bo, 0, GROUP, 1, deviceKey(CY, 1));
  blocks.delivered(deviceKey(BO, 2), ADA, BO, 2, ada);
  assert.equal(blocks.violations.total, 0);
  blocks.delivered(bo, ADA, BO, 2, ada);
  assert.equal(blocks.violations.ofGuarantee('G10'), 1);
  blocks.acknowledged(bo, ADA, false);
  blocks.delivered(bo, ADA, BO, 3, ada);
  assert.equal(blocks.violations.total, 1);
});

test('G11: nothing after its deadline', () => {
  const expiry = new ExpiryChecker({ queueTtlMs: 60_000, toleranceMs: 5 });
  const device = deviceKey(BO, 1);
  expiry.delivered(device, ADA, BO, 1, 1_000, 10, 11_005);
  expiry.delivered(device, ADA, BO, 2, 1_000, 0, 61_005);
  assert.equal(expiry.violations.total, 0);
  expiry.delivered(device, ADA, BO, 3, 1_000, 10, 11_006);
  expiry.delivered(device, ADA, BO, 4, 1_000, 0, 61_006);
  // A time to live above the queue's is cut to it.
  expiry.delivered(device, ADA, BO, 5, 1_000, 1_000, 61_006);
  assert.equal(expiry.violations.ofGuarantee('G11'), 3);
});

test('G12: at most k updates in a window', () => {
  const presence = new PresenceChecker({ windowMs: 1_000, updatesPerWindow: 2 });
  const bo = deviceKey(BO, 1);
  presence.told(bo, ADA, true, 1_100);
  presence.typing(bo, ADA, 1_900);
  presence.told(bo, ADA, false, 2_000);
  presence.told(deviceKey(CY, 1), ADA, false, 2_000);
  presence.told(bo, ADA, true, 2_100);
  assert.equal(presence.violations.total, 0);
  presence.told(bo, ADA, false, 2_999);
  assert.equal(presence.violations.ofGuarantee('G12'), 1);
});

test('G12: the last state reaches every watch that lasts', () => {
  const bo = deviceKey(BO, 1);
  const watch = (): PresenceChecker => {
    const presence = new PresenceChecker({ watchTtlMs: 10_000, boundMs: 1_000 });
    presence.watch(bo, ADA, true, 0);
    presence.told(bo, ADA, false, 1);
    presence.truth(ADA, true, 100);
    return presence;
  };
  const violationsAt = (presence: PresenceChecker, atMs: number): number => {
    presence.finish(atMs);
    return presence.violations.total;
  };
  assert.equal(violationsAt(watch(), 1_099), 0, 'within the bound');
  assert.equal(violationsAt(watch(), 1_100), 1, 'suppressed');
  assert.equal(violationsAt(watch(), 10_000), 0, 'the watch has ended');
  const told = watch();
  told.told(bo, ADA, true, 200);
  assert.equal(violationsAt(told, 5_000), 0, 'told');
  const stopped = watch();
  stopped.watch(bo, ADA, false, 300);
  assert.equal(violationsAt(stopped, 5_000), 0, 'stopped');
});

test('only the first violations are kept, all are counted', () => {
  const direct = new Direct(new Checker({ keptMax: 2 })).sendAll(1);
  for (let i = 0; i < 5; i++) direct.hand(1);
  const verdict = judge([exportSummary(direct.checker)], { isQuiescent: true, keptMax: 2 });
  assert.equal(verdict.violations.kept.length, 2);
  assert.equal(verdict.violations.ofGuarantee('G6'), 4);
});

test('content: kind, number, length and every byte count', () => {
  const bytes = Uint8Array.from([1, 2, 3, 4, 5, 6, 7]);
  const seen = new Set([
    contentOf(1, 0, bytes),
    contentOf(2, 0, bytes),
    contentOf(1, 1, bytes),
    contentOf(1, 0, bytes, 1),
  ]);
  for (let i = 0; i < bytes.length; i++)
    seen.add(
      contentOf(
        1,
        0,
        bytes.map((byte, k) => (k === i ? byte ^ 1 : byte)),
      ),
    );
  for (let length = 0; length < bytes.length; length++) seen.add(contentOf(1, 0, bytes, 0, length));
  assert.equal(seen.size, 4 + 7 + 7);
  assert.equal(contentOf(1, 0, bytes), contentOf(1, 0, Uint8Array.from([9, ...bytes, 9]), 1, 8));
});

test('an application that lost its state is owed what its device was owed, and no more', () => {
  const { checker, bo, ada } = new Direct().sendAll(3);
  checker.startsAt(bo, 3);
  checker.delivered(bo, 3, ada, 3, 103);
  checker.rewound(bo, 0);
  checker.delivered(bo, 3, ada, 3, 103);
  assert.equal(checker.violations.total, 0);
  checker.rewound(bo, 0);
  checker.delivered(bo, 4, ada, 4, 104);
  assert.ok(
    checker.violations.kept.some(
      ({ guarantee, fault }) => guarantee === 'G8' || (guarantee === 'G1' && fault === 'gap'),
    ),
  );
});

test('G10: a device whose application went back is told of blocks again, and until then knows of none', () => {
  const blocks = new BlockChecker();
  blocks.acknowledged(deviceKey(BO, 1), ADA, true);
  blocks.rewound(deviceKey(BO, 1));
  blocks.delivered(deviceKey(BO, 1), ADA, BO, 1, deviceKey(ADA, 1));
  assert.equal(blocks.violations.total, 0);
  blocks.acknowledged(deviceKey(BO, 1), ADA, true);
  blocks.delivered(deviceKey(BO, 1), ADA, BO, 2, deviceKey(ADA, 1));
  assert.equal(blocks.violations.total, 1);
});

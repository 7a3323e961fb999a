import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Prng } from './prng.js';
import { buggify, MARK_NAMES, Mark, Probes, reached, SITE_NAMES, Site, withProbes } from './probe.js';

test('marks and sites are numbered in the order of their names', () => {
  assert.deepEqual(Object.values(Mark), [...MARK_NAMES.keys()]);
  assert.deepEqual(Object.values(Site), [...SITE_NAMES.keys()]);
  assert.equal(MARK_NAMES[Mark.COMMIT_TOO_OLD], 'commit too old');
  assert.equal(SITE_NAMES[Site.COMMITS_EARLY], 'site: commits early');
});

test('without probes nothing is counted and no site fires, also behind a run that threw', () => {
  const probes = new Probes(new Prng(1));
  const fires = (): boolean =>
    Object.values(Site).some((site) => Array.from({ length: 100 }, () => buggify(site)).includes(true));
  assert.equal(fires(), false);
  assert.equal(withProbes(probes, fires), true);
  assert.throws(() =>
    withProbes(probes, () => {
      throw new Error('on purpose');
    }),
  );
  const counted = [...probes.counts()];
  reached(Mark.BASE_BEGUN);
  assert.equal(fires(), false);
  assert.deepEqual([...probes.counts()], counted);
});

test('what is reached is counted, for the run that reached it', () => {
  const outer = new Probes();
  const inner = new Probes();
  withProbes(outer, () => {
    reached(Mark.BASE_BEGUN);
    withProbes(inner, () => reached(Mark.COUNTER_GAP));
    reached(Mark.BASE_BEGUN);
    assert.equal(buggify(Site.COMMITS_EARLY), false, 'it has no chance');
  });
  assert.deepEqual([...outer.counts()], [['base begun', 2]]);
  assert.deepEqual([...inner.counts()], [['counter gap', 1]]);
});

test('sites that are put off fire no more', () => {
  const probes = new Probes(new Prng(1));
  const fires = (): boolean =>
    Object.values(Site).some((site) => Array.from({ length: 100 }, () => probes.fires(site)).includes(true));
  assert.equal(fires(), true);
  const { fired } = probes;
  probes.areSitesOff = true;
  assert.equal(fires(), false);
  assert.equal(probes.fired, fired);
});

test('a site is on in a quarter of runs, fires a quarter of the times, and is the same for the same run', () => {
  const RUNS = 400;
  const TIMES = 100;
  let on = 0;
  let fired = 0;
  for (let run = 0; run < RUNS; run++) {
    const hits = (site: number, others: number): number => {
      const probes = new Probes(new Prng(run));
      let count = 0;
      for (let n = 0; n < TIMES; n++) {
        for (let other = 0; other < others; other++) probes.fires(Site.COMMITS_EARLY);
        if (probes.fires(site)) count++;
      }
      return count;
    };
    const count = hits(Site.LANE_TICKS_LATER, 0);
    assert.equal(hits(Site.LANE_TICKS_LATER, 2), count, 'another site does not shift it');
    if (count > 0) on++;
    fired += count;
  }
  assert.ok(on > RUNS / 5 && on < RUNS / 3, `on in ${on} of ${RUNS}`);
  assert.ok(fired > (on * TIMES) / 5 && fired < (on * TIMES) / 3, `fired ${fired} times in ${on} runs`);
});

import { describe, it } from 'node:test';
import fc from 'fast-check';
import { World } from './world.js';

/** Something that happens in the world, as data, so that a counterexample can be read. */
interface Happening {
  readonly what: keyof typeof ACTS;
  readonly numbers: readonly number[];
}

const ACTS = {
  send: (world: World, which: number, sender: number, seconds: number, bytes: number) =>
    world.send(which, sender, seconds, bytes),
  receipt: (world: World, which: number, whose: number) => world.receipt(which, whose),
  repeat: (world: World, source: number, count: number) => world.repeat(source, count),
  reject: (world: World, which: number) => world.reject(which),
  typing: (world: World, which: number, sender: number) => world.typing(which, sender),
  connect: (world: World, which: number, gateway: number, wrong: number) => world.connect(which, gateway, wrong),
  disconnect: (world: World, which: number, clean: number) => world.disconnect(which, clean === 1),
  ack: (world: World, which: number, older: number) => world.ack(which, older),
  drain: (world: World, which: number) => world.drain(which),
  overflow: (world: World, which: number) => world.overflow(which),
  restartGateway: (world: World, which: number) => world.restartGateway(which),
  block: (world: World, which: number, other: number, wanted: number) => world.block(which, other, wanted),
  watch: (world: World, which: number, subject: number) => world.watch(which, subject),
  wait: (world: World, ms: number) => world.wait(ms),
  run: (world: World, batches: number) => world.run(batches),
  commit: (world: World) => world.lane.commit(),
  exportPart: (world: World, bytes: number) => world.lane.exportPart(bytes),
  checkRestore: (world: World) => world.lane.checkRestore(),
  sync: (world: World) => world.sync(),
  tellSynced: (world: World) => world.tellSynced(),
  crash: (world: World) => world.crash(),
  losePower: (world: World, keep: number) => world.losePower(keep),
} as const;

const any = fc.nat({ max: 11 });

function act(weight: number, what: keyof typeof ACTS, ...numbers: fc.Arbitrary<number>[]) {
  return { weight, arbitrary: fc.tuple(...numbers).map((values): Happening => ({ what, numbers: values })) };
}

const ORDINARY = [
  act(100, 'send', any, any, fc.constantFrom(0, 0, 0, 1, 8), fc.constantFrom(0, 5, 60, 900)),
  act(20, 'receipt', any, any),
  act(10, 'repeat', any, fc.nat({ max: 4 })),
  act(10, 'reject', any),
  act(10, 'typing', any, any),
  act(50, 'connect', any, any, any),
  act(20, 'disconnect', any, fc.nat({ max: 1 })),
  act(60, 'ack', any, fc.constantFrom(0, 0, 0, 1, 3)),
  act(60, 'drain', any),
  act(20, 'overflow', any),
  act(5, 'restartGateway', any),
  act(10, 'block', any, any, fc.constantFrom(0, 1, 1)),
  act(10, 'watch', any, any),
  act(40, 'wait', fc.constantFrom(10, 700, 2_500, 9_000)),
  act(120, 'run', fc.nat({ max: 12 })),
  act(30, 'commit'),
  act(15, 'checkRestore'),
  act(20, 'exportPart', fc.constantFrom(1, 300, 3_000)),
  act(15, 'sync'),
  act(40, 'tellSynced'),
];
const CRASH = act(15, 'crash');
const POWER = act(15, 'losePower', fc.nat({ max: 5 }));

const RUNS = Number(process.env['DUNLIN_MODEL_RUNS'] ?? 30);

function holds(...acts: { weight: number; arbitrary: fc.Arbitrary<Happening> }[]): void {
  fc.assert(
    fc.property(fc.array(fc.oneof(...acts), { maxLength: 300, size: 'max' }), (happenings) => {
      const world = new World();
      for (const { what, numbers } of happenings) {
        (ACTS[what] as (world: World, ...values: number[]) => void)(world, ...numbers);
      }
      world.settle();
      world.verify();
    }),
    { numRuns: RUNS, includeErrorInReport: true },
  );
}

describe('whatever happens, every device gets everything, once and in order', () => {
  it('with connections that come and go', () => holds(...ORDINARY));
  it('with a lane that crashes and goes on from its last commit', () => holds(...ORDINARY, CRASH));
  it('with power failures that take the end of the log', () => holds(...ORDINARY, CRASH, POWER));
});

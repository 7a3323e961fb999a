/**
 * The process of one benchmark: it is told what to run, tells how it goes on, and ends with what was measured. It leads a
 * process group of its own, in which whatever it starts is, too; when the command that started it is gone, the group ends.
 */
import type { Registry } from './registry.js';
import type { Measured } from './result.js';

export interface Order {
  readonly name: string;
  readonly isTiny: boolean;
  readonly runs: number;
}

export type Answer =
  | { readonly kind: 'progress'; readonly sentence: string }
  | { readonly kind: 'measured'; readonly about: string; readonly measured: Measured }
  | { readonly kind: 'failed'; readonly reason: string };

function tell(answer: Answer): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send!(answer, (error: Error | null) => (error === null ? resolve() : reject(error)));
  });
}

async function carryOut(registry: Registry, { name, isTiny, runs }: Order): Promise<Answer> {
  const load = registry[name];
  if (load === undefined) return { kind: 'failed', reason: `there is no benchmark '${name}'` };
  try {
    const { benchmark } = await load();
    const progress = (sentence: string): void => void tell({ kind: 'progress', sentence });
    const measured = await benchmark.run({ isTiny, runs, progress });
    return { kind: 'measured', about: benchmark.about, measured };
  } catch (error) {
    return { kind: 'failed', reason: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** Carries out one order and ends the process. */
export function serve(registry: Registry): void {
  process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
  process.once('message', (order: Order) => {
    void carryOut(registry, order)
      .then(tell)
      .finally(() => {
        process.removeAllListeners('disconnect');
        // A worker or a socket that a benchmark left open must not keep the process.
        process.exit();
      });
  });
}

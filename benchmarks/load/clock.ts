/**
 * One clock for all generator processes of a machine: milliseconds of the system's monotonic clock, which a step of the
 * wall clock does not move. `performance.now()` counts from each process's own start, so it is shifted once to the clock's
 * own zero.
 */
function measureShift(): number {
  let best = Number.POSITIVE_INFINITY;
  let shift = 0;
  for (let i = 0; i < 16; i++) {
    const before = performance.now();
    const [seconds, nanoseconds] = process.hrtime();
    const after = performance.now();
    if (after - before < best) {
      best = after - before;
      shift = seconds * 1_000 + nanoseconds / 1e6 - (before + after) / 2;
    }
  }
  return shift;
}

const shiftMs = measureShift();

export function monotonicMs(): number {
  return performance.now() + shiftMs;
}

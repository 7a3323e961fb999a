/** CPU time of one thread of this process, to the nanosecond, from /proc: what others do meanwhile is not in it. */
import fs from 'node:fs';

const TASKS = '/proc/self/task';

/** Ids of the threads there are. */
export function threadIds(): Set<string> {
  return new Set(fs.readdirSync(TASKS));
}

/** The busiest thread of those that came since `before` was taken: a worker brings helpers with it. */
export function busiestSince(before: ReadonlySet<string>): string {
  const [busiest] = [...threadIds()]
    .filter((id) => !before.has(id))
    .toSorted((one, other) => threadCpuNs(other) - threadCpuNs(one));
  if (busiest === undefined) throw new Error('no thread was started');
  return busiest;
}

export function threadCpuNs(id: string): number {
  return Number(fs.readFileSync(`${TASKS}/${id}/schedstat`, 'latin1').split(' ')[0]);
}

/** The main file of the generator's process. */
import { Fleet } from './fleet.js';
import type { Command, Counts, Report } from './messages.js';

const POLL_MS = 5;
/** A run that is not over by then has lost something. */
const RUN_MS_MAX = 120_000;
const SET_UP_MS_MAX = 30_000;

let fleet: Fleet | undefined;

function tell(report: Report): void {
  process.send?.(report, () => {});
}

async function until(isDone: () => boolean, msMax: number): Promise<boolean> {
  const endMs = performance.now() + msMax;
  while (!isDone()) {
    if (performance.now() > endMs) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}

async function connect(command: Command & { type: 'connect' }): Promise<void> {
  const mine = new Fleet(command.options);
  fleet = mine;
  mine.connect();
  if (!(await until(() => mine.isConnected, SET_UP_MS_MAX))) mine.columns.fail('G8', 'not everybody was welcomed');
  mine.createGroups();
  await until(() => mine.isQuiet, SET_UP_MS_MAX);
  tell({ type: 'ready', ...mine.sizes, counts: countsOf(mine) });
}

function countsOf(mine: Fleet): Counts {
  const { sent, answered, delivered, receipts } = mine.columns;
  const { framesIn, messagesIn, bytesIn, bytesOut } = mine;
  return { sent, answered, delivered, receipts, framesIn, messagesIn, bytesIn, bytesOut };
}

async function run(mine: Fleet, bursts: number, isCut: boolean): Promise<void> {
  const startMs = performance.now();
  const half = mine.columns.answered + (mine.columns.sent - mine.columns.answered + mine.burstMessages(bursts)) / 2;
  mine.start(bursts);
  if (isCut) {
    await until(() => mine.columns.answered >= half, RUN_MS_MAX);
    mine.cut();
  }
  const isOver = await until(() => mine.isQuiet, RUN_MS_MAX);
  const seconds = (performance.now() - startMs) / 1_000;
  if (!isOver) mine.columns.fail('G4', `not at rest after ${RUN_MS_MAX / 1_000} s`);
  mine.columns.finish();
  const { violated, violations } = mine.columns;
  tell({ type: 'ran', seconds, counts: countsOf(mine), hash: mine.columns.hash(), violated, violations });
}

process.on('message', (message) => {
  const command = message as Command;
  if (command.type === 'connect') void connect(command);
  else if (command.type === 'run') void run(fleet!, command.bursts, command.isCut);
  else {
    fleet?.close();
    process.disconnect();
  }
});
process.on('disconnect', () => process.exit(0));

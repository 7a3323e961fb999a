/** `dunlin recover`: what partitions of a data directory lost, and the way on for whoever accepts that. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { DunlinError } from '../core/errors.js';
import { StageId } from '../core/keys.js';
import type { StoreTransaction } from '../core/ports.js';
import { openDataDirectory } from '../engines/data-directory.js';
import { LmdbDatabase } from '../engines/store-lmdb/database.js';
import { acceptLoss, checkAgain, decodeAccepted, lossKeys } from '../pipelines/acceptance.js';
import { decodeLoss, describeLoss } from '../pipelines/loss.js';
import { defaultDataDirectory } from './defaults.js';

interface Options {
  readonly data: string;
  readonly acceptLoss?: boolean;
  readonly checkAgain?: boolean;
  readonly json?: boolean;
}

interface Place {
  readonly stage: number;
  readonly partition: number;
}

/** As it is printed with --json. */
interface LossReport {
  readonly topic: 'CONVERSATION' | 'USER';
  readonly partition: number;
  readonly from: number;
  readonly reached: number;
  readonly committed: number;
  readonly time_ms: number;
  readonly sentence: string;
}

function reportOf(database: LmdbDatabase, { stage, partition }: Place): LossReport | undefined {
  const [, , stored] = database.read(lossKeys(stage, partition));
  if (stored === undefined) return undefined;
  const loss = decodeLoss(stored);
  const { from, reached, committed, timeMs: time_ms } = loss;
  const topic = stage === StageId.CONVERSATION ? 'CONVERSATION' : 'USER';
  return { topic, partition, from, reached, committed, time_ms, sentence: describeLoss(stage, partition, loss) };
}

function commit(database: LmdbDatabase, transaction: StoreTransaction): void {
  const [answer] = database.commitAll([transaction]);
  if (answer?.outcome === 'committed') return;
  throw new DunlinError(`the store did not take it: ${answer?.reason ?? answer?.outcome}`);
}

function accept(database: LmdbDatabase, { stage, partition }: Place): void {
  const values = database.read(lossKeys(stage, partition));
  const transaction = acceptLoss(stage, partition, values, Date.now());
  if (transaction !== undefined) commit(database, transaction);
}

function compareAgain(database: LmdbDatabase, place: Place): void {
  const { stage, partition } = place;
  const values = database.read(lossKeys(stage, partition));
  const transaction = checkAgain(stage, partition, values);
  if (transaction !== undefined) return commit(database, transaction);
  const loss = reportOf(database, place);
  if (loss === undefined) return;
  throw new DunlinError(
    `${loss.topic} partition ${partition} had read more than it had committed when its log lost it: no comparison shows whether that is back. Accept the loss.`,
  );
}

/** How many losses were accepted, in all partitions. */
function acceptedIn(database: LmdbDatabase, places: readonly Place[]): number {
  let count = 0;
  for (const { stage, partition } of places) {
    count += decodeAccepted(database.read(lossKeys(stage, partition))[3]).length;
  }
  return count;
}

function print(losses: readonly LossReport[], options: Options, accepted: number): void {
  const { acceptLoss: isAccepting = false, checkAgain: isComparing = false, json = false } = options;
  if (json) {
    console.log(JSON.stringify({ losses, accepted_now: isAccepting ? losses.length : 0, accepted_ever: accepted }));
    return;
  }
  if (losses.length === 0) console.log('Nothing is lost.');
  for (const { sentence } of losses) console.log(sentence);
  if (isAccepting) console.log('Accepted: the next `dunlin up` goes on without it, and gives nothing out twice.');
  else if (isComparing) console.log('The next `dunlin up` compares log and store again.');
  else if (losses.length > 0) {
    console.log('Bring the log back as it was and say `dunlin recover --check-again`,');
    console.log('or go on without what is lost: `dunlin recover --accept-loss`.');
  }
}

async function recover(options: Options): Promise<void> {
  const { data, acceptLoss: isAccepting = false, checkAgain: isComparing = false } = options;
  if (isAccepting && isComparing) throw new DunlinError('--accept-loss and --check-again do not go together.');
  if (!existsSync(join(data, 'meta.json'))) throw new DunlinError(`${data} is no data directory.`);
  const directory = openDataDirectory(data);
  try {
    const database = LmdbDatabase.open(join(directory.path, 'store'));
    try {
      const places = [StageId.CONVERSATION, StageId.USER].flatMap((stage) =>
        Array.from({ length: directory.partitions }, (_, partition) => ({ stage, partition })),
      );
      const losses = places.flatMap((place) => reportOf(database, place) ?? []);
      if ((isAccepting || isComparing) && losses.length === 0)
        throw new DunlinError('nothing is lost: there is nothing to do.');
      if (isAccepting) for (const place of places) accept(database, place);
      if (isComparing) for (const place of places) compareAgain(database, place);
      print(losses, options, acceptedIn(database, places));
    } finally {
      await database.close();
    }
  } finally {
    directory.close();
  }
}

export function recoverCommand(): Command {
  return new Command('recover')
    .description(
      'Say what partitions lost that stopped since their log lost something, and go on without it if you accept that.',
    )
    .option('--data <directory>', 'data directory; no server may use it', defaultDataDirectory())
    .option('--accept-loss', 'go on: what is lost stays lost, and no sequence is given out twice')
    .option('--check-again', 'the log was brought back as it was: compare it again at the next start')
    .option('--json', 'print {"losses", "accepted_now", "accepted_ever"}')
    .addHelpText(
      'after',
      `
Examples:
  dunlin recover
  dunlin recover --accept-loss --json`,
    )
    .action(recover);
}

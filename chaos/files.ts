/** Where the shipped scenarios lie, and reading one by its file or its name. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DunlinError } from '../core/errors.js';
import { type ChaosScenario, parseChaosScenario, SCENARIO_BYTES_MAX } from './scenario.js';

const PLACES = ['./scenarios', '../../chaos/scenarios'];
const ENDING = '.yaml';

function directory(): string {
  const places = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const found = places.find((place) => existsSync(place));
  if (found === undefined) throw new DunlinError(`the shipped scenarios are not there: ${places.join(', ')}.`);
  return found;
}

/** Names of the shipped scenarios, in order. */
export function chaosScenarioNames(): string[] {
  return readdirSync(directory())
    .filter((file) => file.endsWith(ENDING))
    .map((file) => basename(file, ENDING))
    .toSorted();
}

function find(fileOrName: string): string {
  const names = existsSync(fileOrName) ? [] : chaosScenarioNames();
  const name = names.find((known) => known === fileOrName || known.startsWith(`${fileOrName.padStart(2, '0')}-`));
  return name === undefined ? fileOrName : join(directory(), name + ENDING);
}

/** The text of a scenario by its file, or by the name, or number, of a shipped one. Throws a DunlinError with one sentence. */
export function readChaosText(fileOrName: string): string {
  const file = find(fileOrName);
  try {
    if (statSync(file).size > SCENARIO_BYTES_MAX) {
      throw new DunlinError(`${file}:1: the file is larger than ${SCENARIO_BYTES_MAX / 2 ** 20} MiB.`);
    }
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof DunlinError) throw error;
    throw new DunlinError(
      `${file} cannot be read, and no shipped scenario has this name (\`dunlin chaos list\` lists them): ${(error as Error).message}.`,
    );
  }
}

/** The scenario itself. */
export function readChaosScenario(fileOrName: string): ChaosScenario {
  const file = find(fileOrName);
  return parseChaosScenario(readChaosText(fileOrName), file, basename(file, ENDING));
}

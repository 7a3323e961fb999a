/** Where the shipped scenarios lie: beside the sources, also when this runs from dist/. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DunlinError } from '../core/errors.js';
import { parseScenario, SCENARIO_BYTES_MAX, type Scenario } from './scenario-read.js';

const PLACES = ['./scenarios', '../../sim/scenarios'];
const ENDING = '.yaml';

function directory(): string {
  const places = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const found = places.find((place) => existsSync(place));
  if (found === undefined) throw new DunlinError(`the shipped scenarios are not there: ${places.join(', ')}.`);
  return found;
}

/** Names of the shipped scenarios, in order. */
export function scenarioNames(): string[] {
  return readdirSync(directory())
    .filter((file) => file.endsWith(ENDING))
    .map((file) => basename(file, ENDING))
    .toSorted();
}

/** A scenario by its file, or by the name of a shipped one. Throws a DunlinError with one sentence. */
export function readScenario(fileOrName: string): Scenario {
  const isShipped = !existsSync(fileOrName) && scenarioNames().includes(fileOrName);
  return readScenarioFile(isShipped ? join(directory(), fileOrName + ENDING) : fileOrName);
}

function readScenarioFile(file: string): Scenario {
  let text: string;
  try {
    const { size } = statSync(file);
    if (size > SCENARIO_BYTES_MAX) {
      throw new DunlinError(`${file}:1: the file is larger than ${SCENARIO_BYTES_MAX / 2 ** 20} MiB.`);
    }
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof DunlinError) throw error;
    throw new DunlinError(
      `--scenario ${file} cannot be read, and no shipped scenario has this name (\`dunlin sim scenarios\` lists them): ${(error as Error).message}.`,
    );
  }
  return parseScenario(text, file);
}

/** Where the shipped workloads lie: beside the sources, also when this runs from dist/. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { mergeWorkload, parseWorkload, type Workload } from './workload.js';

const PLACES = ['../workloads/', '../../../benchmarks/workloads/'];

const FOLDER = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url))).find((path) => existsSync(path))!;

export const DEFAULT_WORKLOAD_FILE = `${FOLDER}default.yaml`;

/** Workloads of a kind; what they leave out is as in the default. */
export const PROFILES = ['overload', 'hot', 'group', 'storm'] as const;

export type Profile = (typeof PROFILES)[number];

/** What the profile sets. */
export async function readProfile(profile: Profile | 'default'): Promise<Partial<Workload>> {
  const file = `${profile}.yaml`;
  return parseWorkload(await readFile(`${FOLDER}${file}`, 'utf8'), file);
}

/** A whole workload: the default, under a profile, under single values. */
export async function readWorkload(profile: Profile | 'default', over: Partial<Workload> = {}): Promise<Workload> {
  return mergeWorkload(await readProfile('default'), await readProfile(profile), over);
}

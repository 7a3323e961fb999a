/** Where the shipped workload lies: beside the sources, also when this runs from dist/. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PLACES = ['../workloads/default.yaml', '../../../benchmarks/workloads/default.yaml'];

export const DEFAULT_WORKLOAD_FILE = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url))).find(
  (path) => existsSync(path),
)!;

/** A process that waits for a file and then opens a data directory as fast as it can. Prints `open` or why not, and stays. */
import { existsSync } from 'node:fs';
import { openDataDirectory } from './data-directory.js';

const [directory, gate] = process.argv.slice(2) as [string, string];
process.stdout.write('ready\n');
while (!existsSync(gate)) continue;
try {
  openDataDirectory(directory);
  process.stdout.write('open\n');
} catch (error) {
  process.stdout.write(`${(error as Error).message}\n`);
}
process.stdin.resume();

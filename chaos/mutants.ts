/**
 * Planted bugs: for each scenario one of the protections that it is about, switched off in a copy of the compiled program. The run
 * must not end well: that is how we know that the scenario bites. `from` must stand in the file exactly once.
 */
import { MUTANTS } from '../sim/mutants.js';

export interface ChaosMutant {
  /** File of the shipped scenario, without its ending. */
  readonly scenario: string;
  readonly name: string;
  /** Compiled file. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Of the short set that runs on every change. */
  readonly isShort?: true;
}

/** One that the simulator catches, too. */
function simulated(name: string): Pick<ChaosMutant, 'name' | 'file' | 'from' | 'to'> {
  const mutant = MUTANTS.find((one) => one.name === name);
  if (mutant === undefined) throw new RangeError(`there is no planted bug named ${name}`);
  const { file, from, to } = mutant;
  return { name, file, from, to };
}

const NOT_SENT_AGAIN = simulated('the client does not send again after a reconnect');
const STATE_LOST = simulated('the offset is committed without the state');
const CURSOR_AT_HEAD = simulated('the cursor moves to the head before anything is delivered');

export const CHAOS_MUTANTS: readonly ChaosMutant[] = [
  { scenario: 'kill-loop', ...CURSOR_AT_HEAD, isShort: true },
  { scenario: '05-connections-cut-mid-stream', ...NOT_SENT_AGAIN },
  {
    scenario: '08-second-process',
    name: 'a lock counts for nothing though its owner lives',
    file: 'engines/data-directory.js',
    from: 'if (ownerLives(found)) {',
    to: 'if (false) {',
  },
  { scenario: '15-paused-beyond-every-timeout', ...NOT_SENT_AGAIN },
  { scenario: '22-everybody-returns', ...CURSOR_AT_HEAD },
  { scenario: '23-readers-that-stop-reading', ...simulated('catch-up skips at the live edge') },
  { scenario: '24-one-way-partition', ...NOT_SENT_AGAIN },
  { scenario: '25-clock-steps', ...STATE_LOST },
  {
    scenario: 'disk-full',
    name: 'a disk that is nearly full is not noticed',
    file: 'engines/log-disk/log-writer.js',
    from: 'this.#refusing = refusing;',
    to: '',
  },
  {
    scenario: 'disk-sync-fails',
    name: 'a sync that failed is passed over',
    file: 'engines/log-disk/files.js',
    from: 'sync: (fd, done) => fs.fdatasync(fd, done),',
    to: 'sync: (fd, done) => fs.fdatasync(fd, () => done(null)),',
    isShort: true,
  },
  { scenario: 'disk-torn-write', ...simulated('the log believes a batch whatever its checksum says') },
  { scenario: 'rolling-restart', ...CURSOR_AT_HEAD },
];

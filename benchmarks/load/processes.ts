/** Where generators run: in processes of their own, or, for tests and small loads, in this one. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { YOUNG_GENERATION_MIB } from '../../core/limits.js';
import { Generator } from './generator.js';
import type { Command, GeneratorPort, Report } from './messages.js';

const CHILD_FILE = fileURLToPath(new URL('./child.js', import.meta.url));
/** A child that was told to finish has this long to go by itself. */
const EXIT_MS = 2_000;

/** A generator in a child process; its death is reported as a failure. */
export function forkGenerator(): GeneratorPort {
  const child: ChildProcess = fork(CHILD_FILE, [], {
    serialization: 'advanced',
    // A semi-space is a third of the young generation.
    execArgv: [...process.execArgv, `--max-semi-space-size=${YOUNG_GENERATION_MIB / 3}`],
  });
  let listener: ((report: Report) => void) | undefined;
  let closing = false;
  const gone = new Promise<void>((resolve) => {
    child.once('exit', (code, signal) => {
      resolve();
      if (closing) return;
      const sentence = `a generator process ended by itself (${signal ?? `code ${code}`})`;
      listener?.({ type: 'failed', sentence, usage: false });
    });
  });
  child.on('message', (report) => listener?.(report as Report));
  child.on('error', () => {});
  return {
    send: (command: Command) => {
      if (child.connected) child.send(command);
    },
    onReport: (to) => {
      listener = to;
    },
    close: async () => {
      closing = true;
      const timer = setTimeout(() => child.kill('SIGKILL'), EXIT_MS);
      if (child.connected) child.disconnect();
      await gone;
      clearTimeout(timer);
    },
  };
}

/** A generator in this process. Commands and reports are cloned, as they are between processes. */
export function localGenerator(): GeneratorPort {
  let listener: ((report: Report) => void) | undefined;
  const generator = new Generator((report) => {
    const cloned = structuredClone(report);
    queueMicrotask(() => listener?.(cloned));
  });
  return {
    send: (command) => generator.handle(structuredClone(command)),
    onReport: (to) => {
      listener = to;
    },
    close: async () => {},
  };
}

/** The main file of a generator process: commands come and reports go over the channel to the parent. */
import { Generator } from './generator.js';
import type { Command } from './messages.js';

// A parent that is gone needs no report, and `disconnect` ends this process: so a failed send is not an error.
const generator = new Generator((report) => process.send?.(report, () => {}));
process.on('message', (command) => generator.handle(command as Command));
// A signal to the process group reaches every process of it; the coordinator decides what it means.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('disconnect', () => process.exit(0));

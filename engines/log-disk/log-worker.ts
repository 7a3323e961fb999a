/** The thread around a LogWriter. */
import { parentPort, workerData } from 'node:worker_threads';
import { realFiles } from './files.js';
import { type LogWorkerData, LogWriter } from './log-writer.js';

export type LogOrder = 'stop';

if (parentPort !== null && (workerData as Partial<LogWorkerData> | null)?.start !== undefined) {
  const data = workerData as LogWorkerData;
  const port = parentPort;
  const writer = new LogWriter(data, realFiles, (error) => port.postMessage({ fatal: error.message }));
  port.on('message', (order: LogOrder) => {
    if (order === 'stop') writer.stop();
  });
  port.postMessage({ ready: true });
  await writer.run();
  port.close();
}

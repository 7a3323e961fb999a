/** A thread of `dunlin sim peak`: one cell. */
import { parentPort, workerData } from 'node:worker_threads';
import { type CellOptions, PeakCell } from './cell.js';
import type { PeakMessage } from './peak.js';

function tell(message: PeakMessage): void {
  parentPort!.postMessage(message);
}

const result = new PeakCell(workerData as CellOptions).run((virtualSeconds) => tell({ virtualSeconds }));
tell({ result });

/** Either log, as the threads open it that were given its handles. */
import type { Log, LogProducer } from '../core/ports.js';
import type { Bells } from './doorbell.js';
import {
  type LogHandle as DiskLogHandle,
  type ProducerHandle as DiskProducerHandle,
  openLog as openDiskLog,
  openProducer as openDiskProducer,
} from './log-disk/handles.js';
import { openRingLog } from './log-rings/consumer.js';
import type { RingLogHandle, RingProducerHandle } from './log-rings/handles.js';
import { openRingProducer } from './log-rings/producer.js';

export type LogHandle = DiskLogHandle | RingLogHandle;
export type ProducerHandle = DiskProducerHandle | RingProducerHandle;

export function openLog(handle: LogHandle): Log {
  return 'rings' in handle ? openRingLog(handle) : openDiskLog(handle);
}

/** With `bells` those who read what is appended are woken when they are rung. */
export function openProducer(handle: ProducerHandle, bells?: Bells): LogProducer {
  return 'channels' in handle ? openRingProducer(handle, bells) : openDiskProducer(handle, bells);
}

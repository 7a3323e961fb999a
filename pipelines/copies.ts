/**
 * Bytes that were copied, by place, on the way of a frame from one socket to others: what each thread counts of its own, a batch at
 * a time. What happens within a stage's state (a payload kept for devices that are away) is not in it, nor what the kernel of the
 * operating system does.
 */
import { Copied, GatewayMetrics } from '../gateway/gateway-metrics.js';
import { LaneFieldIndex } from './lane-status.js';
import type { Metric } from './metrics.js';

/** In the order of the way, with what is copied. */
export const COPIES = {
  message_to_kernel: 'a WebSocket message into the memory of the gateway’s kernel',
  frame_to_batch: 'frames into the open batches of their partitions',
  batch_to_ring: 'a gateway’s batches into the rings to the log',
  ring_to_group: 'batches into a group commit',
  group_to_file: 'a group into the log’s file',
  file_to_lane: 'batches out of the log’s file',
  batch_to_kernel: 'batches into the memory of the stages’ kernels',
  output_to_batch: 'what a stage writes, into batches',
  output_to_ring: 'a lane’s batches into the rings to logs and gateways',
  delivery_to_pass: 'frames into a gateway’s pass',
  pass_to_message: 'frames, and answers that were held, into a WebSocket message',
  message_to_socket: 'WebSocket messages into sockets',
} as const;

export type CopyPlace = keyof typeof COPIES;

export interface CopySources {
  readonly gateways: readonly SharedArrayBuffer[];
  readonly lanes: readonly { readonly status: Float64Array }[];
  /** By topic; undefined: there is no log on disk. */
  readonly appendedBytes: readonly (number | undefined)[];
  /** Whether lanes use their kernels. */
  readonly usesKernel: boolean;
}

export function copiedBytes({ gateways, lanes, appendedBytes, usesKernel }: CopySources): Record<CopyPlace, number> {
  const metrics = gateways.map((shared) => new GatewayMetrics(shared));
  const ofGateways = (read: (one: GatewayMetrics) => number): number =>
    metrics.reduce((sum, one) => sum + read(one), 0);
  const ofLanes = (field: keyof typeof LaneFieldIndex): number =>
    lanes.reduce((sum, { status }) => sum + status[LaneFieldIndex[field]]!, 0);
  const isOnDisk = appendedBytes.every((bytes) => bytes !== undefined);
  const appended = appendedBytes.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
  return {
    message_to_kernel: ofGateways((one) => one.at(Copied.message_to_kernel)),
    frame_to_batch: ofGateways((one) => one.at(Copied.frame_to_batch)),
    batch_to_ring: ofGateways((one) => one.at(Copied.batch_to_ring)),
    ring_to_group: appended,
    group_to_file: appended,
    // From the log in memory a lane reads where the batches lie.
    file_to_lane: isOnDisk ? ofLanes('bytes') : 0,
    batch_to_kernel: usesKernel ? ofLanes('bytes') : 0,
    output_to_batch: ofLanes('emitted_bytes'),
    output_to_ring: ofLanes('emitted_bytes'),
    delivery_to_pass: ofGateways((one) => one.at(Copied.delivery_to_pass)),
    pass_to_message: ofGateways((one) => one.at(Copied.pass_to_message)),
    message_to_socket: ofGateways((one) => one.get('bytes_out_total')),
  };
}

export function describeCopies(sources: CopySources): Metric[] {
  const help = 'bytes copied on the way of frames, by place';
  return Object.entries(copiedBytes(sources)).map(([where, value]) => ({
    name: 'dunlin_copied_bytes_total',
    help,
    labels: { where },
    value,
  }));
}

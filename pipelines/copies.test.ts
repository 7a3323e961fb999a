import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Copied, Counter, GATEWAY_METRICS_BYTES, GatewayMetrics } from '../gateway/gateway-metrics.js';
import { COPIES, type CopySources, describeCopies } from './copies.js';
import { LANE_FIELDS, LaneFieldIndex } from './lane-status.js';

function sources(parts: Partial<CopySources>): CopySources {
  const lane = (bytes: number, emitted: number): { status: Float64Array } => {
    const status = new Float64Array(LANE_FIELDS.length);
    status[LaneFieldIndex.bytes] = bytes;
    status[LaneFieldIndex.emitted_bytes] = emitted;
    return { status };
  };
  const gateways = [1, 10].map((factor) => {
    const shared = new SharedArrayBuffer(GATEWAY_METRICS_BYTES);
    const metrics = new GatewayMetrics(shared);
    metrics.add(Copied.message_to_kernel, factor);
    metrics.add(Copied.pass_to_message, 2 * factor);
    metrics.add(Counter.bytes_out_total, 3 * factor);
    return shared;
  });
  return { gateways, lanes: [lane(100, 7), lane(200, 8)], appendedBytes: [40, 2], usesKernel: true, ...parts };
}

function bytesOf(parts: Partial<CopySources> = {}): Record<string, number> {
  return Object.fromEntries(describeCopies(sources(parts)).map(({ labels, value }) => [labels['where'], value]));
}

test('each place is the sum over its threads', () => {
  assert.deepEqual(bytesOf(), {
    message_to_kernel: 11,
    frame_to_batch: 0,
    batch_to_ring: 0,
    ring_to_group: 42,
    group_to_file: 42,
    file_to_lane: 300,
    batch_to_kernel: 300,
    output_to_batch: 15,
    output_to_ring: 15,
    delivery_to_pass: 0,
    pass_to_message: 22,
    message_to_socket: 33,
  });
  assert.deepEqual(Object.keys(bytesOf()), Object.keys(COPIES));
});

test('without a disk nothing goes to a file or comes from one, without kernels nothing goes to their memory', () => {
  const { ring_to_group, group_to_file, file_to_lane, batch_to_kernel } = bytesOf({
    appendedBytes: [undefined, undefined],
    usesKernel: false,
  });
  assert.deepEqual([ring_to_group, group_to_file, file_to_lane, batch_to_kernel], [0, 0, 0, 0]);
});

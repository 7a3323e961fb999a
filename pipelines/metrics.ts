/** Metrics as the operators' port shows them: a name, what it means, labels, a value. */
import { GATEWAY_FIELDS } from '../gateway/gateway-metrics.js';
import { LANE_FIELDS, type LaneField } from './lane-status.js';

export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LANE_METRICS: Readonly<Record<LaneField, readonly [string, string]>> = {
  running: ['dunlin_lane_running', '1 while the lane runs, 0 while it recovers'],
  batches: ['dunlin_lane_batches_total', 'batches stepped over since the lane started'],
  entries: ['dunlin_lane_entries_total', 'frames stepped over since the lane started'],
  bytes: ['dunlin_lane_bytes_total', 'bytes of batches stepped over since the lane started'],
  fetches: ['dunlin_lane_fetches_total', 'times the lane had to read from the store before a step'],
  emitted: ['dunlin_lane_emitted_batches_total', 'batches handed to logs and gateways'],
  emitted_bytes: ['dunlin_lane_emitted_bytes_total', 'bytes of batches handed to logs and gateways'],
  stalled_turns: ['dunlin_lane_stalled_turns_total', 'turns in which an output found no room'],
  commits: ['dunlin_lane_commits_total', 'commits to the store'],
  ticks: ['dunlin_lane_ticks_total', 'ticks appended because time had to pass without input'],
  lag_bytes: ['dunlin_lane_lag_bytes', 'bytes of log that the lane has not read'],
  uncommitted_bytes: ['dunlin_lane_uncommitted_bytes', 'bytes of state that wait for a commit'],
  refused_commits: ['dunlin_lane_refused_commits', 'partitions whose last commit the store refused'],
  replayed_batches: ['dunlin_lane_replayed_batches_total', 'batches stepped over again after the last start'],
};

export function describeLane(
  stage: string,
  lane: number,
  restarts: number,
  status: Float64Array,
  behindMs: number,
): Metric[] {
  const labels = { stage, lane: String(lane) };
  const metrics: Metric[] = LANE_FIELDS.map((field, i) => {
    const [name, help] = LANE_METRICS[field];
    return { name, help, labels, value: status[i]! };
  });
  metrics.push({
    name: 'dunlin_lane_restarts_total',
    help: 'times the lane was started again',
    labels,
    value: restarts,
  });
  metrics.push({
    name: 'dunlin_lane_behind_ms',
    help: 'for how long the log has had what the lane has not read',
    labels,
    value: Math.round(behindMs),
  });
  return metrics;
}

export function describeGateway(gateway: number, restarts: number, shared: SharedArrayBuffer): Metric[] {
  const labels = { gateway: String(gateway) };
  const values = new Float64Array(shared);
  const metrics: Metric[] = GATEWAY_FIELDS.map(([name, help], i) => ({
    name: `dunlin_gateway_${name}`,
    help,
    labels,
    value: values[i]!,
  }));
  const help = 'times the gateway was started again';
  metrics.push({ name: 'dunlin_gateway_restarts_total', help, labels, value: restarts });
  return metrics;
}

/**
 * What a lane shows of itself, in shared memory: one float64 a field. Written by the lane after its turns, read by metrics at
 * any time; single fields are whole, the row as such is a moment's blur.
 */

export const LANE_FIELDS = [
  'running',
  'batches',
  'entries',
  'bytes',
  'fetches',
  'emitted',
  'emitted_bytes',
  'stalled_turns',
  'commits',
  'ticks',
  'lag_bytes',
  'uncommitted_bytes',
  'refused_commits',
  'replayed_batches',
] as const;

export type LaneField = (typeof LANE_FIELDS)[number];

export const LANE_STATUS_BYTES = LANE_FIELDS.length * 8;

export const LaneFieldIndex = Object.fromEntries(LANE_FIELDS.map((field, i) => [field, i])) as Record<
  LaneField,
  number
>;

/** What a gateway counts, in shared memory: one float64 a field, read by the operators' port. */

export const GATEWAY_FIELDS = [
  ['connections', 'connections that are open'],
  ['sessions_opened_total', 'upgrades that were accepted'],
  ['sessions_closed_total', 'connections that ended'],
  ['upgrades_refused_total', 'upgrades that were refused: token, path, limits'],
  ['admissions_refused_total', 'upgrades that were refused because too many came at once'],
  ['messages_in_total', 'WebSocket messages received'],
  ['frames_in_total', 'frames received'],
  ['bytes_in_total', 'bytes received'],
  ['slow_frames_total', 'frames that were not canonical and were encoded again'],
  ['bad_frames_total', 'frames that were rejected by the gateway'],
  ['rate_limited_total', 'frames over the rate limit of their connection'],
  ['busy_total', 'sends refused because the backbone was at its limit'],
  ['append_refused_total', 'batches that the log refused'],
  ['append_unknown_total', 'batches whose outcome is unknown'],
  ['batches_out_total', 'batches handed to the log'],
  ['frames_out_total', 'frames sent to clients'],
  ['bytes_out_total', 'bytes sent to clients'],
  ['writes_out_total', 'WebSocket messages sent'],
  ['egress_batches_total', 'batches received from user lanes'],
  ['egress_dropped_total', 'deliveries dropped as repeated, stale or for connections that are gone'],
  ['catch_up_turns_total', 'times a session turned to catch-up because its socket was full'],
  ['transient_dropped_total', 'presence and typing frames dropped for full sockets'],
] as const;

type Field = (typeof GATEWAY_FIELDS)[number][0];

/** Bytes that a gateway copied, by place (pipelines/copies.ts). */
const GATEWAY_COPIES = [
  'message_to_kernel',
  'frame_to_batch',
  'batch_to_ring',
  'delivery_to_pass',
  'pass_to_message',
] as const;

export const GATEWAY_METRICS_BYTES = (GATEWAY_FIELDS.length + GATEWAY_COPIES.length) * 8;

/** Where each field lies: resolved once, so that counting is one addition. */
export const Counter = Object.fromEntries(GATEWAY_FIELDS.map(([name], i) => [name, i])) as Readonly<
  Record<Field, number>
>;

/** The same of the bytes copied. */
export const Copied = Object.fromEntries(
  GATEWAY_COPIES.map((name, i) => [name, GATEWAY_FIELDS.length + i]),
) as Readonly<Record<(typeof GATEWAY_COPIES)[number], number>>;

export class GatewayMetrics {
  readonly #values: Float64Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(GATEWAY_METRICS_BYTES)) {
    this.#values = new Float64Array(shared);
  }

  /** `counter` is one of Counter.* or Copied.*. */
  add(counter: number, by = 1): void {
    this.#values[counter]! += by;
  }

  set(counter: number, value: number): void {
    this.#values[counter] = value;
  }

  at(counter: number): number {
    return this.#values[counter]!;
  }

  get(field: Field): number {
    return this.#values[Counter[field]]!;
  }
}

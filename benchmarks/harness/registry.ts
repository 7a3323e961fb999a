/** The benchmarks, in the order in which `npx just bench` runs them. A line each; none is loaded before it is asked for. */
import type { Benchmark } from './result.js';

/** By name. */
export type Registry = Readonly<Record<string, () => Promise<{ readonly benchmark: Benchmark }>>>;

export const REGISTRY: Registry = {
  // Parts and their costs.
  'conversation-stage': () => import('../conversation-stage.js'),
  'user-stage': () => import('../user-stage.js'),
  checks: () => import('../checks.js'),
  'cpu-per-message': () => import('../cpu-per-message.js'),
  // The disk.
  log: () => import('../log.js'),
  // Sockets.
  ingest: () => import('../ingest.js'),
  durable: () => import('../durable.js'),
  'idle-session': () => import('../idle-session.js'),
  'socket-to-socket': () => import('../socket-to-socket.js'),
  // The whole server, and rivals.
  start: () => import('../start.js'),
  latency: () => import('../latency.js'),
  overload: () => import('../overload.js'),
  growth: () => import('../growth.js'),
  peers: () => import('../peers.js'),
};

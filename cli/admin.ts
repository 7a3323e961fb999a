/**
 * The operators' port: `/health` (the process lives and nothing is beyond repair), `/ready` (it takes traffic), `/metrics`
 * (Prometheus text), `/status` (the same as JSON).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { DunlinError } from '../core/errors.js';
import type { Backbone } from '../pipelines/backbone.js';

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly backbone: Backbone;
}

export interface Admin {
  readonly port: number;
  close(): Promise<void>;
}

/** Metric names: `dunlin_<part>_<name>`, counters end in `_total`. One gauge a name, with a label for the part's number. */
function createMetrics(backbone: Backbone): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'dunlin_' });
  const gauges = new Map<string, Gauge>();
  const update = (): void => {
    for (const { name, help, labels, value } of backbone.metrics()) {
      let gauge = gauges.get(name);
      if (gauge === undefined) {
        gauge = new Gauge({ name, help, labelNames: Object.keys(labels), registers: [registry] });
        gauges.set(name, gauge);
      }
      gauge.set(labels, value);
    }
  };
  update();
  const render = registry.metrics.bind(registry);
  registry.metrics = async () => {
    update();
    return await render();
  };
  return registry;
}

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(body);
}

export async function startAdmin(options: AdminOptions): Promise<Admin> {
  const { backbone } = options;
  const registry = createMetrics(backbone);
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '/').split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(response, 405, 'text/plain', 'GET only\n');
    const status = backbone.status();
    switch (path) {
      case '/health':
        return answer(response, status.healthy ? 200 : 503, 'application/json', `${JSON.stringify(status)}\n`);
      case '/ready':
        return answer(response, status.ready ? 200 : 503, 'application/json', `${JSON.stringify(status)}\n`);
      case '/status':
        return answer(
          response,
          200,
          'application/json',
          `${JSON.stringify({ ...status, metrics: backbone.metrics() })}\n`,
        );
      case '/metrics':
        return answer(response, 200, registry.contentType, await registry.metrics());
      default:
        return answer(response, 404, 'text/plain', 'Try /health, /ready, /metrics or /status.\n');
    }
  };
  const server: Server = createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    handle(request, response).catch((error: unknown) => answer(response, 500, 'text/plain', `${String(error)}\n`));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE'
          ? 'is in use: choose another with --admin-port'
          : `cannot be used: ${error.message}`;
      reject(new DunlinError(`the operators' port ${options.host}:${options.port} ${why}.`));
    });
    server.listen(options.port, options.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

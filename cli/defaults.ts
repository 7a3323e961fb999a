/** What the subcommands share as defaults. */
import { join } from 'node:path';

export const DEFAULT_PORT = 8480;
export const DEFAULT_ADMIN_PORT = 8481;
export const DEFAULT_HOST = '127.0.0.1';
export const DEFAULT_URL = `ws://${DEFAULT_HOST}:${DEFAULT_PORT}/socket`;

/** `DUNLIN_DATA`, or `.dunlin` in the working directory. */
export function defaultDataDirectory(): string {
  return process.env['DUNLIN_DATA'] ?? join(process.cwd(), '.dunlin');
}

#!/usr/bin/env node
import { existsSync } from 'node:fs';

const compiled = new URL('../../dist/cli/main.js', import.meta.url);
if (!existsSync(compiled)) {
  console.error('dunlin is not built yet: run `npm run build` (or `npm start`) in the repository first.');
  process.exit(2);
}
process.setSourceMapsEnabled(true);
await import(compiled.href);

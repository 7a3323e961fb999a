/**
 * Runs the foreign client against a running backbone: `node dist/scripts/foreign-client.e2e.js URL TOKEN TOKEN [TOKEN]`, or
 * DUNLIN_URL and DUNLIN_TOKENS (separated by spaces). The tokens are of two or three users, as `dunlin token` makes them.
 * Prints a line a scenario and, last, "N passed, N failed"; exits with 1 if any failed.
 */
import { runScenarios } from './foreign-scenarios.js';

const fromEnvironment = [process.env['DUNLIN_URL'], ...(process.env['DUNLIN_TOKENS'] ?? '').split(' ')];
const [url, ...tokens] =
  process.argv.length > 2 ? process.argv.slice(2) : fromEnvironment.filter((part) => part !== '');
if (url === undefined || tokens.length < 2 || tokens.length > 3) {
  console.error('usage: foreign-client.e2e.js URL TOKEN TOKEN [TOKEN]');
  process.exit(2);
}

let passed = 0;
let failed = 0;
await runScenarios({ url, tokens: tokens as string[] }, ({ name, error }) => {
  if (error === undefined) passed++;
  else failed++;
  console.log(
    error === undefined
      ? `ok      ${name}`
      : `FAILED  ${name}\n        ${error.message.replaceAll('\n', '\n        ')}`,
  );
});
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

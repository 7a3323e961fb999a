import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CloseCodes, DunlinError, ErrorCodes, errorOfCode, mayReconnect } from './errors.js';

test('error codes are unique, are found by number, and carry their own name and one sentence', () => {
  const codes = new Set<number>();
  for (const [name, error] of Object.entries(ErrorCodes)) {
    assert.equal(error.name, name);
    assert.ok(!codes.has(error.code), `${name}: code ${error.code} is taken`);
    codes.add(error.code);
    assert.equal(errorOfCode(error.code), error);
    assert.match(error.sentence, /^[A-Z].*[^.]\.$/);
    assert.ok(!error.sentence.includes('\n'));
  }
  assert.equal(errorOfCode(0), undefined);
  assert.equal(errorOfCode(1_000), undefined);
});

test('codes lie in the range of who says them; what the backbone says about itself can always be retried', () => {
  for (const { code, canRetry, name } of Object.values(ErrorCodes)) {
    assert.ok(code >= 1 && code <= 127, name);
    if (code < 32) assert.equal(canRetry, false, `${name}: a malformed frame stays malformed`);
    if (code >= 96) assert.equal(canRetry, true, name);
  }
});

test('a close code says by its range whether to reconnect, and its reason fits into a close frame', () => {
  const codes = new Set<number>();
  for (const { code, reason, reconnect } of Object.values(CloseCodes)) {
    assert.ok(!codes.has(code), `close code ${code} is taken`);
    codes.add(code);
    assert.ok(code === 1_000 || (code >= 4_000 && code <= 4_199));
    if (code >= 4_000) assert.equal(reconnect, code < 4_100);
    assert.equal(mayReconnect(code), reconnect);
    // RFC 6455, 5.5: 125 bytes, two of them the code.
    assert.ok(Buffer.byteLength(reason) <= 123);
  }
  assert.ok(mayReconnect(1_006), 'a lost connection');
  assert.ok(mayReconnect(4_050) && !mayReconnect(4_150), 'codes of a newer server');
});

test('an error for people has a name and its sentence', () => {
  const error = new DunlinError('the disk is full');
  assert.equal(`${error}`, 'DunlinError: the disk is full');
  assert.ok(error instanceof Error);
});

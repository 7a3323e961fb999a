import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { mustBeWritable, writeText } from './files.js';

const directory = mkdtempSync(join(tmpdir(), 'dunlin-files-'));
after(() => rmSync(directory, { recursive: true }));

test('a file is written, and one that cannot be is named with its flag', async () => {
  const file = join(directory, 'page.html');
  await mustBeWritable(file, 'report');
  await writeText(file, 'text', 'report');
  assert.equal(readFileSync(file, 'utf8'), 'text');
  const nowhere = join(directory, 'missing', 'page.html');
  const sentence = /^DunlinError: --report .*page\.html: cannot be written: ENOENT/;
  await assert.rejects(mustBeWritable(nowhere, 'report'), sentence);
  await assert.rejects(writeText(nowhere, '', 'report'), sentence);
  await assert.rejects(writeText(directory, '', 'json'), /^DunlinError: --json .*: cannot be written: EISDIR/);
});

/**
 * Assembles client/dist/ for `npm pack`: the three entry points and every module that they import, with their types, from
 * the compiled tree of the repository. Run after the build; fails if that tree is not there or reaches beyond client/ and
 * core/.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const built = resolve(here, '../dist');
const target = join(here, 'dist');
const ENTRIES = ['client/node.js', 'client/browser.js', 'client/core.js'];
const IMPORT = /(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g;

/** The file and everything that it and its types import, as paths relative to the compiled tree. */
function collect(path, found) {
  if (found.has(path)) return;
  const file = join(built, path);
  if (!existsSync(file)) throw new Error(`${file} is missing: build the repository first (npm run build).`);
  const [folder] = path.split(sep);
  if (folder !== 'client' && folder !== 'core') throw new Error(`the client imports ${path}, which is not its own`);
  found.add(path);
  const types = path.replace(/\.js$/, '.d.ts');
  for (const source of [path, types]) {
    for (const [, specifier] of readFileSync(join(built, source), 'utf8').matchAll(IMPORT)) {
      collect(relative(built, resolve(built, dirname(path), specifier)), found);
    }
  }
}

const found = new Set();
for (const entry of ENTRIES) collect(entry.replaceAll('/', sep), found);
rmSync(target, { recursive: true, force: true });
for (const path of found) {
  for (const file of [path, path.replace(/\.js$/, '.d.ts')]) {
    mkdirSync(dirname(join(target, file)), { recursive: true });
    cpSync(join(built, file), join(target, file));
  }
}
console.error(`client/dist: ${found.size} modules`);

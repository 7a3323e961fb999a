/**
 * Compiles kernels/*.ts to WebAssembly, and writes each module as kernel-wasm.ts beside what runs it, which is
 * committed: a fresh clone starts without compiling it. `npm run kernel`; a build does it by itself when a source changed.
 * With --check nothing is written, and it fails if what is committed differs.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Each kernel's folder. */
const FOLDERS = { conversation: 'pipelines/conversation', user: 'pipelines/user', ingest: 'gateway' };
const KERNELS = Object.keys(FOLDERS);
const LINE_CHARACTERS = 100;

const OPTIONS =
  '-O3 --noAssert --runtime stub --use abort= --enable simd --importMemory --noExportMemory --initialMemory 1 --maximumMemory 65536';

const sourceOf = (kernel) => join(root, 'kernels', `${kernel}.ts`);
const generatedOf = (kernel) => join(root, FOLDERS[kernel], 'kernel-wasm.ts');

function stampOf(kernel) {
  return createHash('sha256')
    .update(OPTIONS)
    .update(readFileSync(sourceOf(kernel)))
    .digest('hex');
}

/** True if the committed modules were made from the sources as they are. */
export function areKernelsCurrent() {
  return KERNELS.every(
    (kernel) => existsSync(generatedOf(kernel)) && readFileSync(generatedOf(kernel), 'utf8').includes(stampOf(kernel)),
  );
}

/** The text of the generated module. */
async function compileKernel(kernel) {
  const { main: compile } = await import('assemblyscript/asc');
  const files = new Map();
  const { error, stderr } = await compile(['module.ts', '--outFile', 'module.wasm', ...OPTIONS.split(' ')], {
    readFile: (name) => (name === 'module.ts' ? readFileSync(sourceOf(kernel), 'utf8') : null),
    writeFile: (name, contents) => files.set(name, contents),
    listFiles: () => [],
  });
  if (error !== null) throw new Error(`kernels/${kernel}.ts does not compile:\n${stderr.toString()}`);
  const base64 = Buffer.from(files.get('module.wasm')).toString('base64');
  const lines = base64.match(new RegExp(`.{1,${LINE_CHARACTERS}}`, 'g')) ?? [];
  return [
    '/**',
    ` * The kernel as a WebAssembly module in base64, made from kernels/${kernel}.ts by \`npm run kernel\`. Do not edit.`,
    ` * sha256 of options and source: ${stampOf(kernel)}`,
    ' */',
    'export const KERNEL_WASM = `',
    ...lines,
    '`;',
    '',
  ].join('\n');
}

async function main() {
  for (const kernel of KERNELS) {
    const text = await compileKernel(kernel);
    if (!process.argv.includes('--check')) writeFileSync(generatedOf(kernel), text);
    else if (readFileSync(generatedOf(kernel), 'utf8') !== text) {
      console.error(`${FOLDERS[kernel]}/kernel-wasm.ts is not what kernels/${kernel}.ts compiles to: npm run kernel`);
      process.exitCode = 1;
    }
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();

/**
 * Compiles kernels/*.ts to WebAssembly, and writes each module as kernel-wasm.ts beside the stage that runs it, which is
 * committed: a fresh clone starts without compiling it. `npm run kernel`; a build does it by itself when a source changed.
 * With --check nothing is written, and it fails if what is committed differs.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const STAGES = ['conversation', 'user'];
const LINE_CHARACTERS = 100;

const OPTIONS =
  '-O3 --noAssert --runtime stub --use abort= --enable simd --importMemory --noExportMemory --initialMemory 1 --maximumMemory 65536';

const sourceOf = (stage) => join(root, 'kernels', `${stage}.ts`);
const generatedOf = (stage) => join(root, 'pipelines', stage, 'kernel-wasm.ts');

function stampOf(stage) {
  return createHash('sha256')
    .update(OPTIONS)
    .update(readFileSync(sourceOf(stage)))
    .digest('hex');
}

/** True if the committed modules were made from the sources as they are. */
export function areKernelsCurrent() {
  return STAGES.every(
    (stage) => existsSync(generatedOf(stage)) && readFileSync(generatedOf(stage), 'utf8').includes(stampOf(stage)),
  );
}

/** The text of the generated module. */
async function compileKernel(stage) {
  const { main: compile } = await import('assemblyscript/asc');
  const files = new Map();
  const { error, stderr } = await compile(['module.ts', '--outFile', 'module.wasm', ...OPTIONS.split(' ')], {
    readFile: (name) => (name === 'module.ts' ? readFileSync(sourceOf(stage), 'utf8') : null),
    writeFile: (name, contents) => files.set(name, contents),
    listFiles: () => [],
  });
  if (error !== null) throw new Error(`kernels/${stage}.ts does not compile:\n${stderr.toString()}`);
  const base64 = Buffer.from(files.get('module.wasm')).toString('base64');
  const lines = base64.match(new RegExp(`.{1,${LINE_CHARACTERS}}`, 'g')) ?? [];
  return [
    '/**',
    ` * The kernel as a WebAssembly module in base64, made from kernels/${stage}.ts by \`npm run kernel\`. Do not edit.`,
    ` * sha256 of options and source: ${stampOf(stage)}`,
    ' */',
    'export const KERNEL_WASM = `',
    ...lines,
    '`;',
    '',
  ].join('\n');
}

async function main() {
  for (const stage of STAGES) {
    const text = await compileKernel(stage);
    if (!process.argv.includes('--check')) writeFileSync(generatedOf(stage), text);
    else if (readFileSync(generatedOf(stage), 'utf8') !== text) {
      console.error(`pipelines/${stage}/kernel-wasm.ts is not what kernels/${stage}.ts compiles to: npm run kernel`);
      process.exitCode = 1;
    }
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();

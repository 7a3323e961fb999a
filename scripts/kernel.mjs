/**
 * Compiles kernels/conversation.ts to WebAssembly, and writes the module as pipelines/conversation/kernel-wasm.ts, which is
 * committed: a fresh clone starts without compiling it. `npm run kernel`; a build does it by itself when the source changed.
 * With --check nothing is written, and it fails if what is committed differs.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, 'kernels', 'conversation.ts');
const generated = join(root, 'pipelines', 'conversation', 'kernel-wasm.ts');
const LINE_CHARACTERS = 100;

const OPTIONS =
  '-O3 --noAssert --runtime stub --use abort= --enable simd --importMemory --noExportMemory --initialMemory 1 --maximumMemory 65536';

function stampOf() {
  return createHash('sha256').update(OPTIONS).update(readFileSync(source)).digest('hex');
}

/** True if the committed module was made from the source as it is. */
export function isKernelCurrent() {
  return existsSync(generated) && readFileSync(generated, 'utf8').includes(stampOf());
}

/** The text of the generated module. */
async function compileKernel() {
  const { main: compile } = await import('assemblyscript/asc');
  const files = new Map();
  const { error, stderr } = await compile(['module.ts', '--outFile', 'module.wasm', ...OPTIONS.split(' ')], {
    readFile: (name) => (name === 'module.ts' ? readFileSync(source, 'utf8') : null),
    writeFile: (name, contents) => files.set(name, contents),
    listFiles: () => [],
  });
  if (error !== null) throw new Error(`kernels/conversation.ts does not compile:\n${stderr.toString()}`);
  const base64 = Buffer.from(files.get('module.wasm')).toString('base64');
  const lines = base64.match(new RegExp(`.{1,${LINE_CHARACTERS}}`, 'g')) ?? [];
  return [
    '/**',
    ' * The kernel as a WebAssembly module in base64, made from kernels/conversation.ts by `npm run kernel`. Do not edit.',
    ` * sha256 of options and source: ${stampOf()}`,
    ' */',
    'export const KERNEL_WASM = `',
    ...lines,
    '`;',
    '',
  ].join('\n');
}

async function main() {
  const text = await compileKernel();
  if (!process.argv.includes('--check')) writeFileSync(generated, text);
  else if (readFileSync(generated, 'utf8') !== text) {
    console.error(
      'pipelines/conversation/kernel-wasm.ts is not what kernels/conversation.ts compiles to: npm run kernel',
    );
    process.exitCode = 1;
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();

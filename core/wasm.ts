/** What WebAssembly kernels share: how a module that is kept as text becomes an instance over a linear memory. */
import type { LinearMemory, WasmMemory } from './memory.js';

interface Module {
  readonly exports?: undefined;
}

declare const WebAssembly:
  | {
      validate(bytes: Uint8Array): boolean;
      Module: new (bytes: Uint8Array) => Module;
      Instance: new (module: Module, imports: { env: { memory: WasmMemory } }) => { readonly exports: unknown };
    }
  | undefined;

declare function atob(base64: string): string;

/** By text; compiled once a thread. Null: this engine cannot run it. */
const compiled = new Map<string, Module | null>();

function moduleOf(base64: string): Module | null {
  const known = compiled.get(base64);
  if (known !== undefined) return known;
  const bytes = Uint8Array.from(atob(base64.replaceAll('\n', '')), (character) => character.charCodeAt(0));
  // An engine without its instructions (SIMD) refuses it.
  const isGood = typeof WebAssembly !== 'undefined' && WebAssembly.validate(bytes);
  const module = isGood ? new WebAssembly.Module(bytes) : null;
  compiled.set(base64, module);
  return module;
}

/** The exports of a new instance of the module over `memory`; undefined where the engine cannot run it. */
export function instantiate<Exports>(base64: string, memory: LinearMemory): Exports | undefined {
  const module = moduleOf(base64);
  if (module === null) return undefined;
  return new WebAssembly!.Instance(module, { env: { memory: memory.wasm } }).exports as Exports;
}

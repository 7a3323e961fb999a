/**
 * The TypeScript sources as the rules look at them: text without comments, what each file imports, and what can be reached
 * from the entry points. By text alone, so that the rules need no compiler.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path/posix';

export interface Source {
  /** From the root, with slashes: `core/frame.ts`. */
  readonly path: string;
  readonly text: string;
}

export function readSources(root: string): Source[] {
  const folders = JSON.parse(readFileSync(join(root, 'scripts', 'folders.json'), 'utf8')) as string[];
  const present = folders.filter((folder) => readdirSync(root).includes(folder));
  return present
    .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts') && !entry.name.endsWith('.d.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((file) => !/\/(node_modules|dist)\//.test(file))
    .toSorted()
    .map((file) => ({ path: relative(root, file), text: readFileSync(file, 'utf8') }));
}

/** Where a slash begins a regular expression and not a division: behind these, or at the beginning. */
const BEFORE_REGEX = /(?:^|[(,=:[!&|?{};+<>~^]|\breturn|\bcase|\bof|\bin)\s*$/;
const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\[\s\S]|[^'\\\n])*'|"(?:\\[\s\S]|[^"\\\n])*"|\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*|[`{}]|[^'"`/{}]+|\//g;

/**
 * The code without comments. With `strings: false` also without what is in strings, templates and regular expressions; code
 * within a template's `${…}` stays.
 */
export function stripComments(text: string, options: { readonly strings: boolean }): string {
  let out = '';
  /** Open braces: true for one that belongs to a template's `${`. */
  const braces: boolean[] = [];
  const keep = (literal: string): string => (options.strings ? literal : literal[0]! + literal.at(-1)!);
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(text); match !== null; match = TOKEN.exec(text)) {
    const [token] = match;
    if (token.startsWith('//') || token.startsWith('/*')) {
      out += token.replaceAll(/[^\n]/g, '') || ' ';
    } else if (token[0] === '/' && token.length > 1) {
      if (BEFORE_REGEX.test(out)) out += keep(token);
      else {
        out += '/';
        TOKEN.lastIndex = match.index + 1;
      }
    } else if (token[0] === "'" || token[0] === '"') out += keep(token);
    else if (token === '`' || (token === '}' && braces.at(-1) === true)) {
      if (token === '}') braces.pop();
      const end = endOfTemplatePart(text, TOKEN.lastIndex);
      out += token + (options.strings ? text.slice(TOKEN.lastIndex, end) : '');
      if (text[end] === '$') braces.push(true);
      out += text[end] === '$' ? '${' : '`';
      TOKEN.lastIndex = end + (text[end] === '$' ? 2 : 1);
    } else {
      if (token === '{') braces.push(false);
      else if (token === '}') braces.pop();
      out += token;
    }
  }
  return out;
}

/** Where the text of a template ends that goes on at `at`: at its closing backtick, or at a `${`. */
function endOfTemplatePart(text: string, at: number): number {
  let end = at;
  while (end < text.length && text[end] !== '`' && !(text[end] === '$' && text[end + 1] === '{')) {
    end += text[end] === '\\' ? 2 : 1;
  }
  return end;
}

const IMPORTS = [
  /\b(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"]+)['"]/g,
  /\bimport\s*['"]([^'"]+)['"]/g,
  /\bimport\s*\(\s*['"]([^'"]+)['"]/g,
  // Workers and child processes: a file that is started is used.
  /\bnew URL\(\s*['"](\.[^'"]+\.js)['"]\s*,\s*import\.meta\.url/g,
];

/**
 * What a file imports or starts: paths of sources from the root (`core/frame.ts`) for relative ones, and names of packages
 * and built-in modules as they are.
 */
export function importsOf(source: Source): string[] {
  const code = stripComments(source.text, { strings: true });
  const found = new Set<string>();
  for (const pattern of IMPORTS) {
    for (const [, specifier] of code.matchAll(pattern)) {
      const name = specifier!;
      found.add(name.startsWith('.') ? join(dirname(source.path), name).replace(/\.js$/, '.ts') : name);
    }
  }
  return [...found].toSorted();
}

/** All paths that can be reached from `entries` by imports, the entries included. */
export function reachable(sources: readonly Source[], entries: readonly string[]): Set<string> {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const reached = new Set<string>();
  const waiting = [...entries];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const source = byPath.get(path);
    if (source === undefined || reached.has(path)) continue;
    reached.add(path);
    waiting.push(...importsOf(source));
  }
  return reached;
}

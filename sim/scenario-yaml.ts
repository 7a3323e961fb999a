/** A YAML file as its reader needs it: every node has a line, and everything that is wrong is one sentence with that line. */
import { isMap, isPair, isScalar, isSeq, LineCounter, type ParsedNode, parseDocument } from 'yaml';
import { DunlinError } from '../core/errors.js';

export type YamlNode = ParsedNode | null;

export interface YamlEntry {
  readonly key: string;
  readonly value: YamlNode;
  /** Where the key stands. */
  readonly at: YamlNode;
}

export class YamlFile {
  readonly root: YamlNode;
  readonly #file: string;
  readonly #lines = new LineCounter();

  /** `file` is named in errors. Throws a DunlinError if the text is not YAML. */
  constructor(text: string, file: string) {
    this.#file = file;
    // The library collects what is wrong, but throws at some of it: escapes of no character, nesting beyond the stack.
    let document: ReturnType<typeof parseDocument>;
    try {
      document = parseDocument(text, { lineCounter: this.#lines, uniqueKeys: true, prettyErrors: false });
    } catch (error) {
      throw new DunlinError(
        `${file}:${Math.max(this.#lines.lineStarts.length, 1)}: not YAML: ${(error as Error).message}.`,
      );
    }
    const [error] = document.errors;
    if (error !== undefined)
      this.#failAt(error.pos[0], `not YAML: ${error.message.split('\n')[0]!.replace(/\.$/, '')}`);
    this.root = document.contents as YamlNode;
  }

  fail(node: YamlNode, sentence: string): never {
    this.#failAt(node?.range?.[0] ?? 0, sentence);
  }

  #failAt(offset: number, sentence: string): never {
    throw new DunlinError(`${this.#file}:${Math.max(1, this.#lines.linePos(offset).line)}: ${sentence}.`);
  }

  /** The line at which a node begins, from 1. */
  lineOf(node: YamlNode): number {
    return Math.max(1, this.#lines.linePos(node?.range?.[0] ?? 0).line);
  }

  /** A plain value as it stands in the file; undefined: it is none. */
  text(node: YamlNode): string | undefined {
    if (!isScalar(node) || node.value === null) return undefined;
    return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
  }

  /** What a map has; undefined: it is none. A key that is not a plain word is refused. */
  entries(node: YamlNode): YamlEntry[] | undefined {
    if (!isMap(node)) return undefined;
    return node.items.map((pair) => {
      const at = isPair(pair) ? (pair.key as YamlNode) : null;
      const key = this.text(at);
      if (key === undefined) this.fail(at ?? node, 'a key must be a plain word');
      return { key, value: pair.value as YamlNode, at };
    });
  }

  /** What a list has; undefined: it is none. */
  items(node: YamlNode): YamlNode[] | undefined {
    return isSeq(node) ? (node.items as YamlNode[]) : undefined;
  }

  /** The entries of a map by key, all of them allowed ones. `what` goes on before "is a map of". */
  record(node: YamlNode, what: string, allowed: readonly string[], where: YamlNode = node): Map<string, YamlEntry> {
    const entries = this.entries(node);
    if (entries === undefined) this.fail(node ?? where, `${what} is a map of ${allowed.join(', ')}`);
    for (const { key, at } of entries) {
      if (!allowed.includes(key)) {
        this.fail(
          at,
          `unknown key '${key}' in ${what}; allowed ${allowed.length === 1 ? 'is' : 'are'} ${allowed.join(', ')}`,
        );
      }
    }
    return new Map(entries.map((entry) => [entry.key, entry]));
  }
}

/** What a result must be to be shown: every field there, every number one. */

/**
 * A field is a value, one of some words, null or something, a list, or a record. A `string` is not empty, a `text` may be, and
 * a `scalar` is a number or a string.
 */
type Shape =
  | 'number'
  | 'count'
  | 'string'
  | 'text'
  | 'boolean'
  | 'scalar'
  | { readonly words: readonly string[] }
  | { readonly nullOr: Shape }
  | { readonly list: Shape; readonly min?: number }
  | { readonly fields: Readonly<Record<string, Shape>>; readonly optional?: Readonly<Record<string, Shape>> }
  | { readonly values: Shape };

const FIGURE_FIELDS: Readonly<Record<string, Shape>> = {
  figure: 'number',
  unit: 'string',
  better: { words: ['higher', 'lower'] },
  against: { nullOr: { fields: { name: 'string', figure: 'number', unit: 'string' } } },
  ratio: { nullOr: 'number' },
  runs: { list: 'number', min: 1 },
  spread: 'number',
  hash: 'string',
  reach: { nullOr: { fields: { of: { words: ['figure', 'ratio'] }, bound: 'number', isReached: 'boolean' } } },
};

const CURVE: Shape = {
  fields: {
    name: 'string',
    x: { fields: { name: 'string', unit: 'text', isLogarithmic: 'boolean' } },
    y: { fields: { name: 'string', unit: 'text' } },
    series: { list: { fields: { name: 'string', points: { list: { list: 'number', min: 2 }, min: 1 } } }, min: 1 },
  },
};

const TABLE: Shape = {
  fields: { name: 'string', columns: { list: 'string', min: 1 }, rows: { list: { list: { nullOr: 'scalar' } } } },
};

const RESULT: Shape = {
  fields: {
    name: 'string',
    about: 'string',
    ...FIGURE_FIELDS,
    figures: { list: { fields: { name: 'string', ...FIGURE_FIELDS }, optional: { note: 'string' } }, min: 1 },
    curves: { list: CURVE },
    tables: { list: TABLE },
    workload: { values: 'scalar' },
    command: 'string',
    isTiny: 'boolean',
    took_s: 'number',
    machine: { fields: { cpu: 'string', cores: 'count', memory_gib: 'number', node: 'string', platform: 'string' } },
    measured: 'string',
  },
  optional: { note: 'string' },
};

function matches(value: unknown, shape: Extract<Shape, string>): boolean {
  const isNumber = typeof value === 'number' && Number.isFinite(value);
  if (shape === 'number') return isNumber;
  if (shape === 'count') return isNumber && Number.isInteger(value) && value > 0;
  if (shape === 'boolean') return typeof value === 'boolean';
  if (shape === 'text') return typeof value === 'string';
  const isText = typeof value === 'string' && value !== '';
  return shape === 'string' ? isText : isText || isNumber;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function check(value: unknown, shape: Shape, path: string): string[] {
  const shown = typeof value === 'number' ? String(value) : JSON.stringify(value);
  const wrong = (expected: string): string[] => [`${path} is ${shown}: ${expected} is right`];
  if (typeof shape === 'string') return matches(value, shape) ? [] : wrong(`a ${shape}`);
  if ('words' in shape) return shape.words.includes(value as string) ? [] : wrong(shape.words.join(' or '));
  if ('nullOr' in shape) return value === null ? [] : check(value, shape.nullOr, path);
  if ('list' in shape) {
    const min = shape.min ?? 0;
    if (!Array.isArray(value) || value.length < min) return wrong(`a list of at least ${min}`);
    return value.flatMap((each, n) => check(each, shape.list, `${path}[${n}]`));
  }
  if (!isRecord(value)) return wrong('an object');
  if ('values' in shape) {
    return Object.entries(value).flatMap(([key, each]) => check(each, shape.values, `${path}.${key}`));
  }
  const { fields, optional = {} } = shape;
  const unknown = Object.keys(value).filter((key) => !(key in fields) && !(key in optional));
  return [
    ...unknown.map((key) => `${path}.${key} is no field of it`),
    ...Object.entries(fields).flatMap(([key, each]) => check(value[key], each, `${path}.${key}`)),
    ...Object.entries(optional).flatMap(([key, each]) =>
      value[key] === undefined ? [] : check(value[key], each, `${path}.${key}`),
    ),
  ];
}

/** Sentences, one for each breach; none if the value is a BenchmarkResult. */
export function checkResult(value: unknown): string[] {
  return check(value, RESULT, 'result');
}

/**
 * A second checker, in SQL over the same history, that shares no code with core/checks: where the two do not agree, one of them is
 * wrong. It knows what a load does (docs/guarantees.md, G1–G9): no expiry, no blocks, all devices there from the beginning. Whether the
 * last receipts are true it does not judge.
 *
 * DuckDB is optional: without it the first opinion stands alone, and the result says so.
 */
import { DunlinError } from '../core/errors.js';

/** Columns of an event; what an operation does not have is null. */
const COLUMNS = {
  op: 'VARCHAR',
  device: 'BIGINT',
  a: 'BIGINT',
  b: 'BIGINT',
  user: 'BIGINT',
  seq: 'BIGINT',
  counter: 'BIGINT',
  content: 'BIGINT',
  sender: 'BIGINT',
  whose: 'BIGINT',
  delivered: 'BIGINT',
  read: 'BIGINT',
  through: 'BIGINT',
  reason: 'BIGINT',
  sure: 'BIGINT',
  time: 'BIGINT',
  ttl: 'BIGINT',
  at: 'BIGINT',
} as const;

/** A device key is its user's id times this and its number. */
const DEVICES_PER_USER = 128;

const VIEWS = `
-- What takes a device on in a conversation: what it was handed, and its own sends when it was told their place.
CREATE TABLE steps AS
  SELECT n, device, a, b, seq FROM events WHERE op IN ('deliver', 'ok');
-- One row for each message of which anybody saw anything: who sent it, with which counter.
CREATE TABLE log AS
  SELECT DISTINCT a, b, seq, sender, counter FROM (
    SELECT a, b, seq, sender, counter FROM events WHERE op = 'deliver'
    UNION ALL SELECT a, b, seq, device, counter FROM events WHERE op IN ('ok', 'duplicate') AND seq > 0);
-- Who sees a group from where to where; changes that several tell are one.
CREATE TABLE stays AS
  SELECT a, b, "user", seq AS low,
         coalesce((SELECT min(l.seq) FROM events l WHERE l.op = 'leave' AND l.a = j.a AND l.b = j.b AND l."user" = j."user" AND l.seq >= j.seq), 4294967295) AS high
  FROM (SELECT DISTINCT a, b, "user", seq FROM events WHERE op = 'join') j;
CREATE TABLE hosts AS SELECT DISTINCT device, device // ${DEVICES_PER_USER} AS "user" FROM events WHERE op = 'host';
-- What each hosted device is due: of a direct conversation all, of a group what lies within a stay of its user.
CREATE TABLE due AS
  SELECT DISTINCT h.device, l.a, l.b, l.seq FROM log l JOIN hosts h ON l.a <> 0 AND h."user" IN (l.a, l.b)
  UNION SELECT DISTINCT h.device, l.a, l.b, l.seq FROM log l JOIN stays s ON l.a = 0 AND s.b = l.b AND l.seq BETWEEN s.low AND s.high JOIN hosts h ON h."user" = s."user";
CREATE TABLE had AS SELECT DISTINCT device, a, b, seq FROM steps;
-- Who is away when all is over need not have all.
CREATE TABLE present AS
  SELECT device FROM events WHERE op IN ('host', 'away', 'resume') GROUP BY device HAVING arg_max(op, n) <> 'away';
`;

/** What must not be found, as a count; by the guarantee that it breaks. */
const QUERIES: readonly (readonly [guarantee: string, sql: string])[] = [
  [
    'G1',
    `SELECT count(*) FROM (
       SELECT seq, lag(seq) OVER (PARTITION BY device, a, b ORDER BY n) AS before, a, b, device FROM steps) s
     WHERE before IS NOT NULL AND seq <> before + 1
       AND NOT EXISTS (SELECT 1 FROM stays t WHERE s.a = 0 AND t.b = s.b AND t."user" = s.device // ${DEVICES_PER_USER} AND t.low = s.seq AND s.seq > before)`,
  ],
  ['G2', 'SELECT count(*) FROM (SELECT 1 FROM log GROUP BY a, b, seq HAVING count(*) > 1)'],
  [
    'G2',
    `SELECT count(*) FROM (SELECT 1 FROM events WHERE op = 'deliver' GROUP BY a, b, seq HAVING count(DISTINCT content) > 1)`,
  ],
  [
    'G3',
    `SELECT count(*) FROM (
       SELECT counter, lag(counter) OVER (PARTITION BY a, b, sender ORDER BY seq) AS before FROM log) WHERE counter <= before`,
  ],
  [
    'G4',
    'SELECT count(*) FROM due d WHERE d.device IN (SELECT device FROM present) AND NOT EXISTS (SELECT 1 FROM had h WHERE h.device = d.device AND h.a = d.a AND h.b = d.b AND h.seq = d.seq)',
  ],
  ['G4', `SELECT count(*) FROM events WHERE op = 'gap'`],
  [
    'G5',
    `SELECT count(*) FROM log l JOIN events f ON f.op = 'fail' AND f.device = l.sender AND f.a = l.a AND f.b = l.b AND f.counter = l.counter`,
  ],
  [
    'G5',
    `SELECT count(*) FROM events d JOIN hosts h ON h.device = d.sender
     WHERE d.op = 'deliver' AND NOT EXISTS (
       SELECT 1 FROM events s WHERE s.op = 'send' AND s.device = d.sender AND s.a = d.a AND s.b = d.b AND s.counter = d.counter AND s.content = d.content)`,
  ],
  [
    'G5',
    `SELECT count(*) FROM events f JOIN events o ON o.op IN ('ok', 'duplicate') AND o.device = f.device AND o.a = f.a AND o.b = f.b AND o.counter = f.counter
     WHERE f.op = 'fail'`,
  ],
  [
    'G6',
    `SELECT count(*) FROM (SELECT 1 FROM events WHERE op = 'send' GROUP BY device, a, b, counter HAVING count(DISTINCT content) > 1)`,
  ],
  ['G6', 'SELECT count(*) FROM (SELECT 1 FROM log GROUP BY a, b, sender, counter HAVING count(DISTINCT seq) > 1)'],
  [
    'G6',
    `SELECT count(*) FROM (SELECT 1 FROM events WHERE op = 'deliver' GROUP BY device, a, b, seq HAVING count(*) > 1)`,
  ],
  [
    'G7',
    `SELECT count(*) FROM (
       SELECT delivered, read, lag(delivered) OVER w AS before, lag(read) OVER w AS read_before FROM events WHERE op = 'receipt'
       WINDOW w AS (PARTITION BY device, a, b, whose ORDER BY n))
     WHERE delivered < before OR read < read_before OR read > delivered`,
  ],
  [
    'G7',
    `SELECT count(*) FROM events r WHERE r.op = 'receipt'
       AND r.delivered > (SELECT coalesce(max(seq), 0) FROM log l WHERE l.a = r.a AND l.b = r.b)`,
  ],
  [
    'G9',
    `SELECT count(*) FROM events d WHERE d.op = 'deliver' AND d.a = 0 AND NOT EXISTS (
       SELECT 1 FROM stays s WHERE s.b = d.b AND s."user" = d.device // ${DEVICES_PER_USER} AND d.seq BETWEEN s.low AND s.high)`,
  ],
  ['G9', `SELECT count(*) FROM events WHERE op = 'deliver' AND a <> 0 AND device // ${DEVICES_PER_USER} NOT IN (a, b)`],
];

interface Connection {
  run(sql: string): Promise<unknown>;
  runAndReadAll(sql: string): Promise<{ getRows(): unknown[][] }>;
  closeSync(): void;
}

interface DuckDb {
  readonly DuckDBInstance: { create(path: string): Promise<{ connect(): Promise<Connection> }> };
}

/** By a name that the compiler does not follow: what is optional need not be there when this is built. */
const MODULE: string = '@duckdb/node-api';

async function open(): Promise<Connection | undefined> {
  try {
    const { DuckDBInstance } = (await import(MODULE)) as DuckDb;
    const instance = await DuckDBInstance.create(':memory:');
    return await instance.connect();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** All events in the order of the files' lines, as the table `events` with their number `n`. */
async function load(connection: Connection, files: readonly string[]): Promise<void> {
  const columns = Object.entries(COLUMNS).map(([name, type]) => `${quoted(name)}: ${quoted(type)}`);
  await connection.run('SET preserve_insertion_order = true');
  await connection.run(
    `CREATE TABLE events AS SELECT row_number() OVER () AS n, * FROM read_json([${files.map(quoted).join(', ')}], format = 'newline_delimited', columns = {${columns.join(', ')}})`,
  );
}

export interface SecondOpinion {
  /** Violations by guarantee; counted otherwise than the first opinion counts, so only whether there are any is comparable. */
  readonly violations: Readonly<Record<string, number>>;
  readonly isClean: boolean;
}

/** Undefined when DuckDB is not installed. */
export async function secondOpinion(files: readonly string[]): Promise<SecondOpinion | undefined> {
  const connection = await open();
  if (connection === undefined) return undefined;
  try {
    await load(connection, files);
    for (const view of VIEWS.split(';\n')) if (view.trim() !== '') await connection.run(view);
    const violations: Record<string, number> = {};
    for (const [guarantee, sql] of QUERIES) {
      const [[count]] = (await connection.runAndReadAll(sql)).getRows() as [[bigint]];
      if (count > 0n) violations[guarantee] = (violations[guarantee] ?? 0) + Number(count);
    }
    return { violations, isClean: Object.keys(violations).length === 0 };
  } finally {
    connection.closeSync();
  }
}

/** Writes a history as one Parquet file. Throws a DunlinError when DuckDB is not installed. */
export async function writeParquet(files: readonly string[], to: string): Promise<void> {
  const connection = await open();
  if (connection === undefined) {
    throw new DunlinError(
      'Parquet is written by DuckDB, which is not installed: npm install @duckdb/node-api@1.5.6-r.1',
    );
  }
  try {
    await load(connection, files);
    await connection.run(`COPY (SELECT * FROM events ORDER BY n) TO ${quoted(to)} (FORMAT parquet, COMPRESSION zstd)`);
  } finally {
    connection.closeSync();
  }
}

/** The limits that hold on every store engine: FoundationDB's, so that what works here works there. */
import { compareKeys } from '../core/keys.js';
import { STORE_KEY_BYTES_MAX, STORE_TRANSACTION_BYTES_MAX, STORE_VALUE_BYTES_MAX } from '../core/limits.js';
import type { KeyRange, StoreTransaction } from '../core/ports.js';

/** What counts against STORE_TRANSACTION_BYTES_MAX: keys and values of puts and expectations, and both ends of ranges. */
export function transactionBytes(transaction: StoreTransaction): number {
  let bytes = 0;
  for (const { key, value } of transaction.expect) bytes += key.length + (value?.length ?? 0);
  for (const { begin, end } of transaction.clear) bytes += begin.length + end.length;
  for (const { key, value } of transaction.puts) bytes += key.length + value.length;
  return bytes;
}

function violatedByKey(key: Uint8Array): string | undefined {
  if (key.length === 0) return 'a key is empty: keys have 1 byte or more';
  if (key.length > STORE_KEY_BYTES_MAX) return `a key has ${key.length} bytes: ${STORE_KEY_BYTES_MAX} is the most`;
  return undefined;
}

function violatedByValue(value: Uint8Array): string | undefined {
  return value.length > STORE_VALUE_BYTES_MAX
    ? `a value has ${value.length} bytes: ${STORE_VALUE_BYTES_MAX} is the most`
    : undefined;
}

/** A range may begin with the empty key, and end with the first key behind the longest one. */
export function violatedByRange({ begin, end }: KeyRange): string | undefined {
  const longest = Math.max(begin.length, end.length);
  if (longest > STORE_KEY_BYTES_MAX + 1)
    return `a range has a key of ${longest} bytes: ${STORE_KEY_BYTES_MAX + 1} is the most`;
  return compareKeys(begin, end) > 0 ? 'a range ends before it begins' : undefined;
}

/** A sentence that names the limit which the transaction breaks; undefined: it keeps them all. */
export function violatedLimit(transaction: StoreTransaction): string | undefined {
  for (const { key, value } of transaction.expect) {
    const broken = violatedByKey(key) ?? (value === undefined ? undefined : violatedByValue(value));
    if (broken !== undefined) return broken;
  }
  for (const range of transaction.clear) {
    const broken = violatedByRange(range);
    if (broken !== undefined) return broken;
  }
  for (const { key, value } of transaction.puts) {
    const broken = violatedByKey(key) ?? violatedByValue(value);
    if (broken !== undefined) return broken;
  }
  const bytes = transactionBytes(transaction);
  return bytes > STORE_TRANSACTION_BYTES_MAX
    ? `a transaction has ${bytes} bytes of keys and values: ${STORE_TRANSACTION_BYTES_MAX} is the most`
    : undefined;
}

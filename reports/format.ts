/** Quantities as people read them. */

/** `1234567` → `1,234,567`. */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** Milliseconds with three significant figures: `0.42 ms`, `41 ms`, `3.2 s`. */
export function formatMs(ms: number | null): string {
  if (ms === null || !Number.isFinite(ms)) return '–';
  if (ms === 0) return '0 ms';
  if (ms >= 10_000) return `${(ms / 1_000).toFixed(0)} s`;
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}

/** A share as a percentage with at most one decimal: `20%`, `0.5%`. */
export function formatShare(share: number): string {
  return `${Number((share * 100).toFixed(1))}%`;
}

/** A span: `60 s`, `12 min 5 s`, `36 h 10 min`. */
export function formatSpan(ms: number): string {
  const seconds = ms / 1_000;
  if (seconds < 120) return `${Number(seconds.toFixed(1))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `950`, `12.5 k`, `1.25 M`. */
export function formatRate(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toFixed(2))} M`;
  if (value >= 10_000) return `${Number((value / 1e3).toFixed(1))} k`;
  return formatCount(value);
}

const BYTES_PER_UNIT: readonly (readonly [string, number])[] = [
  ['GB', 1e9],
  ['MB', 1e6],
  ['kB', 1e3],
];

/** `512 B`, `1.5 kB`: decimal, as the ticks of an axis are. */
export function formatBytes(bytes: number): string {
  const unit = BYTES_PER_UNIT.find(([, size]) => bytes >= size);
  return unit === undefined ? `${Math.round(bytes)} B` : `${Number((bytes / unit[1]).toFixed(1))} ${unit[0]}`;
}

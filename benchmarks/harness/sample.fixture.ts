/** A result with everything that one can have, for tests. */
import { type BenchmarkResult, makeFigure } from './result.js';

const figures = [
  makeFigure({
    name: 'log, batches of 256 KiB',
    unit: 'MB/s durable',
    better: 'higher',
    runs: [210, 198, 220, 205, 215],
    against: { name: 'one file, one fdatasync', unit: 'MB/s', runs: [250, 251, 249, 250, 252] },
    reach: { of: 'ratio', bound: 0.7 },
    hash: '8459a98d',
  }),
  makeFigure({
    name: 'to ready',
    unit: 'ms',
    better: 'lower',
    runs: [6_200, 6_100, 6_500, 6_050, 6_150],
    reach: { of: 'figure', bound: 5_000 },
    hash: '1f',
    note: 'The store reads <pages> one by one & waits.',
  }),
  makeFigure({ name: 'idle', unit: 'bytes', better: 'lower', runs: [2_667.5], hash: '2f' }),
];

export function sampleResult(change: Partial<BenchmarkResult> = {}): BenchmarkResult {
  const { name: _, ...headline } = figures[0]!;
  return {
    name: 'log',
    about: 'The embedded log alone.',
    ...headline,
    figures,
    curves: [
      {
        name: 'throughput by conversations',
        x: { name: 'conversations', unit: '', isLogarithmic: true },
        y: { name: 'rate', unit: 'messages/s' },
        series: [
          {
            name: 'one partition',
            points: [
              [10_000, 1_000_000],
              [10_000_000, 750_000],
            ],
          },
        ],
      },
    ],
    tables: [
      {
        name: 'Where the time goes',
        columns: ['stage', 'ns a message', 'bytes a message'],
        rows: [
          ['log', 12.5, 190],
          ['socket | frame', 160, null],
        ],
      },
    ],
    workload: { partitions: 4, bytes_a_run: 512e6, share: '20% to groups' },
    command: 'npx just bench log',
    isTiny: false,
    took_s: 61.2,
    machine: { cpu: 'AMD EPYC', cores: 2, memory_gib: 23.5, node: 'v20.20.2', platform: 'linux-x64' },
    measured: '2026-01-02T03:04:05.000Z',
    ...change,
  };
}

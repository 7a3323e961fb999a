/** Which engines a backbone in one process runs on: a log on this disk with the store beside it, or nothing that is kept. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DunlinError } from '../core/errors.js';
import { Durability } from '../core/ports.js';
import type { DataDirectory } from '../engines/data-directory.js';
import { createLog } from '../engines/log-disk/log.js';
import { createRingLog } from '../engines/log-rings/handles.js';
import type { LogHandle, ProducerHandle } from '../engines/open-log.js';
import { createStore } from '../engines/store-lmdb/store.js';
import type { StoreHandle } from '../engines/store-lmdb/store-port.js';

export interface EngineOptions {
  readonly retainBytes: number;
  readonly diskReserveBytes: number;
  readonly warn: (sentence: string) => void;
}

/** Doorbells of the threads there will be. */
export interface Bells {
  readonly gateways: readonly SharedArrayBuffer[];
  readonly conversationLanes: readonly SharedArrayBuffer[];
  readonly userLanes: readonly SharedArrayBuffer[];
}

export interface Engines {
  readonly log: LogHandle;
  /** Gateways, then conversation lanes, then user lanes. */
  readonly producers: readonly ProducerHandle[];
  /** False: a lane that ends cannot go on where it stood. */
  readonly isKept: boolean;
  /** Undefined: a lane has its store in its own memory. */
  storePort(laneBell: SharedArrayBuffer): StoreHandle | undefined;
  isRefusing(): boolean;
  /** By topic; undefined: nothing is kept. */
  appendedBytes(topic: number): number | undefined;
  close(): Promise<void>;
}

export async function openKept(
  directory: DataDirectory,
  bells: Bells,
  options: EngineOptions,
  fatal: (error: Error) => void,
): Promise<Engines> {
  const { partitions } = directory;
  const { BEFORE_READ, LAZY } = Durability;
  const log = await createLog({
    ...options,
    directory: join(directory.path, 'log'),
    topics: [
      {
        name: 'conversation',
        partitions,
        durability: BEFORE_READ,
        guarded: true,
        readers: bells.conversationLanes,
      },
      { name: 'user', partitions, durability: LAZY, guarded: false, readers: bells.userLanes },
    ],
    producers: [
      ...bells.gateways.map((doorbell) => ({ guarded: true, doorbell })),
      ...[...bells.conversationLanes, ...bells.userLanes].map((doorbell) => ({ guarded: false, doorbell })),
    ],
    fatal,
  });
  try {
    const store = await createStore({ directory: join(directory.path, 'store'), fatal });
    return {
      log: log.handle,
      producers: log.producers,
      isKept: true,
      storePort: (laneBell) => store.port(laneBell),
      isRefusing: () => log.isRefusing(),
      appendedBytes: (topic) => log.appendedBytes(topic),
      close: async () => {
        await log.close();
        await store.close();
      },
    };
  } catch (error) {
    await log.close();
    throw error;
  }
}

/** Throws a DunlinError if the directory has a log: what is in it must not seem to be there. */
export function openForgetful(directory: DataDirectory, bells: Bells): Engines {
  if (existsSync(join(directory.path, 'log'))) {
    throw new DunlinError(
      `the data directory ${directory.path} has a log, of which --log memory would see nothing: give another --data.`,
    );
  }
  const { partitions } = directory;
  const { handle, producers } = createRingLog({
    topics: [
      { partitions, lanes: bells.conversationLanes },
      { partitions, lanes: bells.userLanes },
    ],
    producers: [
      ...bells.gateways.map((doorbell) => ({ isBounded: true, doorbell })),
      ...[...bells.conversationLanes, ...bells.userLanes].map((doorbell) => ({ isBounded: false, doorbell })),
    ],
  });
  return {
    log: handle,
    producers,
    isKept: false,
    storePort: () => undefined,
    isRefusing: () => false,
    appendedBytes: () => undefined,
    close: async () => {},
  };
}

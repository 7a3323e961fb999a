/** Which devices do not reach which gateways, for a time. */

interface Partition {
  readonly device: number;
  readonly gateway: number;
  readonly untilUs: number;
  /** Whoever tries to connect is told so at once; else nothing answers. */
  readonly refuses: boolean;
}

/** What becomes of an attempt to connect: it waits until then, or fails at once. */
export interface Blocked {
  readonly untilUs: number;
  readonly refuses: boolean;
}

export class Network {
  #partitions: Partition[] = [];

  split(device: number, gateway: number, untilUs: number, refuses: boolean): void {
    this.#partitions.push({ device, gateway, untilUs, refuses });
  }

  /** Undefined: nothing is between the two. */
  blocked(device: number, gateway: number, nowUs: number): Blocked | undefined {
    let found: Blocked | undefined;
    for (const { untilUs, refuses, ...between } of this.#partitions) {
      if (untilUs <= nowUs || between.device !== device || between.gateway !== gateway) continue;
      if (found === undefined || untilUs > found.untilUs) found = { untilUs, refuses };
    }
    return found;
  }

  heal(): void {
    this.#partitions = [];
  }
}

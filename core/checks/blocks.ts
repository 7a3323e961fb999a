/** G10: nothing from a blocked sender is delivered after the block was acknowledged to the device. */
import { userOfDevice } from '../ids.js';
import { type Violation, Violations } from './violation.js';

export class BlockChecker {
  readonly violations: Violations;
  /** Blocked users, by device key: few, so that most deliveries cost one look-up in a small map. */
  readonly #blocked = new Map<number, Set<number>>();

  constructor(violations = new Violations()) {
    this.violations = violations;
  }

  /** BLOCK came to the device: `user` is now blocked, or not. */
  acknowledged(device: number, user: number, isBlocked: boolean): void {
    const users = this.#blocked.get(device);
    if (isBlocked) {
      if (users === undefined) this.#blocked.set(device, new Set([user]));
      else users.add(user);
      return;
    }
    users?.delete(user);
    if (users?.size === 0) this.#blocked.delete(device);
  }

  /** The device's application went back to an earlier state: what it had been told since, of blocks too, comes again. */
  rewound(device: number): void {
    this.#blocked.delete(device);
  }

  /** A message of `sender` (a device key) was handed to the device. */
  delivered(device: number, convA: number, convB: number, seq: number, sender: number): void {
    if (this.#blocked.size === 0) return;
    const user = userOfDevice(sender);
    if (this.#blocked.get(device)?.has(user) !== true) return;
    const violation: Violation = {
      guarantee: 'G10',
      fault: 'block',
      count: 1,
      sentence: `a message of user ${user} was delivered after the block of that user was acknowledged`,
      device,
      convA,
      convB,
      seq,
      counter: 0,
      context: [`BLOCK: user ${user} is blocked`],
    };
    this.violations.add(violation);
  }
}

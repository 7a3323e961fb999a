/** Typed event handlers, the same in Node and in browsers. */
export class Emitter<Events> {
  readonly #handlers = new Map<keyof Events, Set<(event: never) => void>>();

  on<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => void): this {
    let handlers = this.#handlers.get(name);
    if (handlers === undefined) {
      handlers = new Set();
      this.#handlers.set(name, handlers);
    }
    handlers.add(handler);
    return this;
  }

  off<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => void): this {
    this.#handlers.get(name)?.delete(handler);
    return this;
  }

  once<Name extends keyof Events>(name: Name, handler: (event: Events[Name]) => void): this {
    const single = (event: Events[Name]): void => {
      this.off(name, single);
      handler(event);
    };
    return this.on(name, single);
  }

  /** A handler that throws does not stop the others, nor the client: its error surfaces as an uncaught one. */
  protected emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const handlers = this.#handlers.get(name);
    if (handlers === undefined) return;
    for (const handler of [...handlers] as ((event: Events[Name]) => void)[]) {
      try {
        handler(event);
      } catch (error) {
        setTimeout(() => {
          throw error;
        }, 0);
      }
    }
  }
}

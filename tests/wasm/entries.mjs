// How Envoy enters the module: what a call that fails inside itself has to say waits in a queue until the module is left. An
// entry of the queue that finds the module entered queues itself again; a real worker then spins for ever, and the test fails.

export class Entries {
  #depth = 0;
  #queue = [];
  /** Whether a real worker would never answer again. */
  hung = false;

  /** Enters the module. May be called while it is entered, as by a reset. */
  enter(run) {
    this.#depth += 1;
    try {
      return run();
    } finally {
      this.#depth -= 1;
      this.#drain();
    }
  }

  /** A call has failed inside itself: this is said when the module is left. */
  defer(say) {
    this.#queue.push(say);
  }

  #drain() {
    while (this.#queue.length > 0) {
      if (this.#depth > 0) {
        this.hung = true;
        throw new Error('a worker of Envoy would spin for ever: a call failed inside itself, and then the module was entered again');
      }
      this.#queue.shift()();
    }
  }
}

// How Envoy enters the module: the notification of a call that fails within itself is queued until the module is left. An
// entry of the queue that finds the module entered queues itself again; a real worker then spins forever, and the test fails.

export class Entries {
  #depth = 0;
  #queue = [];
  /** Whether a real worker would spin forever. */
  hung = false;

  /** Enters the module. A reset calls this while the module is entered. */
  enter(callback) {
    this.#depth += 1;
    try {
      return callback();
    } finally {
      this.#depth -= 1;
      this.#drain();
    }
  }

  /** A call has failed within itself: the notification follows when the module is left. */
  defer(notify) {
    this.#queue.push(notify);
  }

  #drain() {
    while (this.#queue.length > 0) {
      if (this.#depth > 0) {
        this.hung = true;
        throw new Error('an Envoy worker would spin forever: a call failed within itself, and then the module was entered again');
      }
      this.#queue.shift()();
    }
  }
}

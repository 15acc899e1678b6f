// What must be undone when the bench ends, however it ends; the newest first.

type Undo = () => Promise<unknown>;

export class Cleanup {
  readonly #undos: Undo[] = [];
  #running: Promise<void> | undefined;

  /** `undo` runs at the end; what is returned takes it off the list again. */
  add(undo: Undo): () => void {
    this.#undos.push(undo);
    return () => {
      const at = this.#undos.lastIndexOf(undo);
      if (at >= 0) this.#undos.splice(at, 1);
    };
  }

  /** Undoes everything; a failure is reported and the rest still undone. Running it twice is running it once. */
  run(): Promise<void> {
    this.#running ??= this.#undoAll();
    return this.#running;
  }

  async #undoAll(): Promise<void> {
    for (let undo = this.#undos.pop(); undo !== undefined; undo = this.#undos.pop()) {
      await undo().catch((error: unknown) => console.error(`cleaning up: ${(error as Error).message}`));
    }
  }
}

// Which media were judged already: a crash state is what all copies hold when the power comes back, told apart by a digest
// of its bytes. Different choices of what survived often leave the same bytes; those are judged, and counted, once.

import type { Images } from "../sim/copies-scene.ts";

export class JudgedMedia {
  /** For each state the latest promise it was held to. */
  readonly #promised = new Map<string, number>();

  /** Distinct states so far. */
  get distinct(): number {
    return this.#promised.size;
  }

  /** Notes the state; false when it was judged by the same promise, or one that asked for more. */
  wants(images: Images, promised: number): boolean {
    const name = images.map((image) => image?.digest().toString(36) ?? "-").join(" ");
    if ((this.#promised.get(name) ?? -1) >= promised) return false;
    this.#promised.set(name, promised);
    return true;
  }
}

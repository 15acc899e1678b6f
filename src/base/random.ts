// Randomness is injected: the system's for identities, a seeded generator for tests that must be repeatable.

import { randomFillSync } from "node:crypto";

export interface Random {
  /** `count` random bytes in a new array. */
  bytes(count: number): Uint8Array;
  /** A uniform integer, 0 ≤ n < bound ≤ 2^32. */
  below(bound: number): number;
}

export class SystemRandom implements Random {
  bytes(count: number): Uint8Array {
    return randomFillSync(new Uint8Array(count));
  }

  below(bound: number): number {
    const word = randomFillSync(new Uint32Array(1));
    return Math.floor(((word[0] ?? 0) / 0x1_0000_0000) * bound);
  }
}

/** xorshift128 (Marsaglia, 2003): small, repeatable, good enough to shuffle faults. Never for identities. */
export class SeededRandom implements Random {
  readonly seed: number;
  readonly #state: Uint32Array;

  constructor(seed: number) {
    this.seed = seed;
    this.#state = Uint32Array.of(seed ^ 0x9e3779b9, seed + 0x7f4a7c15, (seed << 7) ^ 0x2545f491, ~seed);
    for (let i = 0; i < 16; i++) this.#next();
  }

  #next(): number {
    const s = this.#state;
    let t = s[3] as number;
    const first = s[0] as number;
    s[3] = s[2] as number;
    s[2] = s[1] as number;
    s[1] = first;
    t ^= t << 11;
    t ^= t >>> 8;
    s[0] = t ^ first ^ (first >>> 19);
    return s[0];
  }

  bytes(count: number): Uint8Array {
    const out = new Uint8Array(count);
    for (let i = 0; i < count; i++) out[i] = this.#next() & 0xff;
    return out;
  }

  below(bound: number): number {
    return Math.floor((this.#next() / 0x1_0000_0000) * bound);
  }
}

// One address of an export: whether it lives, how far away it is, and which of two is better.

import { formatAddress, type RemoteAddress } from "../target.ts";

/** So many round trips are remembered; the least of them counts, as a busy machine only ever adds to one. */
const REMEMBERED = 3;
/** Less of a difference is none: a busy machine makes as much. */
const NOTABLE_MS = 3;
const NOTABLE_FACTOR = 2;

export class Route {
  readonly address: RemoteAddress;
  readonly name: string;
  readonly order: number;
  /** How often it led to something else than our node, since it last led there. */
  blamed = 0;
  #roundTripsMs: number[] = [];

  constructor(address: RemoteAddress, order: number) {
    this.address = address;
    this.name = formatAddress(address);
    this.order = order;
  }

  /** It answered when it was last asked. */
  get lives(): boolean {
    return this.#roundTripsMs.length > 0;
  }

  get roundTripMs(): number {
    return Math.min(...this.#roundTripsMs);
  }

  answered(roundTripMs: number): void {
    this.#roundTripsMs = [...this.#roundTripsMs, roundTripMs].slice(-REMEMBERED);
  }

  failed(): void {
    this.#roundTripsMs = [];
  }
}

/** Nearer by a notable amount; else before the other in the order given. One that led astray comes after all others. */
export function isBetter(a: Route, b: Route): boolean {
  if (a.lives !== b.lives) return a.lives;
  if (a.blamed !== b.blamed) return a.blamed < b.blamed;
  if (isNearer(a, b)) return true;
  return !isNearer(b, a) && a.order < b.order;
}

const isNearer = (a: Route, b: Route): boolean =>
  a.roundTripMs * NOTABLE_FACTOR < b.roundTripMs && b.roundTripMs - a.roundTripMs > NOTABLE_MS;

// Whether programs that list directories go on to ask about what they found. The kernel wants attributes with the first part
// of every listing, whoever reads it; with later parts only if somebody looked at entries of an earlier one. Attributes that must
// first be read from media make a plain listing several times slower, and asked for one by one they take longer still. So
// they are left out of first parts until the habit shows.

import type { AttributesWanted } from "../../posix/requests.ts";

/** First parts with all attributes after a sign that they are used; then one is left without, to see whether they still are. */
const FULL_LISTINGS = 32;

export class ListingHabit {
  #fullListings = 0;
  #leftOut = false;

  /** What a part of a listing that begins at `offset` gets, when the kernel takes attributes with it or not. */
  wanted(offset: number, takesAttributes: boolean): AttributesWanted {
    if (offset > 0) this.#learn(takesAttributes);
    if (!takesAttributes) return "none";
    if (this.#fullListings === 0) return "at-hand";
    if (offset === 0) this.#fullListings--;
    return "all";
  }

  /** Attributes were left out of a listing. */
  leftOut(): void {
    this.#leftOut = true;
  }

  /** True when looking up a name now would be a sign. A directory is none: it is looked up to be listed. */
  get isWatching(): boolean {
    return this.#leftOut;
  }

  /** What `isWatching` waited for. */
  lookedUp(): void {
    this.#learn(true);
  }

  #learn(used: boolean): void {
    this.#leftOut = false;
    this.#fullListings = used ? FULL_LISTINGS : 0;
  }
}

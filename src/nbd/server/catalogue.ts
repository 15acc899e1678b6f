// The exports of a server, as each visitor sees them: what somebody may not use does not exist for them.

import type { AllowList } from "./allow-list.ts";
import type { Export } from "./export.ts";
import type { Visitor } from "./visitor.ts";

export class Catalogue {
  readonly exports: readonly Export[];
  readonly #allowList: AllowList;

  constructor(exports: readonly Export[], allowList: AllowList) {
    this.exports = exports;
    this.#allowList = allowList;
  }

  /** Whether somebody from that address may use anything at all. */
  admits(visitor: Visitor): boolean {
    return this.exports.some(({ name }) => this.#allowList.allowsAddress(visitor, name));
  }

  visibleTo(visitor: Visitor): Export[] {
    return this.exports.filter(({ name }) => this.#allowList.allows(visitor, name));
  }

  /** The empty name means the only one there is. */
  find(name: string, visitor: Visitor): Export | undefined {
    const visible = this.visibleTo(visitor);
    return name === "" && visible.length === 1 ? visible[0] : visible.find((candidate) => candidate.name === name);
  }
}

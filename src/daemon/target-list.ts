// Where the copies of a mounted volume are now: what another worker has to open, and what is not free to be mounted
// elsewhere. Copies come, go and move while the volume is mounted, so this is not what the mount command was given.

import type { Volume } from "../volume/volume.ts";
import { rootLastSeen } from "../format/root-members.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { splitRow } from "../nbd/target.ts";

/** A target that was given but is not here. */
interface AbsentTarget {
  readonly target: string;
  /** The missing copy that was last seen there, if the volume knows. */
  readonly index: number | undefined;
}

export class TargetList {
  readonly #volume: Volume;
  readonly #given: ReadonlySet<string>;
  readonly #absent: readonly AbsentTarget[];

  /** `given`: what the volume was opened from just now. */
  constructor(volume: Volume, given: readonly string[]) {
    this.#volume = volume;
    this.#given = new Set(given);
    const here = new Set(volume.copies.copies.flatMap(({ name, targets }) => [name, ...targets]));
    this.#absent = given
      .filter((target) => !here.has(target) && !splitRow(target).some((node) => here.has(node)))
      .map((target) => ({ target, index: this.#missing.find((index) => this.#wasLastAt(index, target)) }));
  }

  /** Members that are not at hand. */
  get #missing(): number[] {
    const { members, copies } = this.#volume;
    const bits = members.all & ~copies.mask;
    return Array.from({ length: COPIES_MAX }, (_, index) => index).filter((index) => (bits & (1 << index)) !== 0);
  }

  #wasLastAt(index: number, target: string): boolean {
    const hint = rootLastSeen(this.#volume.rootImage.view, index)?.target ?? "";
    // Of a long path the root keeps the end only.
    return hint.startsWith("…") ? target.endsWith(hint.slice(1)) : hint === target;
  }

  /** Each target once. A target that is not here stays as long as the copy that may be on it is a member and missing. */
  current(): string[] {
    const missing = this.#missing;
    const absent = this.#absent
      .filter(({ index }) => (index === undefined ? missing.length > 0 : missing.includes(index)))
      .map(({ target }) => target);
    const here = this.#volume.copies.copies.filter((copy) => this.#isDurable(copy)).map(({ name }) => name);
    return [...new Set([...here, ...absent])];
  }

  /** A member in a root on media: one that is being attached is a stranger to whoever opens the volume now. */
  #isDurable({ index, name }: { readonly index: number; readonly name: string }): boolean {
    return this.#given.has(name) || (rootLastSeen(this.#volume.rootImage.view, index)?.sequence ?? 0) > 0;
  }
}

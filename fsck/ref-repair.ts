// Which repair a fault in a blockref gets. A block with a good copy but no place on another is copied to a new place
// everywhere; what breaks the rules of a run bruises the block it is in.

import { refKey, refLevel } from "../src/format/blockref.ts";
import type { WalkNode } from "../src/walk/tree.ts";
import type { Fault } from "../src/walk/verify.ts";
import { Bruise, placeOf } from "./bruise.ts";
import { act, type BruiseRepair, type Repair } from "./repair-plan.ts";

export class RefRepairs {
  /** By the view of the block, which all refs in it share. */
  readonly #bruises = new Map<DataView, Bruise>();
  /** The last ref whose block gets places of its own: told once for each copy, done once. */
  #moved: { readonly node: WalkNode; readonly repair: Repair | undefined } | undefined;

  /** The bruise of the block behind `view`, which `holder` names. */
  bruise(holder: WalkNode, view: DataView): Bruise {
    let bruise = this.#bruises.get(view);
    if (bruise === undefined) this.#bruises.set(view, (bruise = new Bruise(holder, view)));
    return bruise;
  }

  /** The ref of `node` goes. */
  drop(node: WalkNode): BruiseRepair | undefined {
    if (node.parent === undefined) return undefined;
    const bruise = this.bruise(node.parent, node.view);
    bruise.drop(node.at);
    return { kind: "bruise", bruise };
  }

  /** Undefined for what can't be repaired, and for blocks that are bad where they should be. */
  of({ rule, tree, node, found, copy, sharing }: Fault): Repair | undefined {
    if (found !== undefined) {
      const { run, at } = found;
      if (rule === "pointer-null") return move({ tree, level: refLevel(run.view, at), key: refKey(run.view, at) });
      if (tree.kind === "super-root" && run.parent === undefined) return { kind: "super-root", run };
      return run.parent && { kind: "bruise", bruise: this.bruise(run.parent, run.view) };
    }
    if (node === undefined) return undefined;
    if (rule === "mirror-tid" || rule === "missing-mask") return move(node);
    if (rule !== "block-shared") return undefined;
    if (sharing === "right") return this.#move(node);
    if (sharing === "unknown" || node.parent === undefined) return undefined;
    const bruise = this.bruise(node.parent, node.view);
    bruise.forget(node.at, copy);
    return { kind: "bruise", bruise };
  }

  #move(node: WalkNode): Repair | undefined {
    if (this.#moved?.node !== node) this.#moved = { node, repair: move(node) };
    return this.#moved.repair;
  }
}

function move(node: Pick<WalkNode, "tree" | "level" | "key">): Repair | undefined {
  const place = placeOf(node);
  if (place !== undefined) return act({ kind: "relocate", place });
  // A PFS gets a new place whenever it is changed.
  return node.tree.kind === "super-root" ? act({ kind: "pfs" }) : undefined;
}

// The slow way of a read: a copy did not give a block, or gave one that is not what the parent remembers. Every other
// copy is asked; what verifies is handed out and written over the bad ones.
// Invariant I5: never return bytes whose check failed; repair only from a verified block, and read it back.

import { type CheckType, checkMatches } from "../format/check.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import type { BlockRead } from "./block-io.ts";
import { asDeviceError, type Copy } from "./copy.ts";
import { type BadPlace, CorruptBlockError } from "./errors.ts";

interface Bad {
  readonly copy: Copy;
  readonly place: BadPlace;
  /** False when the pointer itself is nonsense: nothing may be written there. */
  readonly repairable: boolean;
}

/** What became of a block looked at on every copy. */
export interface Mended {
  readonly bad: number;
  readonly repaired: number;
  /** No copy had it. */
  readonly lost: boolean;
}

/** True when the bytes of the request's target are the block its parent remembers. */
export function verifies(request: BlockRead): boolean {
  const { check } = request;
  const view = new DataView(check.buffer, check.byteOffset, check.length);
  return checkMatches(request.checkType as CheckType, request.target, view, 0);
}

export class Recovery {
  readonly #copies: readonly (Copy | undefined)[];
  /** Repairs under way by place, so that two readers of one bad block repair it once. */
  readonly #repairs = new Map<number, Promise<boolean>>();

  /** `copies` by index. */
  constructor(copies: readonly (Copy | undefined)[]) {
    this.#copies = copies;
  }

  /** Notes that a copy failed to give a block. */
  blame(copy: Copy, request: BlockRead, reason: string, isReadError: boolean, repairable = true): Bad {
    if (isReadError) copy.errors.read++;
    else copy.errors.checksum++;
    const kib = request.pointers[copy.index] as number;
    return { copy, place: { copyIndex: copy.index, copyName: copy.name, kib, reason }, repairable };
  }

  /**
   * Serves `request` from any copy but `known` (which failed already), repairs if allowed, and only then resolves:
   * whoever waits may take it that no I/O is left on the places of this block.
   */
  async recover(request: BlockRead, known: Bad | undefined, mayRepair: boolean): Promise<void> {
    const bad: Bad[] = known === undefined ? [] : [known];
    for (let index = 0; index < COPIES_MAX; index++) {
      const copy = this.#copies[index];
      if (copy === undefined || copy === known?.copy || request.pointers[index] === 0 || !mayAsk(copy)) continue;
      const failed = await this.#attempt(copy, request);
      if (failed !== undefined) {
        bad.push(failed);
        continue;
      }
      if (mayRepair) await Promise.all(bad.map((one) => this.#repair(one, request.target)));
      return;
    }
    request.target.fill(0);
    request.error = new CorruptBlockError(
      request.target.length,
      bad.map((one) => one.place),
    );
  }

  /**
   * Reads `request` from each of `copies` for itself and writes what verifies over what does not. Tells how many of them had
   * it bad, how many of those were repaired, and whether any had it good.
   */
  async mend(request: BlockRead, copies: readonly Copy[]): Promise<Mended> {
    const bad: Bad[] = [];
    let verified: Uint8Array | undefined;
    for (const copy of copies) {
      if (request.pointers[copy.index] === 0) continue;
      const own = { ...request, target: new Uint8Array(request.target.length) };
      const failed = await this.#attempt(copy, own);
      if (failed === undefined) verified ??= own.target;
      else bad.push(failed);
    }
    if (verified === undefined) return { bad: bad.length, repaired: 0, lost: true };
    let repaired = 0;
    for (const one of bad) if (await this.#repair(one, verified)) repaired++;
    return { bad: bad.length, repaired, lost: false };
  }

  async #attempt(copy: Copy, request: BlockRead): Promise<Bad | undefined> {
    const kib = request.pointers[copy.index] as number;
    const refusal = copy.placeRefusal(kib, request.target.length);
    if (refusal !== undefined) return this.blame(copy, request, refusal, false, false);
    try {
      await copy.device.read(kib * KIB, [request.target]);
    } catch (error) {
      return this.blame(copy, request, asDeviceError(copy.name, "read", kib * KIB, error).code, true);
    }
    return verifies(request) ? undefined : this.blame(copy, request, "check code does not match", false);
  }

  /** True when the place is good now. */
  async #repair({ copy, place, repairable }: Bad, verified: Uint8Array): Promise<boolean> {
    if (!repairable || copy.failure !== undefined || !copy.active || copy.untrusted) return false;
    const key = place.kib * COPIES_MAX + copy.index;
    let repair = this.#repairs.get(key);
    if (repair === undefined) {
      repair = rewrite(copy, place.kib * KIB, verified).finally(() => this.#repairs.delete(key));
      this.#repairs.set(key, repair);
    }
    return repair;
  }
}

/** A copy dropped after an error, or leaving, may still hold what is asked for; one taken offline is left alone. */
function mayAsk(copy: Copy): boolean {
  if (copy.active) return true;
  if (copy.released || copy.failure?.code === "ETIMEDOUT") return false;
  return copy.standing === "faulted" || copy.standing === "leaving";
}

/** A repair that fails is counted and changes nothing else: the block is as bad as it was. */
async function rewrite(copy: Copy, offsetBytes: number, verified: Uint8Array): Promise<boolean> {
  try {
    await copy.device.write(offsetBytes, [verified]);
  } catch {
    copy.errors.write++;
    return false;
  }
  const back = new Uint8Array(verified.length);
  try {
    await copy.device.read(offsetBytes, [back]);
  } catch {
    copy.errors.read++;
    return false;
  }
  const good = Buffer.compare(back, verified) === 0;
  if (good) copy.repaired++;
  else copy.errors.checksum++;
  return good;
}

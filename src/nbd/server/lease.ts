// Who may use an export: one writer, which may be an owner with several connections, or any number of readers (I11).
// An owner that lost its connections finds its lease as it left it, and no request of an old connection is still under way when
// the new one in its place begins. Each lease has a number, by which an owner that was away knows that nobody else had the export
// meanwhile. A record of it outlives the server. docs/network.md tells clients about it.

import type { Clock, Timer } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import { FIRST_SLOT } from "../wire/lease-context.ts";
import type { LeaseRecord } from "./lease-record.ts";

/**
 * What a connection wants of an export. `owner` includes the identity that the client proved, if it did; `lease` is the number it was
 * told before it claimed.
 */
export type Claim =
  | { readonly kind: "reader" }
  | { readonly kind: "writer" }
  | { readonly kind: "owner"; readonly owner: string; readonly slot: number; readonly lease: number };

/** A connection, as the lease sees it. */
export interface Holder {
  /** For people: who it is. */
  readonly label: string;
  /** Takes no more requests. It leaves when those under way are over. */
  cut(): void;
}

export interface Admission {
  /** Resolves when every request of the connections it takes the place of is over. */
  readonly ready: Promise<void>;
  /** The connection is over, and so is each of its requests. `inOrder`: the client said that it was leaving. */
  leave(inOrder: boolean): void;
}

/** The export is somebody else's. The message is for the client. */
export class LeaseRefused extends Error {
  override readonly name = "LeaseRefused";
}

interface Entry {
  readonly holder: Holder;
  readonly slot: number;
  readonly left: Promise<void>;
  /** Another connection took its place. */
  isReplaced: boolean;
}

interface Writer {
  readonly owner: string | undefined;
  readonly number: number;
  readonly label: string;
  readonly entries: Set<Entry>;
  leftInOrder: boolean;
  timer: Timer | undefined;
}

/** Numbers of leases are below 2^32, and other ones after a restart, unless there is a record. */
const NUMBERS_BEGIN_BELOW = 0x8000_0000;

export interface LeaseOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** How long the lease of an owner is kept after its last connection broke. */
  readonly keepMs: number;
  readonly record: LeaseRecord;
}

export class Lease {
  readonly #clock: Clock;
  readonly #keepMs: number;
  readonly #record: LeaseRecord;
  readonly #readers = new Set<Holder>();
  #writer: Writer | undefined;
  /** Its lease is over, but nobody else wrote since: who comes back first may go on with it. */
  #former: Writer | undefined;
  /** The last number that anybody was told, and the last that became one of a lease. */
  #toldNumber: number;
  #usedNumber = 0;

  constructor({ clock, random, keepMs, record }: LeaseOptions) {
    this.#clock = clock;
    this.#keepMs = keepMs;
    this.#record = record;
    const kept = record.read();
    this.#toldNumber = kept?.number ?? random.below(NUMBERS_BEGIN_BELOW);
    if (kept === undefined) return;
    // Its connections broke with the server before this one.
    this.#usedNumber = kept.number;
    this.#writer = { ...kept, entries: new Set(), leftInOrder: false, timer: undefined };
    this.#endOrKeep(this.#writer);
  }

  /** Somebody writes, or may come back to. */
  get isHeld(): boolean {
    return this.#writer !== undefined;
  }

  /** This owner writes, or may come back to. */
  isHeldBy(owner: string): boolean {
    return this.#writer?.owner === owner;
  }

  /** The number of the lease that an owner gets if it claims now: as before, as long as nobody else wrote in between. Never 0. */
  numberFor(owner: string): number {
    return this.#leaseOf(owner)?.number ?? ++this.#toldNumber;
  }

  #leaseOf(owner: string | undefined): Writer | undefined {
    return [this.#writer, this.#former].find((writer) => writer !== undefined && writer.owner === owner);
  }

  /** What any owner had written may be gone, or another's by now: whoever comes next gets another number. */
  revoke(): void {
    this.#writer?.timer?.cancel();
    this.#writer = this.#former = undefined;
  }

  /** Lets a connection in, or throws LeaseRefused. It is in at once, but not to use the export before it is ready. */
  claim(claim: Claim, holder: Holder): Admission {
    if (claim.kind === "reader") return this.#admitReader(holder);
    const [reader] = this.#readers;
    if (reader !== undefined)
      throw new LeaseRefused(`is being read by ${reader.label}, and a writer would need it alone`);
    const owner = claim.kind === "owner" ? claim.owner : undefined;
    const slot = claim.kind === "owner" ? claim.slot : FIRST_SLOT;
    this.#refuseOthers(owner);
    const writer = this.#lend(claim.kind === "owner" ? claim : undefined, holder);
    writer.timer?.cancel();
    writer.timer = undefined;
    this.#writer = writer;
    this.#former = undefined;
    return this.#admitWriter(writer, slot, holder);
  }

  /** The lease that goes on, or a new one. Throws when it would be another one than the owner was told. */
  #lend(claim: { readonly owner: string; readonly lease: number } | undefined, { label }: Holder): Writer {
    const known = claim === undefined ? undefined : this.#leaseOf(claim.owner);
    const number = claim?.lease ?? ++this.#toldNumber;
    if (known === undefined ? number <= this.#usedNumber : number !== known.number)
      throw new LeaseRefused("was somebody else's just now; ask once more");
    this.#usedNumber = Math.max(number, this.#usedNumber);
    if (known !== undefined) return known;
    this.#note(claim?.owner, number, label);
    return { owner: claim?.owner, number, label, entries: new Set(), leftInOrder: false, timer: undefined };
  }

  /** Before the new writer can write: after a restart nobody else is to be taken for the last one. */
  #note(owner: string | undefined, number: number, label: string): void {
    try {
      if (owner === undefined) this.#record.forget();
      else this.#record.keep({ owner, number, label });
    } catch (error) {
      const { code = "unknown error" } = error as NodeJS.ErrnoException;
      throw new LeaseRefused(`can't be lent: no record of that can be kept (${code})`);
    }
  }

  #admitReader(holder: Holder): Admission {
    this.#refuseOthers(undefined);
    this.#readers.add(holder);
    return { ready: Promise.resolve(), leave: () => void this.#readers.delete(holder) };
  }

  #refuseOthers(owner: string | undefined): void {
    const writer = this.#writer;
    if (writer === undefined || (owner !== undefined && writer.owner === owner)) return;
    const [entry] = writer.entries;
    if (entry !== undefined)
      throw new LeaseRefused(`is in use by ${entry.holder.label}; one client at a time may write`);
    throw new LeaseRefused(
      `is kept for ${writer.label}, whose connection broke; it is free ${this.#keepMs / 1000} s after that at the latest`,
    );
  }

  #admitWriter(writer: Writer, slot: number, holder: Holder): Admission {
    // The first connection of a client that has begun anew, or lost all it had: what it asked for by others is over as well.
    const replaced = [...writer.entries].filter((entry) => slot === FIRST_SLOT || entry.slot === slot);
    let hasLeft = (): void => undefined;
    const left = new Promise<void>((resolve) => (hasLeft = resolve));
    const entry: Entry = { holder, slot, left, isReplaced: false };
    writer.entries.add(entry);
    for (const old of replaced) {
      old.isReplaced = true;
      old.holder.cut();
    }
    const ready = Promise.all(replaced.map((old) => old.left)).then(() => undefined);
    return {
      ready,
      leave: (inOrder) => {
        if (!writer.entries.delete(entry)) return;
        if (!entry.isReplaced) writer.leftInOrder = inOrder;
        hasLeft();
        if (writer.entries.size === 0) this.#endOrKeep(writer);
      },
    };
  }

  #endOrKeep(writer: Writer): void {
    const end = (): void => {
      if (this.#writer !== writer) return;
      this.#writer = undefined;
      if (writer.owner === undefined) return;
      if (!writer.leftInOrder) this.#former = writer;
      else this.#record.forget();
    };
    if (writer.owner === undefined || writer.leftInOrder || this.#keepMs <= 0) end();
    else writer.timer = this.#clock.after(this.#keepMs, end);
  }
}

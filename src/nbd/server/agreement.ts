// What negotiation works with and comes to: the surroundings of one connection, what its client has agreed on so far, and an
// export that was opened for it.

import type { BlockDevice } from "../../device/device.ts";
import type { ByteSink } from "../wire/byte-sink.ts";
import type { ByteSource } from "../wire/byte-source.ts";
import type { LeaseContext } from "../wire/lease-context.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Export } from "./export.ts";
import type { Admission, Holder } from "./lease.ts";
import type { Visitor } from "./visitor.ts";

/** Whether TLS is to be had, and must be had before anything else; or has begun. */
export type TlsState = "none" | "allowed" | "required" | "begun";

export interface Negotiation {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  readonly catalogue: Catalogue;
  readonly visitor: Visitor;
  readonly holder: Holder;
  readonly tls: TlsState;
  /** The client asked to be spared 124 zeroes. */
  readonly noZeroes: boolean;
  /** Rejects with NbdClosedError when the connection ends, whoever ended it. */
  readonly gone: Promise<never>;
  /** The server has room for one more connection with an open export. */
  readonly hasRoom: () => boolean;
  /** Everything is closing down; no export is opened any more. */
  readonly isDraining: () => boolean;
  /** Told of every admission; whoever made the connection leaves with it. */
  readonly admitted: (admission: Admission) => void;
  readonly log: (line: string) => void;
}

/** What a client has agreed on so far. */
export interface Agreed {
  structured: boolean;
  contexts: SelectedContexts | undefined;
}

export interface SelectedContext {
  /** Of the context of an owner, the number of its lease. */
  readonly id: number;
  readonly name: string;
  /** Undefined in base:allocation. */
  readonly lease: LeaseContext | undefined;
}

export interface SelectedContexts {
  readonly exportName: string;
  readonly selected: readonly SelectedContext[];
}

/** An export opened for one connection. */
export interface OpenExport {
  readonly export: Export;
  /** That of the export when it was opened; the export may get another one. */
  readonly device: BlockDevice;
  /** Flushes of the export that had failed then. */
  readonly flushFailures: number;
  readonly readOnly: boolean;
  readonly structured: boolean;
  readonly contexts: readonly SelectedContext[];
  readonly flags: number;
  readonly admission: Admission;
}

/** A reply that says no. */
export interface Refusal {
  /** OptionReply.ERR_… */
  readonly type: number;
  readonly message: string;
}

/** Sends a reply to the option at hand. */
export type Reply = (type: number, payload?: Uint8Array) => void;

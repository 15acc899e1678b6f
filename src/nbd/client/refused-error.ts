// A server that speaks NBD and says no.

export type RefusedKind =
  | "no-export"
  | "no-tls"
  | "tls-needed"
  | "tls-failed"
  | "unsupported"
  | "shutting-down"
  | "in-use"
  | "refused"
  | "another-node";

/** The connection works, what was asked for is not to be had over it. `message` is one line for people. */
export class NbdRefusedError extends Error {
  override readonly name = "NbdRefusedError";
  readonly kind: RefusedKind;

  constructor(kind: RefusedKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

// Who is at the other end of a connection, as far as it has been proved.

import { toHex } from "../../base/uuid.ts";
import { sha256 } from "../../format/check.ts";

export interface Visitor {
  /** Number of the connection, for the log. */
  readonly number: number;
  /** IP address; undefined on a unix socket, whose file says who may connect. */
  readonly address: string | undefined;
  /** What the client proved by its key: the PSK identity, or the common name of its certificate. */
  readonly identity: string | undefined;
}

/**
 * By what a lease knows the owner with this token: together with the identity, where clients prove one, since nobody takes over the
 * lease of an owner by its token alone. Nobody learns the token from it.
 */
export function ownerOf(token: string, { identity }: Visitor): string {
  return toHex(sha256(Buffer.from(`${token} ${identity ?? ""}`)));
}

/** Names a visitor for people: 192.0.2.7 (alice), or client 3. */
export function labelOf({ number, address, identity }: Visitor): string {
  return `${address ?? `client ${number}`}${identity === undefined ? "" : ` (${printable(identity)})`}`;
}

/** Text of others, fit for a line of the log and for a terminal. */
function printable(text: string): string {
  return text.slice(0, 200).replaceAll(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, "?");
}

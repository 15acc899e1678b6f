// How a client tells an h2ts export who it is: as a meta context of the namespace "h2ts", asked for with SET_META_CONTEXT
// before GO. Other servers select no context they do not know, so the question is harmless everywhere, and a client sees from
// the answer whether its lease is kept. docs/network.md says what the server does with it.

/**
 * `owner`: the same for all connections of one client, known to nobody else. `slot`: which of its connections this is; a new one
 * takes the place of the old one in the same slot, one in the first slot that of all. `reader`: it will only read, and wants no lease.
 */
export type LeaseContext =
  | { readonly kind: "owner"; readonly owner: string; readonly slot: number }
  | { readonly kind: "reader" };

export const LEASE_NAMESPACE = "h2ts:";
const OWNER_MIN_CHARS = 16;
const OWNER_MAX_CHARS = 64;
/** A client that has no other connection, or gave them all up, connects here. */
export const FIRST_SLOT = 0;
/** Slots are 0 … this number. */
export const SLOT_MAX = 15;

const OWNER = new RegExp(`^owner=([0-9A-Za-z-]{${OWNER_MIN_CHARS},${OWNER_MAX_CHARS}})/(\\d{1,2})$`);

/** Name of the meta context to ask for. */
export function encodeLeaseContext(context: LeaseContext): string {
  return `${LEASE_NAMESPACE}${context.kind === "reader" ? "reader" : `owner=${context.owner}/${context.slot}`}`;
}

/** What a name of the namespace says; undefined when it says nothing that we know. */
export function decodeLeaseContext(name: string): LeaseContext | undefined {
  if (!name.startsWith(LEASE_NAMESPACE)) return undefined;
  const rest = name.slice(LEASE_NAMESPACE.length);
  if (rest === "reader") return { kind: "reader" };
  const [, owner, slot] = OWNER.exec(rest) ?? [];
  if (owner === undefined || Number(slot) > SLOT_MAX) return undefined;
  return { kind: "owner", owner, slot: Number(slot) };
}

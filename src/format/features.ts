// Feature flags, as ext4 and ZFS have them: a later part of the format sets a bit, and an older program knows from the
// class of the bit whether it may write, only read, or must keep away.

/** The version of the layout itself. A change that no feature bit can describe raises it. */
export const FORMAT_VERSION = 1;

export interface Features {
  /** Unknown bits here are harmless. */
  readonly compat: number;
  /** Unknown bits here allow reading only. */
  readonly roCompat: number;
  /** Unknown bits here forbid any use. */
  readonly incompat: number;
}

/** Bits of `roCompat`. */
export const RoCompat = {
  /** Some file data may be on fewer copies than there are: set when copies=K is first given to anything. */
  NARROW_DATA: 0x01,
} as const;

/** What a new volume says of itself, and every node header: no feature is in use. */
export const NO_FEATURES: Features = Object.freeze({ compat: 0, roCompat: 0, incompat: 0 });

/** What this program knows; each later part of the format adds its bit here. */
export const KNOWN_FEATURES: Features = Object.freeze({ compat: 0, roCompat: RoCompat.NARROW_DATA, incompat: 0 });

export type Mountability =
  | { readonly kind: "read-write" }
  | { readonly kind: "read-only"; readonly reason: string }
  | { readonly kind: "refuse"; readonly reason: string };

/** Decides what may be done with a volume of this version and these features, and says why in one clear line. */
export function mountability(formatVersion: number, features: Features): Mountability {
  if (formatVersion !== FORMAT_VERSION) {
    return {
      kind: "refuse",
      reason: `format version ${formatVersion} is not known here (only ${FORMAT_VERSION} is); use a newer h2ts`,
    };
  }
  const forbidding = unknownBits(features.incompat, KNOWN_FEATURES.incompat);
  if (forbidding !== undefined) {
    return { kind: "refuse", reason: `unknown incompatible features (${forbidding}); use a newer h2ts` };
  }
  const limiting = unknownBits(features.roCompat, KNOWN_FEATURES.roCompat);
  if (limiting !== undefined) {
    return {
      kind: "read-only",
      reason: `unknown features allow reading only (${limiting}); use a newer h2ts to write`,
    };
  }
  return { kind: "read-write" };
}

function unknownBits(found: number, known: number): string | undefined {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const mask = 2 ** bit;
    if (Math.floor(found / mask) % 2 === 1 && Math.floor(known / mask) % 2 === 0) names.push(`bit ${bit}`);
  }
  return names.length === 0 ? undefined : names.join(", ");
}

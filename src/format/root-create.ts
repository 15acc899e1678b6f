// The first root image of a new volume.

import type { Uuid } from "../base/uuid.ts";
import { FORMAT_VERSION } from "./features.ts";
import { LABEL_BYTES } from "./node-header.ts";
import { ROOT_BLOCK, ROOT_BYTES, ROOT_MAGIC, setRootCopyCount, setRootInSync } from "./root-block.ts";
import { beginRootEpoch } from "./root-history.ts";
import { offsetOf } from "./structure.ts";
import { encodeText } from "./text.ts";

export interface RootIdentity {
  readonly volumeUuid: Uuid;
  readonly label: string;
  readonly epoch: Uuid;
  readonly copyCount: number;
  readonly minCopies: number;
  readonly checkType: number;
}

/** A root image for a new volume: all copies in sync, no trees yet, no version or sequence. */
export function createRootImage(identity: RootIdentity): Uint8Array {
  const image = new Uint8Array(ROOT_BYTES);
  const v = new DataView(image.buffer);
  image.set(new TextEncoder().encode(ROOT_MAGIC), offsetOf(ROOT_BLOCK, "magic"));
  v.setUint32(offsetOf(ROOT_BLOCK, "formatVersion"), FORMAT_VERSION, true);
  image.set(identity.volumeUuid, offsetOf(ROOT_BLOCK, "volumeUuid"));
  encodeText(identity.label, image, offsetOf(ROOT_BLOCK, "label"), LABEL_BYTES, "label");
  beginRootEpoch(v, identity.epoch);
  setRootInSync(v, 2 ** identity.copyCount - 1);
  setRootCopyCount(v, identity.copyCount, identity.minCopies);
  v.setUint8(offsetOf(ROOT_BLOCK, "checkType"), identity.checkType);
  return image;
}

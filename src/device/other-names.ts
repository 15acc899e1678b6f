// To the system an image file, a loop device on it, the partitions of that and loop devices on those are different devices, each with
// locks of its own; they are one place all the same (I11). Here are the other names of a place. Asked are the kernel's lists, and
// filesystems that whoever opens the place waits for anyway: a loop device on a file of another one, which may hang, is not this place.

import { readdir, readFile, realpath, stat } from "node:fs/promises";
import { encodeDevice } from "../base/device-number.ts";
import { mountedFileSystems } from "../base/mounted-filesystems.ts";
import { deviceIdentity } from "./identity.ts";

const SECTOR_BYTES = 512;

export interface OtherName {
  readonly path: string;
  readonly isBlock: boolean;
  /** It has no bytes but those of the place asked about. */
  readonly isWithin: boolean;
}

/** A loop device, or a partition of one: a stretch of what it lies on. */
interface Piece {
  readonly path: string;
  readonly identity: string;
  readonly base: { readonly path: string; readonly identity?: string };
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/** A stretch of what lies on nothing else. */
interface Place {
  readonly path: string;
  readonly identity: string;
  readonly startBytes: number;
  readonly endBytes: number;
}

/** Under which other names there is a part of the device at `path`, which has this identity. Where nothing can be read there are none. */
export async function otherNames(path: string, identity: string): Promise<OtherName[]> {
  const pieces = await loopPieces();
  if (pieces.length === 0) return [];
  const lies = new Map(pieces.map((piece) => [piece.identity, piece]));
  const own = await placeOf({ path, identity, startBytes: 0, endBytes: Infinity }, lies, () => true);
  if (own === undefined) return [];
  const filesystemOf = filesystems();
  const near = new Set([filesystemOf("/dev"), filesystemOf(await realpath(own.path).catch(() => own.path))]);
  const isNear = (base: string): boolean => near.has(filesystemOf(base));
  const isWithin = own.identity === identity;
  const others: OtherName[] = isWithin ? [] : [{ path: own.path, isBlock: own.identity.startsWith("block"), isWithin }];
  for (const piece of pieces) {
    if (piece.identity === identity) continue;
    const place = await placeOf({ ...piece, startBytes: 0, endBytes: piece.sizeBytes }, lies, isNear);
    if (place === undefined || place.identity !== own.identity) continue;
    if (place.startBytes < own.endBytes && own.startBytes < place.endBytes)
      others.push({ path: piece.path, isBlock: true, isWithin });
  }
  return others;
}

/** Where a stretch of a device lies in the end; undefined where it can't be followed, or may not be asked. */
async function placeOf(
  place: Place,
  lies: ReadonlyMap<string, Piece>,
  mayAsk: (path: string) => boolean,
): Promise<Place | undefined> {
  const piece = lies.get(place.identity);
  if (piece === undefined) return place;
  const { base, startBytes, sizeBytes } = piece;
  const identity = base.identity ?? (mayAsk(base.path) ? await identityAt(base.path) : undefined);
  if (identity === undefined) return undefined;
  const below = {
    path: base.path,
    identity,
    startBytes: startBytes + place.startBytes,
    endBytes: startBytes + Math.min(place.endBytes, sizeBytes),
  };
  return placeOf(below, lies, mayAsk);
}

async function loopPieces(): Promise<Piece[]> {
  const names = (await list("/sys/block")).filter((name) => name.startsWith("loop"));
  return (await Promise.all(names.map(piecesOf))).flat();
}

/** A loop device and its partitions; nothing while it lies on nothing. */
async function piecesOf(name: string): Promise<Piece[]> {
  const folder = `/sys/block/${name}`;
  const backing = await text(`${folder}/loop/backing_file`);
  const identity = await blockIdentity(folder);
  if (backing === undefined || identity === undefined) return [];
  const path = `/dev/${name}`;
  const sizeBytes = SECTOR_BYTES * (await number(`${folder}/size`));
  const startBytes = await number(`${folder}/loop/offset`);
  const pieces: Piece[] = [{ path, identity, base: { path: backing }, startBytes, sizeBytes }];
  for (const part of (await list(folder)).filter((each) => each.startsWith(`${name}p`))) {
    const own = await blockIdentity(`${folder}/${part}`);
    if (own === undefined) continue;
    pieces.push({
      path: `/dev/${part}`,
      identity: own,
      base: { path, identity },
      startBytes: SECTOR_BYTES * (await number(`${folder}/${part}/start`)),
      sizeBytes: SECTOR_BYTES * (await number(`${folder}/${part}/size`)),
    });
  }
  return pieces;
}

/** Tells by a path which filesystem it is on, without asking that. */
function filesystems(): (path: string) => string | undefined {
  const mounts = mountedFileSystems();
  return (path) => {
    let found: { readonly directory: string; readonly device: string } | undefined;
    for (const { directory, device } of mounts) {
      const isOn = path === directory || path.startsWith(directory === "/" ? "/" : `${directory}/`);
      if (isOn && directory.length >= (found?.directory.length ?? 0)) found = { directory, device };
    }
    return found?.device;
  };
}

async function identityAt(path: string): Promise<string | undefined> {
  const stats = await stat(path, { bigint: true }).catch(() => undefined);
  return stats === undefined ? undefined : deviceIdentity(stats);
}

/** As `deviceIdentity` has it. */
async function blockIdentity(folder: string): Promise<string | undefined> {
  const [major, minor] = ((await text(`${folder}/dev`)) ?? "").split(":").map(Number);
  return major === undefined || minor === undefined ? undefined : `block ${encodeDevice(major, minor)}`;
}

const number = async (path: string): Promise<number> => Number((await text(path)) ?? 0);

/** A file of one line; undefined where there is none. */
async function text(path: string): Promise<string | undefined> {
  const read = await readFile(path, "utf8").catch(() => undefined);
  return read?.replace(/\n$/, "");
}

const list = (path: string): Promise<string[]> => readdir(path).catch(() => []);

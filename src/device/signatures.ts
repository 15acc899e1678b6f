// Recognises what lies on a target already, so that nobody overwrites a filesystem that somebody still wants.
// Own checks of the common formats come first and need no tool; blkid, where installed, knows the rare ones.

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { BlockDevice, DeviceExtent } from "./device.ts";
import { extentsOf } from "./sparse.ts";
import { fileExtents } from "./sparse-file.ts";
import { NODE_HEADER_MAGIC, NODE_HEADER_OFFSETS } from "../format/node-header.ts";

interface Magic {
  readonly format: string;
  readonly offsetBytes: number;
  /** Text is compared as Latin-1. */
  readonly magic: string;
}

const MAGICS: readonly Magic[] = [
  { format: "ext2/3/4 filesystem", offsetBytes: 0x438, magic: "\x53\xef" },
  { format: "XFS filesystem", offsetBytes: 0, magic: "XFSB" },
  { format: "btrfs filesystem", offsetBytes: 0x10040, magic: "_BHRfS_M" },
  { format: "LUKS encrypted volume", offsetBytes: 0, magic: "LUKS\xba\xbe" },
  { format: "swap area", offsetBytes: 4086, magic: "SWAPSPACE2" },
  { format: "swap area", offsetBytes: 4086, magic: "SWAP-SPACE" },
  { format: "GPT partition table", offsetBytes: 512, magic: "EFI PART" },
  { format: "GPT partition table", offsetBytes: 4096, magic: "EFI PART" },
  { format: "LVM physical volume", offsetBytes: 512, magic: "LABELONE" },
  { format: "md RAID member", offsetBytes: 0, magic: "\xfc\x4e\x2b\xa9" },
  { format: "md RAID member", offsetBytes: 4096, magic: "\xfc\x4e\x2b\xa9" },
  { format: "NTFS filesystem", offsetBytes: 3, magic: "NTFS    " },
  { format: "exFAT filesystem", offsetBytes: 3, magic: "EXFAT   " },
  { format: "FAT filesystem", offsetBytes: 54, magic: "FAT" },
  { format: "FAT filesystem", offsetBytes: 82, magic: "FAT32" },
  { format: "ISO 9660 filesystem", offsetBytes: 32769, magic: "CD001" },
  { format: "SquashFS filesystem", offsetBytes: 0, magic: "hsqs" },
  { format: "F2FS filesystem", offsetBytes: 1024, magic: "\x10\x20\xf5\xf2" },
  { format: "bcachefs filesystem", offsetBytes: 4120, magic: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca" },
  { format: "JFS filesystem", offsetBytes: 32768, magic: "JFS1" },
  { format: "ReiserFS filesystem", offsetBytes: 65588, magic: "ReIsEr" },
  { format: "HAMMER2 filesystem", offsetBytes: 0, magic: "\x11\x20\x17\x05\x32\x4d\x41\x48" },
  { format: "QEMU disk image", offsetBytes: 0, magic: "QFI\xfb" },
];

// Before the check for MBR: a FAT or NTFS boot sector ends in the same two bytes.
const ZFS_UBERBLOCKS_BYTES = 128 * 1024;
const ZFS_UBERBLOCKS_END_BYTES = 256 * 1024;
const PROBE_BYTES = 1024 * 1024;

/** How thoroughly what has no signature is searched for data. */
interface Search {
  /** So many holes and pieces of PROBE_BYTES are looked at: what was written full of zeros must not be read to its end. */
  readonly looks: number;
  /** What it is said to hold when that was not all of it, and nothing but zeros. */
  readonly otherwise: string | undefined;
}

const FILE_SEARCH: Search = { looks: 1024, otherwise: "data, or more written zeros than are looked through" };
/** An export may be far away, and be a disk, of which nobody reads more than the head. */
const EXPORT_SEARCH: Search = { looks: 16, otherwise: undefined };

/**
 * What lies on the device or image file at `path`, in words; undefined when it looks unused. Rejects with a system error when
 * it can't be read. Nothing here is synchronous: it may be asked while a volume is served.
 */
export async function existingSignature(path: string, isFile: boolean): Promise<string | undefined> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const head = Buffer.alloc(PROBE_BYTES);
    await handle.read(head, 0, PROBE_BYTES, 0);
    const known = signatureIn(head) ?? (await probeWithBlkid(path));
    // A file was made by somebody for something; a disk full of old noise was not.
    if (known !== undefined || !isFile) return known;
    const file: Content = {
      sizeBytes: (await handle.stat()).size,
      read: async (offsetBytes, targets) => void (await handle.readv([...targets], offsetBytes)),
      extents: (offsetBytes, lengthBytes, countMax) => fileExtents(handle.fd, offsetBytes, lengthBytes, countMax),
    };
    return await unknownData(head, file, FILE_SEARCH);
  } finally {
    await handle.close();
  }
}

/** The same for a device that is open, where no other program can look. Somebody made it for something, as a file was. */
export async function deviceSignature(device: BlockDevice): Promise<string | undefined> {
  const head = Buffer.alloc(PROBE_BYTES);
  await device.read(0, [head.subarray(0, Math.min(PROBE_BYTES, device.sizeBytes))]);
  return signatureIn(head) ?? (await unknownData(head, device, EXPORT_SEARCH));
}

const UNKNOWN_DATA = "data of an unknown kind";
const ZEROS = Buffer.alloc(PROBE_BYTES);
const hasData = (bytes: Uint8Array): boolean => !ZEROS.subarray(0, bytes.length).equals(bytes);

type Content = Pick<BlockDevice, "sizeBytes" | "read" | "extents">;

/** Searches for anything but zeros, first in the head, which was read already; undefined when there is nothing. */
async function unknownData(head: Buffer, content: Content, { looks, otherwise }: Search): Promise<string | undefined> {
  if (hasData(head)) return UNKNOWN_DATA;
  try {
    let at = PROBE_BYTES;
    for (let look = 0; at < content.sizeBytes; look++) {
      if (look === looks) return otherwise;
      const [next] = (await extentsOf(content, at, content.sizeBytes - at, 1)) as [DeviceExtent];
      const lengthBytes = next.isHole ? next.lengthBytes : Math.min(PROBE_BYTES, next.lengthBytes);
      if (!next.isHole) {
        const piece = Buffer.alloc(lengthBytes);
        await content.read(at, [piece]);
        if (hasData(piece)) return UNKNOWN_DATA;
      }
      at += lengthBytes;
    }
    return undefined;
  } catch {
    return "data that can't be read";
  }
}

/** What the first MiB of a device shows. */
function signatureIn(head: Buffer): string | undefined {
  if (NODE_HEADER_OFFSETS.some((at) => holds(head, at, NODE_HEADER_MAGIC))) return "h2ts volume";
  const known = MAGICS.find(({ offsetBytes, magic }) => holds(head, offsetBytes, magic));
  if (known) return known.format;
  for (let at = ZFS_UBERBLOCKS_BYTES; at < ZFS_UBERBLOCKS_END_BYTES; at += 1024) {
    if (head.readUInt32LE(at) === 0x00bab10c && head.readUInt32LE(at + 4) === 0) return "ZFS pool member";
  }
  return holds(head, 510, "\x55\xaa") && hasPartition(head) ? "MBR partition table" : undefined;
}

/** With its article, as in "holds an XFS filesystem". */
export const withArticle = (what: string): string =>
  /^(data|signatures)/.test(what) ? what : `${/^([aeiou]|XFS|NTFS|LVM|MBR|md|h2ts)/i.test(what) ? "an" : "a"} ${what}`;

const holds = (head: Buffer, at: number, magic: string): boolean =>
  head.toString("latin1", at, at + magic.length) === magic;

function hasPartition(head: Buffer): boolean {
  for (let at = 446; at < 510; at += 16) {
    const boot = head[at] as number;
    if ((boot === 0 || boot === 0x80) && head[at + 4] !== 0 && head.readUInt32LE(at + 12) > 0) return true;
  }
  return false;
}

async function probeWithBlkid(path: string): Promise<string | undefined> {
  const { execFile } = await import("node:child_process");
  const { PATH = "" } = process.env;
  const env = { ...process.env, PATH: `${PATH}:/usr/sbin:/sbin` };
  const { code, out } = await new Promise<{ code: unknown; out: string }>((resolve) => {
    execFile("blkid", ["-p", "-o", "export", path], { encoding: "utf8", env }, (error, stdout) =>
      resolve({ code: error === null ? 0 : error.code, out: stdout }),
    );
  });
  if (code !== 0) return code === 8 ? "signatures of several formats" : undefined;
  const type = /^(?:TYPE|PTTYPE)=(.+)$/m.exec(out)?.[1];
  return type === undefined ? undefined : `${type} signature`;
}

// Recognises what lies on a target already, so that nobody overwrites a filesystem that somebody still wants.
// Own checks of the common formats come first and need no tool; blkid, where installed, knows the rare ones.

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { BlockDevice } from "./device.ts";
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

/**
 * What lies on the device or image file at `path`, in words; undefined when it looks unused. Rejects with a system error when
 * it can't be read. Nothing here is synchronous: it may be asked while a volume is served.
 */
export async function existingSignature(path: string, isFile: boolean): Promise<string | undefined> {
  const head = Buffer.alloc(PROBE_BYTES);
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  let bytes: number;
  try {
    ({ bytesRead: bytes } = await handle.read(head, 0, PROBE_BYTES, 0));
  } finally {
    await handle.close();
  }
  const known = signatureIn(head) ?? (await probeWithBlkid(path));
  // A file was made by somebody for something; a disk full of old noise was not.
  return known ?? (isFile && hasData(head.subarray(0, bytes)) ? UNKNOWN_DATA : undefined);
}

/** The same for a device that is open, where no other program can look. Somebody made it for something, as a file was. */
export async function deviceSignature(device: BlockDevice): Promise<string | undefined> {
  const head = Buffer.alloc(PROBE_BYTES);
  await device.read(0, [head.subarray(0, Math.min(PROBE_BYTES, device.sizeBytes))]);
  return signatureIn(head) ?? (hasData(head) ? UNKNOWN_DATA : undefined);
}

const UNKNOWN_DATA = "data of an unknown kind";
const hasData = (bytes: Uint8Array): boolean => bytes.some((byte) => byte !== 0);

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
  const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` };
  const { code, out } = await new Promise<{ code: unknown; out: string }>((resolve) => {
    execFile("blkid", ["-p", "-o", "export", path], { encoding: "utf8", env }, (error, stdout) =>
      resolve({ code: error === null ? 0 : error.code, out: stdout }),
    );
  });
  if (code !== 0) return code === 8 ? "signatures of several formats" : undefined;
  const type = /^(?:TYPE|PTTYPE)=(.+)$/m.exec(out)?.[1];
  return type === undefined ? undefined : `${type} signature`;
}

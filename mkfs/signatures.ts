// Recognises what lies on a target already, so that mkfs never overwrites a filesystem somebody still wants.
// Own checks of the common formats come first and need no tool; blkid, where installed, knows the rare ones.

import { spawnSync } from "node:child_process";
import { readSync } from "node:fs";

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
const H2TS_HEADER_OFFSETS = [0, 32768];
const ZFS_UBERBLOCKS_BYTES = 128 * 1024;
const PROBE_BYTES = 256 * 1024;

/** What a target holds, in words; undefined when it looks unused. `h2tsMagic` is the text that opens a node header. */
export function existingSignature(fd: number, path: string, isFile: boolean, h2tsMagic: string): string | undefined {
  const head = Buffer.alloc(PROBE_BYTES);
  const bytes = readSync(fd, head, 0, PROBE_BYTES, 0);
  if (H2TS_HEADER_OFFSETS.some((at) => holds(head, at, h2tsMagic))) return "h2ts volume";
  const known = MAGICS.find(({ offsetBytes, magic }) => holds(head, offsetBytes, magic));
  if (known) return known.format;
  for (let at = ZFS_UBERBLOCKS_BYTES; at < PROBE_BYTES; at += 1024) {
    if (head.readUInt32LE(at) === 0x00bab10c && head.readUInt32LE(at + 4) === 0) return "ZFS pool member";
  }
  if (holds(head, 510, "\x55\xaa") && hasPartition(head)) return "MBR partition table";
  const probed = probeWithBlkid(path);
  if (probed !== undefined) return probed;
  // A file was made by somebody for something; a disk full of old noise was not.
  if (isFile && head.subarray(0, bytes).some((byte) => byte !== 0)) return "data of an unknown kind";
  return undefined;
}

const holds = (head: Buffer, at: number, magic: string): boolean =>
  head.toString("latin1", at, at + magic.length) === magic;

function hasPartition(head: Buffer): boolean {
  for (let at = 446; at < 510; at += 16) {
    const boot = head[at] as number;
    if ((boot === 0 || boot === 0x80) && head[at + 4] !== 0 && head.readUInt32LE(at + 12) > 0) return true;
  }
  return false;
}

function probeWithBlkid(path: string): string | undefined {
  const run = spawnSync("blkid", ["-p", "-o", "export", path], {
    encoding: "utf8",
    env: { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` },
  });
  if (run.error || run.status !== 0) return run.status === 8 ? "signatures of several formats" : undefined;
  const type = /^(?:TYPE|PTTYPE)=(.+)$/m.exec(run.stdout)?.[1];
  return type === undefined ? undefined : `${type} signature`;
}

// Trees and damage for tests with real data: everything a real tree may lack, and garbage all over an image.

import { closeSync, fstatSync, openSync, writeSync } from "node:fs";
import { SeededRandom } from "../../src/base/random.ts";
import { O, S, sys } from "./posix-system.ts";

const MIB = 2 ** 20;
/** Length of a file that is nearly all hole. */
const SPARSE_BYTES = 2 ** 26;

/** What the real tree may lack: links, owners, times with nanoseconds, xattrs, ACLs, holes, every kind of node, odd names. */
export function decorate(source: string): void {
  const d = `${source}/odd`;
  sys.mkdir(d, 0o2775);
  for (let i = 0; i < 50; i++) {
    const file = `${d}/f${i}`;
    const fd = sys.open(file, 0o102);
    sys.pwrite(fd, Buffer.alloc(i * 331, i), i % 7 === 0 ? 300_000 : 0);
    sys.close(fd);
    sys.lchown(file, 1000 + i, 2000 + i);
    sys.chmod(file, 0o4000 * (i & 1) + 0o600 + i);
    if (i % 3 === 0) sys.link(file, `${d}/link${i}`);
    sys.setXattr(file, "user.number", String(i));
    if (i % 5 === 0) sys.setXattr(file, "user.large", Buffer.alloc(2000, i));
    // Version 2; user::rw-, user:1234:r--, group::r--, mask::r--, other::---
    const acl = "0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000000ffffffff";
    if (i % 4 === 0) sys.setXattr(file, "system.posix_acl_access", Buffer.from(acl, "hex"));
    sys.utimens(file, BigInt(i) * 1_000_000_007n, BigInt(i - 10) * 123_456_789_123n);
  }
  const sparse = sys.open(`${d}/sparse`, O.CREAT | O.WRONLY);
  for (const at of [0, SPARSE_BYTES / 2 + 1]) sys.pwrite(sparse, Buffer.from("island"), at);
  sys.ftruncate(sparse, SPARSE_BYTES);
  sys.close(sparse);
  sys.mknod(`${d}/fifo`, S.FIFO | 0o640);
  sys.mknod(`${d}/socket`, S.SOCKET | 0o755);
  sys.mknod(`${d}/block`, S.BLOCK | 0o660, 8, 70_000);
  sys.mknod(`${d}/char`, S.CHAR | 0o600, 5, 300);
  sys.symlink("../nowhere", `${d}/symlink`);
  sys.lchown(`${d}/symlink`, 77, 88);
  sys.utimens(`${d}/symlink`, 1n, 123_456_789n);
  const names: (string | Uint8Array)[] = ["fifo", "char", "block", "socket", "sparse"];
  for (const name of ["é".repeat(100), " ", "-rf", "a\nb\t\"'\\*?$", "n".repeat(255)]) {
    sys.close(sys.open(`${d}/${name}`, O.CREAT | O.WRONLY));
    names.push(name);
  }
  const notUtf8 = Buffer.from([0xff, 0xfe, 0x2e, 0x80]);
  sys.close(sys.open(Buffer.concat([Buffer.from(`${d}/`), notUtf8]), O.CREAT | O.WRONLY));
  names.push(notUtf8);
  sys.setXattr(d, "user.directory", "yes");
  // rsync takes times within one second for the same, so nothing may be of just now.
  names.forEach((name, i) => {
    const path = Buffer.concat([Buffer.from(`${d}/`), Buffer.from(name)]);
    sys.utimens(path, 5n, BigInt(i + 1) * 1_234_567_890_123n);
  });
  sys.utimens(d, 5n, 999_999_999_999n);
  sys.utimens(source, 5n, -5n);
}

/** One block after the other overwritten, wherever something was: one in 16 of the data area, never the ring. */
export function spoil(image: string, seed: number): void {
  const random = new SeededRandom(seed);
  const fd = openSync(image, "r+");
  const { size } = fstatSync(fd);
  for (let at = 2 * MIB; at < size - 2 * MIB; at += 16 * 4096) {
    const block = at + random.below(16) * 4096;
    const found = sys.pread(fd, 4096, block);
    if (found.every((byte) => byte === 0)) continue;
    writeSync(fd, random.bytes(4096), 0, 4096, block);
  }
  closeSync(fd);
}

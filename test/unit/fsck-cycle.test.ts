// Directories that contain each other, and many that hang from them: one finding, and every directory is gone through once.
import { expect, test, vi } from "vitest";
import { ROOT_INO } from "../../src/format/pfs.ts";
import { checkLinks } from "../../fsck/check-links.ts";
import { Content } from "../../fsck/content.ts";
import { FindingList } from "../../fsck/finding-list.ts";
import { Mode } from "../../src/format/mode.ts";
import { InodeRecord } from "../../fsck/inode-record.ts";

const DIRECTORY = Mode.DIRECTORY | 0o755;

test("a cycle is told once, by its lowest number, whatever hangs from it, in steps that rise with the directories only", () => {
  const list = new FindingList();
  const content = new Content(list, 1);
  content.pfs = { inodeCount: 0, nextIno: 10_000 };
  const add = (ino: number, foundIn: number): void => {
    const claims = { ino, mode: DIRECTORY, nlink: 2, size: 0, usedKib: 0, entries: 0, parent: foundIn, trim: false };
    const record = new InodeRecord(claims);
    record.names = ino === ROOT_INO ? 0 : 1;
    record.foundIn = foundIn;
    record.foundKey = ino;
    content.inodes.set(ino, record);
  };
  add(ROOT_INO, ROOT_INO);
  // A chain that hangs from the cycle of 500, 501 and 502, some of it of lower numbers; another cycle; one directory that is where it should be.
  for (let ino = 2; ino < 500; ino++) add(ino, ino + 1);
  add(500, 502);
  add(501, 500);
  add(502, 501);
  for (let ino = 503; ino < 3000; ino++) add(ino, ino - 1);
  add(3000, 3000);
  add(3001, ROOT_INO);
  const get = vi.spyOn(content.inodes, "get");
  checkLinks(content, list);
  const cycles = list.findings.filter(({ name }) => name === "directory-cycle");
  expect(cycles.map(({ ino }) => ino)).toEqual([500, 3000]);
  expect(get.mock.calls.length).toBeLessThan(4 * content.inodes.size);
});

// What commands refuse by what the mount table and the daemon say, before they touch anything.

import { expect, it } from "vitest";
import { whyNotWritable } from "../../src/cli/remount.ts";
import { obstacleTo } from "../../src/cli/umount.ts";
import { whyNotUpgradable } from "../../src/cli/upgrade.ts";
import { coverOf } from "../../src/daemon/mount-table.ts";
import { parseMountInfo } from "../../src/base/mounted-filesystems.ts";

const VOLUME = "fuse.h2ts a.img rw,user_id=0";
const table = (...lines: string[]) =>
  parseMountInfo(["1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw", ...lines].join("\n"));

it("umount: a volume that would stay mounted elsewhere, or another filesystem on top of it", () => {
  const volume = `40 1 0:50 / /mnt rw shared:9 - ${VOLUME}`;
  expect(obstacleTo("/mnt", table(volume, `41 1 0:51 / /other rw - ${VOLUME}`))).toBeUndefined();
  const bound = table(volume, `41 1 0:50 /photos /srv/photos rw shared:9 - ${VOLUME}`);
  expect(obstacleTo("/mnt", bound)).toMatch(/also mounted on \/srv\/photos .* first \(umount \/srv\/photos\)/);
  expect(obstacleTo("/srv/photos", bound)).toMatch(/also mounted on \/mnt /);
  // What is left of a volume whose first mount was taken off by umount(8).
  expect(obstacleTo("/srv/photos", table(`41 1 0:50 /photos /srv/photos rw - ${VOLUME}`))).toBeUndefined();
});

it("umount, sync, remount: a volume under another filesystem, which the mount point leads to", () => {
  const volume = `40 1 0:50 / /mnt rw shared:9 - ${VOLUME}`;
  const mount = { deviceKey: "0-50", directory: "/mnt", source: "a.img", owner: 0 };
  expect(coverOf(mount, table(volume))).toBeUndefined();
  const hidden = table(volume, "41 40 0:60 / /mnt rw - tmpfs none rw");
  expect(coverOf(mount, hidden)).toMatch(/^another filesystem \(tmpfs\) is mounted on top/);
});

it("umount: not what the kernel takes off along with it", () => {
  const shared = [
    "20 1 8:2 / /data rw shared:5 - ext4 /dev/sdb rw",
    "21 1 8:2 / /srv/data rw shared:5 - ext4 /dev/sdb rw",
    "22 1 8:2 /vol /vol rw master:5 - ext4 /dev/sdb rw",
    `40 20 0:50 / /data/vol/mnt rw - ${VOLUME}`,
    `41 21 0:50 / /srv/data/vol/mnt rw - ${VOLUME}`,
    `42 22 0:50 / /vol/mnt rw - ${VOLUME}`,
  ];
  expect(obstacleTo("/data/vol/mnt", table(...shared))).toBeUndefined();
  // A slave passes nothing on.
  expect(obstacleTo("/vol/mnt", table(...shared))).toMatch(/also mounted on \/data\/vol\/mnt \/srv\/data\/vol\/mnt /);
  const aside = table(...shared, `43 21 0:50 / /srv/data/bound rw - ${VOLUME}`);
  expect(obstacleTo("/data/vol/mnt", aside)).toMatch(/also mounted on \/srv\/data\/bound /);
});

it("remount,rw: a volume that is read-only, and why it is", () => {
  expect(whyNotWritable({ state: "DEGRADED", readOnly: false })).toBeUndefined();
  expect(whyNotWritable({ state: "ONLINE", readOnly: true })).toMatch(/opened for reading only/);
  expect(whyNotWritable({ state: "READONLY", readOnly: true })).toMatch(/turned read-only after an error/);
});

it("upgrade: a daemon of before, with more devices than it can hand over", () => {
  const row = (name: string, nodes: number) => Array.from({ length: nodes }, (_, i) => `/${name}${i}.img`).join("+");
  const many = [row("a", 140), row("b", 140), "nbd://host/x"];
  expect(whyNotUpgradable({ handsOverAll: true, targets: many })).toBeUndefined();
  expect(whyNotUpgradable({ targets: [row("a", 200), "nbd://host/x"] })).toBeUndefined();
  expect(whyNotUpgradable({ targets: many })).toMatch(/can't hand over 280 devices; unmount/);
});

// How people name copies, and what a degraded volume tells them.

import { describe, expect, it } from "vitest";
import { parseUuid, type Uuid } from "../../src/base/uuid.ts";
import { statusText } from "../../src/cli/status-text.ts";
import type { StatusReport } from "../../src/cli/status-report.ts";
import { copyNamed, copyOrNodeNamed } from "../../src/copies/copy-name.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import { mountWarnings } from "../../src/daemon/mount-warnings.ts";
import type { CopyReport } from "../../src/daemon/volume-report.ts";

const uuid = (text: string): Uuid => parseUuid(text) as Uuid;
const COPIES = [
  { index: 0, uuid: uuid("1234abcd-0000-4000-8000-000000000000") },
  { index: 1, uuid: uuid("1234ef00-0000-4000-8000-000000000000") },
  { index: 3, uuid: uuid("3bcdef00-0000-4000-8000-000000000000") },
];

describe("a copy's name", () => {
  it.each([
    ["0", 0],
    ["3", 3],
    ["1234a", 0],
    ["1234EF00-0000", 1],
    ["3b", 3],
  ])("%s means copy %i", (name, index) => expect(copyNamed(name, COPIES)).toBe(index));

  it.each([
    ["1234", /means several copies; it has 0 \(1234abcd…\)/],
    ["2", /copy '2': is no copy of this volume/],
    ["", /no copy/],
    ["bcd", /no copy/],
  ])("'%s' is refused", (name, message) => expect(() => copyNamed(name, COPIES)).toThrow(message));
});

describe("a node's name", () => {
  it.each([
    ["1/0", { index: 1, node: 0 }],
    ["3bcd/12", { index: 3, node: 12 }],
    ["0", { index: 0, node: undefined }],
  ])("%s", (name, place) => expect(copyOrNodeNamed(name, COPIES)).toEqual(place));

  it.each(["0/", "0/x", "0/1/2", "/1", "2/0", "0/-1"])("'%s' is refused", (name) =>
    expect(() => copyOrNodeNamed(name, COPIES)).toThrow(CopiesError),
  );
});

function copy(index: number, more: Partial<CopyReport> = {}): CopyReport {
  const errors = { read: 0, write: 0, checksum: 0 };
  const plain = {
    uuid: "",
    nodes: [],
    targets: [`${index}.img`],
    sizeBytes: 2 ** 30,
    usedBytes: 2 ** 20,
    repaired: 0,
    errors,
  };
  return { index, state: "ONLINE", role: index === 0 ? "master" : "copy", ...plain, ...more };
}

function report(copies: CopyReport[], more: Partial<StatusReport> = {}): StatusReport {
  const sizes = { sizeBytes: 2 ** 30, usedBytes: 2 ** 20, freeBytes: 2 ** 29, inodes: 1 };
  return {
    state: copies.every(({ state }) => state === "ONLINE") ? "ONLINE" : "DEGRADED",
    readOnly: false,
    volume: { uuid: "u", label: "l", checkType: "xxh64", ...sizes },
    mount: { directory: "/mnt", source: "s", transport: "kernel" },
    copies,
    scans: [],
    dataErrors: 0,
    notes: [],
    ...more,
  };
}

/** As it is told of a volume that is not mounted. */
function atRest(mounted: StatusReport): StatusReport {
  const unmounted: { -readonly [Key in keyof StatusReport]: StatusReport[Key] } = { ...mounted };
  delete unmounted.mount;
  return unmounted;
}

describe("status", () => {
  it("says what to do about the worst, with the names of things, and only when something is wrong", () => {
    expect(statusText(report([copy(0), copy(1)]))).not.toMatch(/status:|action:|note:/);
    const text = statusText(
      report([copy(0), copy(1, { state: "SYNCING" }), copy(2, { state: "FAULTED", note: "EIO" })]),
    );
    expect(text).toMatch(/state: DEGRADED/);
    expect(text).toMatch(/status: Copy 2 was dropped/);
    expect(text).toMatch(/action: .*'h2ts online \/mnt 2'/);
    expect(text).toMatch(/note: copy 2: EIO/);
  });

  it.each(["FAULTED", "MISSING"] as const)(
    "says of a copy on servers that is %s that it comes back by itself",
    (state) => {
      const away = copy(1, { state, targets: ["a.img+nbd://host/b"] });
      const byItself =
        /action: See to its server. It is asked for again by itself; 'h2ts online \/mnt 1' does so at once/;
      expect(statusText(report([copy(0), away]))).toMatch(byItself);
      expect(statusText(report([copy(0), away, copy(2, { state })]))).not.toMatch(/by itself/);
      expect(statusText(atRest(report([copy(0), away])))).not.toMatch(/by itself/);
    },
  );

  it("names what reads every block: a scrub of a mounted volume, fsck of one at rest", () => {
    const bad = report([copy(0), copy(1, { errors: { read: 0, write: 0, checksum: 3 } })]);
    expect(statusText(bad)).toMatch(/'h2ts scrub \/mnt' reads every block, 'h2ts clear \/mnt' counts anew\.$/m);
    expect(statusText(atRest(bad))).toMatch(/'fsck.h2ts -n -f' reads every block\.$/m);
  });

  it("tells how a resync goes, and how long it will take", () => {
    const scan = {
      activity: "resync",
      copy: 1,
      doneBytes: 256 * 2 ** 20,
      leftBytes: 768 * 2 ** 20,
      seconds: 4,
    } as const;
    const line = (state: "running" | "complete" | "no-room"): string =>
      /scan: (.*)/.exec(statusText(report([copy(0), copy(1)], { scans: [{ ...scan, state }] })))?.[1] ?? "";
    expect(line("running")).toBe("resync of copy 1 under way: 25% done, 256M of 1G, 64M/s, 0:12 to go");
    expect(line("complete")).toBe("resync of copy 1 complete: 256M brought");
    expect(line("no-room")).toBe("resync of copy 1 stopped, no room: 25% done, 256M of 1G");
  });

  it("of a mount that comes up degraded is one line of warning", () => {
    expect(mountWarnings(report([copy(0)]), [])).toEqual([]);
    expect(mountWarnings(report([copy(0)]), ["1.img: is gone"])).toEqual(["1.img: is gone; left out"]);
    const missing = copy(1, { state: "MISSING", note: "last seen with root 4" });
    expect(mountWarnings(report([copy(0), missing]), ["1.img: is gone"])).toEqual([
      "mounted degraded: copy 1 (1.img) is MISSING: last seen with root 4 (1.img: is gone); h2ts status tells more",
    ]);
  });
});

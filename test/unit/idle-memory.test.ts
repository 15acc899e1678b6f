// A process that waits keeps nothing that it can have again: pages of files come back, written ones are never touched.

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { settleDown, unwrittenFilePages } from "../../src/base/idle-memory.ts";

const region = (head: string, anonymousKib: number): string =>
  `${head}\nSize: 4 kB\nRss: 4 kB\nAnonymous: ${" ".repeat(8)}${anonymousKib} kB\nVmFlags: rd mr mw me\n`;

it("tells pages of files that were never written to from all others", () => {
  const smaps = [
    region("00400000-00b6f000 r--p 00000000 fe:00 260689                             /usr/bin/node", 0),
    region("00b72000-025fe000 r-xp 00772000 fe:00 260689                             /usr/bin/node", 0),
    // Tables of addresses, which the loader filled in.
    region("05700000-05800000 r--p 05300000 fe:00 260689                             /usr/bin/node", 1024),
    region("05800000-05900000 rw-p 05400000 fe:00 260689                             /usr/bin/node", 0),
    region("3a6d8000-3ac27000 rw-p 00000000 00:00 0                                  [heap]", 5248),
    region("7ffd1000-7ffd3000 r-xp 00000000 00:00 0                                  [vdso]", 0),
    region("7ffd4000-7ffd5000 r--s 00000000 fe:00 4711                               /var/lib/shared", 0),
  ].join("");
  expect(unwrittenFilePages(smaps)).toEqual([
    [0x400000, 0xb6f000],
    [0xb72000, 0x25fe000],
  ]);
});

it("takes less memory afterwards, and goes on", () => {
  const filePagesKib = (): number => Number(/^RssFile:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
  const before = filePagesKib();
  settleDown();
  expect(filePagesKib()).toBeLessThan(before / 2);
  // Code that has not run yet is read from the executable again.
  expect(JSON.stringify([1.5, "x"].concat(new Intl.NumberFormat("de").format(1234.5)))).toBe('[1.5,"x","1.234,5"]');
});

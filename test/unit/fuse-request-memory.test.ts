// Where requests are read into. A file of its own: a process in which nothing was freed before tells what new buffers take.

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { REQUEST_BUFFER_BYTES, Request } from "../../src/fuse/kernel/request.ts";

it("every page of a request buffer is in memory: the kernel loses what it can't copy to a dying worker (I4)", () => {
  const residentKib = (): number => Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]);
  const before = residentKib();
  const requests = Array.from({ length: 64 }, () => new Request());
  const bufferKib = REQUEST_BUFFER_BYTES / 1024;
  expect((residentKib() - before) / requests.length).toBeGreaterThan(0.9 * bufferKib);
});

// A daemon that can't be started is told of in one line, whatever of it there is.

import { EventEmitter } from "node:events";
import { expect, it, vi } from "vitest";
import { parseMountOptions } from "../../src/daemon/parse-mount-options.ts";
import { startDetached } from "../../src/daemon/start-mount.ts";

// What spawn gives where there are too few descriptors: no streams, and no channel.
vi.mock("node:child_process", () => ({
  spawn: () => {
    const child = Object.assign(new EventEmitter(), { pid: undefined, connected: false, unref: () => undefined });
    process.nextTick(() => child.emit("error", new Error("spawn node EMFILE")));
    return child;
  },
}));

it("says why the daemon can't be started", async () => {
  const request = { source: "a.img", targets: ["/a.img"], directory: "/none", options: parseMountOptions([]) };
  await expect(startDetached(request)).rejects.toThrow("the daemon can't be started: spawn node EMFILE");
});

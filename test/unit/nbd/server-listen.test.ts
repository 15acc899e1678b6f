// Where a server can't listen, and what it leaves alone there.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { NbdServer } from "../../../src/nbd/server/server.ts";
import { ServerScene } from "./server-scene.ts";

it("a file that is no socket keeps its place, and nobody listens there", async () => {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-listen-"));
  const path = join(folder, "a.img");
  const server = new NbdServer(new ServerScene().options);
  try {
    writeFileSync(path, "kept");
    await expect(server.listen({ kind: "unix", path })).rejects.toThrow(`unix:${path}: can't listen here`);
    expect(readFileSync(path, "utf8")).toBe("kept");
  } finally {
    await server.drain();
    rmSync(folder, { recursive: true });
  }
});

// A worker that takes over while the server of the only copy is being started again waits for it; a mount does not.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { MountRequest } from "../../src/daemon/messages.ts";
import { parseMountOptions } from "../../src/daemon/parse-mount-options.ts";
import { openForMount } from "../../src/daemon/open-volume.ts";
import { JOURNAL_BYTES } from "../../src/log/journal.ts";
import { type ForeignServer, imageIn, startExport, temporaryFolder } from "./foreign-servers.ts";

const MKFS = join(import.meta.dirname, "../../dist/mkfs/main.js");
const NONCE = Buffer.alloc(16, 7);
const OUTAGE_MS = 1000;

let folder: ReturnType<typeof temporaryFolder>;
let image: string;
let server: ForeignServer;
let request: MountRequest;
beforeEach(async () => {
  folder = temporaryFolder();
  image = imageIn(folder.path, 32 << 20);
  expect(spawnSync(process.execPath, [MKFS, "-q", image])).toMatchObject({ status: 0 });
  server = await startExport(folder.path, image);
  const options = parseMountOptions(["nbd-timeout=5000"]);
  request = { source: server.target, targets: [server.target], directory: folder.path, options };
});
afterEach(async () => {
  await server.stop();
  folder.dispose();
});

it("waits for the server of the only copy as long as a request would", async () => {
  const journal = new Uint8Array(JOURNAL_BYTES);
  const before = await openForMount(request, { journal, takeOver: false, heartbeatNonce: NONCE });
  await before.close();
  await before.copies.close();
  await server.stop();
  await expect(openForMount(request, { journal, takeOver: false })).rejects.toMatchObject({ code: "ENOTCONN" });
  const taken = openForMount(request, { journal, takeOver: true, heartbeatNonce: NONCE });
  taken.catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve, OUTAGE_MS));
  server = await startExport(folder.path, image);
  const volume = await taken;
  expect(volume.readOnly).toBeUndefined();
  await volume.close();
  await volume.copies.close();
});

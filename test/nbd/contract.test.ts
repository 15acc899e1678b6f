// The contract of devices on a remote node, against the servers people have.

import { describe, expect, it } from "vitest";
import { openDevice } from "../../src/nbd/open.ts";
import { deviceContract } from "../contract/device.ts";
import { imageIn, startNbdkit, startNbdServer, startQemu, temporaryFolder } from "./foreign-servers.ts";
import { deviceBehind } from "./remote-devices.ts";

const MIB = 1024 * 1024;

deviceContract("remote node of nbdkit", () => deviceBehind((folder) => startNbdkit(folder, ["memory", "5M"])));

deviceContract("remote node of nbdkit that works in units of 512 bytes and takes 64 KiB at most", () =>
  deviceBehind((folder) =>
    startNbdkit(folder, [
      ...["--filter=blocksize-policy", "memory", "5M"],
      ...["blocksize-minimum=512", "blocksize-maximum=65536", "blocksize-error-policy=error"],
    ]),
  ),
);

deviceContract("remote node of qemu-nbd", () => deviceBehind((folder) => startQemu(folder, imageIn(folder, 4 * MIB))));

deviceContract("remote node of nbd-server", () =>
  deviceBehind((folder) =>
    startNbdServer(folder, imageIn(folder, 4 * MIB), ["flush = true", "fua = true", "trim = true"]),
  ),
);

describe("remote node", () => {
  it.each([
    ["that is read-only", ["-r", "memory", "5M"], /exports it read-only/],
    ["that can't make anything durable", ["--filter=nofilter", "memory", "5M"], /neither FLUSH nor FUA/],
    ["in units of 4 KiB", ["--filter=blocksize-policy", "memory", "5M", "blocksize-minimum=4096"], /units of 4096/],
  ])("%s is refused for writing", async (_, words, reason) => {
    const { path, dispose } = temporaryFolder();
    const script = ["eval", "get_size=echo 5242880", "pread=head -c $3 /dev/zero", "pwrite=cat >/dev/null"];
    const server = await startNbdkit(path, words[0] === "--filter=nofilter" ? [...script, "can_write=exit 0"] : words);
    try {
      await expect(openDevice(server.target, { writable: true })).rejects.toThrow(reason);
    } finally {
      await server.stop();
      dispose();
    }
  });

  it("of a server that is not there is a device that is away", async () => {
    const error: unknown = await openDevice("nbd+unix:///?socket=/nonexistent/x", { writable: true }).catch(
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ name: "DeviceError", code: "ENOTCONN" });
  });
});

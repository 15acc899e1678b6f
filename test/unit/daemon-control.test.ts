// The control socket survives whatever is written to it.

import { chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { makeRuntimeFolder } from "../../src/base/runtime-folder.ts";
import { workerAnswer } from "../../src/cli/daemon-of.ts";
import { occupied, servedSomewhere } from "../../src/cli/mount-preparation.ts";
import { ControlClient } from "../../src/daemon/control-client.ts";
import { ControlServer } from "../../src/daemon/control-server.ts";
import type { ControlReply } from "../../src/daemon/messages.ts";
import type { MountedVolume } from "../../src/daemon/mount-table.ts";

let folder: string;
let server: ControlServer;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "h2ts-control-"));
  server = await ControlServer.listen(join(folder, "0-1.sock"), (request) =>
    request.call === "sync" ? Promise.reject(new Error("copy 0: no")) : Promise.resolve({ notes: [request.call] }),
  );
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

function exchange(text: string, replies: number): Promise<string[]> {
  return new Promise((resolve) => {
    const socket = createConnection(server.path, () => socket.write(text));
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk.toString();
      if (received.split("\n").length > replies) socket.end();
    });
    socket.on("close", () => resolve(received.split("\n").slice(0, -1)));
    socket.on("error", () => socket.destroy());
  });
}

it("answers each line, and says what is wrong with one that is no request", async () => {
  const lines = ['{"call":"ping"}', "garbage", '{"call":"format"}', "[]", '{"call":"sync"}'];
  const replies = (await exchange(`${lines.join("\n")}\n`, 5)).map((line) => JSON.parse(line) as unknown);
  expect(replies).toContainEqual({ notes: ["ping"] });
  expect(replies).toContainEqual({ error: "not a JSON line" });
  expect(replies.filter((reply) => (reply as { error?: string }).error === "unknown request")).toHaveLength(2);
  expect(replies).toContainEqual({ error: "copy 0: no" });
});

it("closes a connection that sends a line without end", async () => {
  await exchange("x".repeat(200_000), 1);
  expect(await exchange('{"call":"ping"}\n', 1)).toEqual(['{"notes":["ping"]}']);
});

it("lets nobody else in", () => {
  expect(statSync(server.path).mode & 0o777).toBe(0o600);
});

it("a worker that does not answer is told of, and not waited for without end", async () => {
  const deviceKey = `test-${process.pid}`;
  const stopped = await ControlServer.listen(join(makeRuntimeFolder(), `${deviceKey}.sock`), ({ call }) =>
    call === "ping" ? Promise.resolve({}) : new Promise(() => undefined),
  );
  const client = (await ControlClient.connect(deviceKey)) as ControlClient;
  try {
    const mount = { directory: "/mnt", source: "a.img", deviceKey, owner: 0 };
    await expect(workerAnswer(client, mount, 100)).rejects.toThrow(/its worker does not answer/);
    // Its connection is closed: nothing more is asked over it.
    expect(await client.call("sync")).toBeUndefined();
  } finally {
    rmSync(stopped.path);
  }
});

it("daemons of root and of this user say what is mounted already; all are asked at once, others not at all", async () => {
  const daemonOf = async (name: string, answer: () => Promise<ControlReply>): Promise<() => void> => {
    const path = join(makeRuntimeFolder(), `test-${name}-${process.pid}.sock`);
    const listening = await ControlServer.listen(path, answer);
    return () => void listening.close();
  };
  const processes = { supervisorPid: 1, workerPid: 2, restarts: 0, transport: "kernel" };
  const daemon = { ...processes, directory: "/one", source: "a.img+b.img", targets: ["/a.img+/b.img"] };
  const mountOf = (name: string, owner: number): MountedVolume => ({
    ...{ deviceKey: `test-${name}-${process.pid}`, directory: `/${name}`, source: "", owner },
  });
  const uid = process.getuid?.() ?? 0;
  const ends = [
    await daemonOf("one", () => Promise.resolve({ daemon })),
    ...(await Promise.all(["two", "three"].map((name) => daemonOf(name, () => new Promise(() => undefined))))),
  ];
  try {
    const mounts = [mountOf("two", uid), mountOf("three", uid), mountOf("one", uid)];
    const beganMs = performance.now();
    expect(await occupied(["/c.img", "/b.img"], mounts, 500)).toEqual({ target: "/b.img", directory: "/one" });
    expect(performance.now() - beganMs).toBeLessThan(1000);
    expect(await occupied(["/b.img"], [mountOf("one", uid + 1)], 500)).toBeUndefined();
  } finally {
    for (const end of ends) end();
  }
});

it.runIf(process.getuid?.() === 0)("root is shown anybody's mount; of several that of root", async () => {
  const user = 1_000_000 + process.pid;
  const theirs = `/tmp/h2ts-${user}`;
  mkdirSync(theirs);
  chownSync(theirs, user, user);
  const deviceKey = `test-anybody-${process.pid}`;
  const processes = { supervisorPid: 1, workerPid: 2, restarts: 0, transport: "kernel" };
  const daemon = { ...processes, directory: "", source: "", targets: ["/b.img"] };
  const folders = [theirs, makeRuntimeFolder()];
  const listening = await Promise.all(
    folders.map((each) => ControlServer.listen(join(each, `${deviceKey}.sock`), () => Promise.resolve({ daemon }))),
  );
  try {
    const others = { deviceKey, directory: "/others", source: "", owner: user };
    expect(await occupied(["/b.img"], [others], 500)).toBeUndefined();
    expect(await servedSomewhere(["/b.img"], [others], 500)).toEqual({ target: "/b.img", directory: "/others" });
    const both = [others, { ...others, directory: "/own", owner: 0 }];
    expect(await servedSomewhere(["/b.img"], both, 500)).toEqual({ target: "/b.img", directory: "/own" });
  } finally {
    await Promise.all(listening.map((each) => each.close()));
    rmSync(theirs, { recursive: true });
  }
});

it("a daemon that ends before it has read what it was asked is one that does not answer", async () => {
  const deviceKey = `test-reset-${process.pid}`;
  const path = join(makeRuntimeFolder(), `${deviceKey}.sock`);
  let arrived: Socket | undefined;
  const ending = createServer({ pauseOnConnect: true }, (socket) => (arrived = socket));
  await new Promise<void>((resolve) => ending.listen(path, resolve));
  try {
    const client = (await ControlClient.connect(deviceKey)) as ControlClient;
    const reply = client.call("ping");
    await expect.poll(() => arrived).toBeDefined();
    // What it has not read by then makes the kernel reset the connection.
    arrived?.destroy();
    expect(await reply).toBeUndefined();
    expect(await client.call("ping")).toBeUndefined();
  } finally {
    ending.close();
  }
});

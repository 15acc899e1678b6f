// NBD servers of others, for tests: each on a unix socket, or a port, of its own, started and ended by whoever asked for it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface ForeignServer {
  /** To be opened by. */
  readonly target: string;
  readonly process: ChildProcess;
  /** Ends it, at once. */
  readonly stop: () => Promise<void>;
}

const CLI = join(import.meta.dirname, "../../dist/src/cli.js");

/** In memory, where there is such a place: a disk that is busy with other tests may hold a server up for seconds. */
const FOLDER = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

/** A folder that is gone when the test is. */
export function temporaryFolder(): { readonly path: string; readonly dispose: () => void } {
  const path = mkdtempSync(join(FOLDER, "h2ts-nbd-"));
  return { path, dispose: () => rmSync(path, { recursive: true, force: true }) };
}

export function imageIn(folder: string, sizeBytes: number, name = "a.img"): string {
  const path = join(folder, name);
  writeFileSync(path, "");
  truncateSync(path, sizeBytes);
  return path;
}

/** `nbdkit` with these words behind the socket. */
export async function startNbdkit(folder: string, words: readonly string[], name = "kit"): Promise<ForeignServer> {
  const socket = join(folder, `${name}.sock`);
  rmSync(socket, { force: true });
  return started("nbdkit", ["-f", "-U", socket, ...words], `nbd+unix:///?socket=${socket}`, () => listensAt(socket));
}

export type UndyingServer = ForeignServer & { kill(): void };

/** An nbdkit that is started again whenever it is killed. */
export function startUndying(folder: string, words: readonly string[]): Promise<UndyingServer> {
  const socket = join(folder, "undying.sock");
  return undying(folder, socket, `nbd+unix:///?socket=${socket}`, ["nbdkit", "-f", "-U", socket, ...words]);
}

/** Our own `h2ts export`, started again whenever it is killed. */
export function startUndyingExport(folder: string, image: string): Promise<UndyingServer> {
  const socket = join(folder, "undying.sock");
  const target = `nbd+unix:///vol?socket=${socket}`;
  return undying(folder, socket, target, [
    process.execPath,
    CLI,
    "export",
    "--listen",
    `unix:${socket}`,
    `vol=${image}`,
  ]);
}

/**
 * A shell starts it again. Not we: a process that we fork closes its copies of our open files, and those on a mount that waits
 * for this very server can't be closed before it is there.
 */
async function undying(
  folder: string,
  socket: string,
  target: string,
  command: readonly string[],
): Promise<UndyingServer> {
  const pidFile = join(folder, "undying.pid");
  const loop = 'while :; do rm -f "$0"; "${@:2}" & echo $! >"$1"; wait; done';
  const server = await started("bash", ["-c", loop, socket, pidFile, ...command], target, () => listensAt(socket));
  const kill = (): void => void process.kill(Number(readFileSync(pidFile, "latin1")), "SIGKILL");
  return {
    ...server,
    kill,
    stop: async () => {
      await server.stop();
      kill();
    },
  };
}

/** The same over TCP, in a network namespace if one is named. */
export async function startNbdkitOn(
  port: number,
  words: readonly string[],
  { host = "127.0.0.1", namespace }: { readonly host?: string; readonly namespace?: string } = {},
): Promise<ForeignServer> {
  const all = ["-f", "-i", host, "-p", String(port), ...words];
  const target = `nbd://${host}:${port}/`;
  if (namespace === undefined) return started("nbdkit", all, target, () => listensOn(port));
  const within = ["netns", "exec", namespace, "nbdkit", ...all];
  return started("ip", within, target, ({ pid }) => listensOn(port, `/proc/${pid}/net/tcp`));
}

/** `qemu-nbd` on an image of raw bytes. */
export async function startQemu(folder: string, image: string, words: readonly string[] = []): Promise<ForeignServer> {
  const socket = join(folder, "qemu.sock");
  rmSync(socket, { force: true });
  const all = ["-t", "-f", "raw", "-x", "vol", "-k", socket, ...words, image];
  return started("qemu-nbd", all, `nbd+unix:///vol?socket=${socket}`, () => listensAt(socket));
}

/** `nbd-server` on an image, over TCP, for one connection. */
export async function startNbdServer(
  folder: string,
  image: string,
  lines: readonly string[] = [],
): Promise<ForeignServer> {
  const port = await freePort();
  const config = join(folder, "nbd-server.conf");
  const text = ["[generic]", "listenaddr = 127.0.0.1", `port = ${port}`, "[vol]", `exportname = ${image}`, ...lines];
  writeFileSync(config, `${text.join("\n")}\n`);
  return started("nbd-server", ["-d", "-C", config], `nbd://127.0.0.1:${port}/vol`, () => listensOn(port));
}

/** The file of a socket is there a moment before anybody listens. */
const listensAt = (path: string): boolean =>
  readFileSync("/proc/net/unix", "latin1")
    .split("\n")
    .some((line) => line.endsWith(` ${path}`) && line.split(/\s+/)[3] === "00010000");

/** Not found out by connecting: nbd-server serves one connection only. */
const listensOn = (port: number, table = "/proc/net/tcp"): boolean =>
  readFileSync(table, "latin1").includes(`:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`);

async function started(
  program: string,
  words: readonly string[],
  target: string,
  isReady: (child: ChildProcess) => boolean,
): Promise<ForeignServer> {
  const child = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = once(child, "exit");
  for (let waitedMs = 0; !isReady(child); waitedMs += 20) {
    if (child.exitCode !== null || waitedMs > 10_000) throw new Error(`${program} does not start: ${said}`);
    await sleep(20);
  }
  return {
    target,
    process: child,
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** A port of the loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** Our own `h2ts export`, as built. */
export async function startExport(
  folder: string,
  image: string,
  { name = "own", words = [] }: { readonly name?: string; readonly words?: readonly string[] } = {},
): Promise<ForeignServer> {
  const socket = join(folder, `${name}.sock`);
  const all = [CLI, "export", "--listen", `unix:${socket}`, ...words, `vol=${image}`];
  return started(process.execPath, all, `nbd+unix:///vol?socket=${socket}`, () => listensAt(socket));
}

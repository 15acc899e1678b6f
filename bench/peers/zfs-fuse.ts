// zfs-fuse with a mirror of two files. Its tools talk to one daemon, through a socket at a fixed path: the bench starts its own
// and leaves the peer out when somebody else's is running.

import { existsSync, readFileSync, truncateSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { run, Server } from "../process.ts";
import { detach, missingProgram, type Peer } from "./peer.ts";

const SOCKET = "/var/run/zfs/zfs_socket";

function isServed(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(SOCKET, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

export class ZfsFuse implements Peer {
  readonly name = "zfs-fuse";
  readonly description = "zfs-fuse, a mirror of two files";
  readonly isFloor = false;
  readonly directory: string;
  readonly #home: string;
  readonly #pool = `h2ts-bench-${process.pid}`;
  readonly #images: readonly string[];
  readonly #imageBytes: number;
  #server: Server | undefined;

  constructor(home: string, directory: string, imageBytes: number) {
    this.directory = directory;
    this.#home = home;
    this.#images = [join(home, "a.img"), join(home, "b.img")];
    this.#imageBytes = imageBytes;
  }

  async missing(): Promise<string | undefined> {
    return missingProgram("zfs-fuse", "zpool") ?? ((await isServed()) ? "another zfs-fuse is running" : undefined);
  }

  async create(): Promise<void> {
    for (const image of this.#images) {
      await writeFile(image, "");
      truncateSync(image, this.#imageBytes);
    }
    await this.#start();
    const place = ["-o", "cachefile=none", "-m", this.directory, this.#pool];
    await run("zpool", ["create", "-f", ...place, "mirror", ...this.#images]);
  }

  async mount(): Promise<void> {
    await this.#start();
    await run("zpool", ["import", "-d", this.#home, "-o", "cachefile=none", this.#pool]);
  }

  async #start(): Promise<void> {
    await mkdir("/var/run/zfs", { recursive: true });
    const server = new Server("zfs-fuse", ["--no-daemon", "--no-kstat-mount", "-p", join(this.#home, "pid")]);
    this.#server = server;
    let served = false;
    await server.until(() => {
      if (existsSync(SOCKET)) void isServed().then((yes) => (served ||= yes));
      return served;
    });
  }

  async unmount(): Promise<void> {
    await run("zpool", ["export", this.#pool]);
    await this.#server?.stop();
    this.#server = undefined;
  }

  pids(): Promise<readonly number[]> {
    return Promise.resolve(this.#server === undefined ? [] : [this.#server.pid]);
  }

  async abandon(): Promise<void> {
    if (this.#server === undefined) return;
    await run("zpool", ["export", "-f", this.#pool]).catch(() => undefined);
    await this.#server.stop();
    this.#server = undefined;
    if (readFileSync("/proc/self/mountinfo", "utf8").includes(this.directory)) await detach(this.directory);
  }
}

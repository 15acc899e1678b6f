// zfs-fuse with a mirror of two files. Its tools talk to one daemon, through a socket at a fixed path: the bench starts its own
// and leaves the peer out when somebody else's is running.

import { existsSync, truncateSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { run } from "../process.ts";
import { missingProgram } from "./peer.ts";
import { ServedPeer } from "./served.ts";

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

export class ZfsFuse extends ServedPeer {
  readonly name = "zfs-fuse";
  readonly description = "zfs-fuse, a mirror of two files";
  readonly isFloor = false;
  readonly #home: string;
  readonly #pool = `h2ts-bench-${process.pid}`;
  readonly #images: readonly string[];
  readonly #imageBytes: number;

  constructor(home: string, directory: string, imageBytes: number) {
    super(directory);
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
    let served = false;
    await this.serve("zfs-fuse", ["--no-daemon", "--no-kstat-mount", "-p", join(this.#home, "pid")], () => {
      if (existsSync(SOCKET)) void isServed().then((yes) => (served ||= yes));
      return served;
    });
  }

  /** The daemon stays when its pool is gone. */
  override async unmount(): Promise<void> {
    await run("zpool", ["export", this.#pool]);
    await this.stop();
  }

  override async abandon(): Promise<void> {
    if ((await this.pids()).length > 0) await run("zpool", ["export", "-f", this.#pool]).catch(() => undefined);
    await super.abandon();
  }
}

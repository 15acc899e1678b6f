// fuse2fs: ext4 in one image file, served by e2fsprogs over FUSE. One copy only, no checksums of data.

import { truncateSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run, Server } from "../process.ts";
import { detach, isMounted, missingProgram, type Peer } from "./peer.ts";

export class Fuse2fs implements Peer {
  readonly name = "fuse2fs";
  readonly description = "fuse2fs, ext4 in one image file (one copy)";
  readonly isFloor = false;
  readonly directory: string;
  readonly #image: string;
  readonly #imageBytes: number;
  #server: Server | undefined;

  constructor(home: string, directory: string, imageBytes: number) {
    this.directory = directory;
    this.#image = join(home, "a.img");
    this.#imageBytes = imageBytes;
  }

  missing(): Promise<string | undefined> {
    return Promise.resolve(missingProgram("fuse2fs", "mke2fs"));
  }

  async create(): Promise<void> {
    await writeFile(this.#image, "");
    truncateSync(this.#image, this.#imageBytes);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", this.#image]);
    await this.mount();
  }

  async mount(): Promise<void> {
    this.#server = new Server("fuse2fs", [
      "-f",
      "-o",
      "rw,allow_other,default_permissions",
      this.#image,
      this.directory,
    ]);
    await this.#server.until(() => isMounted(this.directory));
  }

  async unmount(): Promise<void> {
    await run("umount", [this.directory]);
    // It writes everything back before it ends.
    await this.#server?.stop("none");
    this.#server = undefined;
  }

  pids(): Promise<readonly number[]> {
    return Promise.resolve(this.#server === undefined ? [] : [this.#server.pid]);
  }

  async abandon(): Promise<void> {
    await detach(this.directory);
    await this.#server?.stop();
    this.#server = undefined;
  }
}

// fuse2fs: ext4 in one image file, served by e2fsprogs over FUSE. One copy only, no checksums of data.

import { truncateSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../process.ts";
import { missingProgram } from "./peer.ts";
import { ServedPeer } from "./served.ts";

export class Fuse2fs extends ServedPeer {
  readonly name = "fuse2fs";
  readonly description = "fuse2fs, ext4 in one image file (one copy)";
  readonly isFloor = false;
  readonly #image: string;
  readonly #imageBytes: number;

  constructor(home: string, directory: string, imageBytes: number) {
    super(directory);
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

  mount(): Promise<void> {
    const options = ["-o", "rw,allow_other,default_permissions"];
    return this.serve("fuse2fs", ["-f", ...options, this.#image, this.directory]);
  }
}

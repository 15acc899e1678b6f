// h2ts with two copies in image files, started through its commands as a user would.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { daemonOf, h2ts, mkfs } from "../programs.ts";
import { detach, isMounted, type Peer } from "./peer.ts";

export class H2ts implements Peer {
  readonly name = "h2ts";
  readonly description = "h2ts, two copies in image files";
  readonly isFloor = false;
  readonly directory: string;
  readonly #images: readonly string[];
  readonly #imageSize: string;
  readonly #options: string;
  #supervisorPid: number | undefined;

  constructor(home: string, directory: string, imageSize: string, options: string) {
    this.directory = directory;
    this.#images = [join(home, "a.img"), join(home, "b.img")];
    this.#imageSize = imageSize;
    this.#options = options;
  }

  missing(): Promise<string | undefined> {
    return Promise.resolve(undefined);
  }

  async create(): Promise<void> {
    await mkfs("-s", this.#imageSize, ...this.#images);
    await this.mount();
  }

  async mount(): Promise<void> {
    await h2ts("mount", "-o", this.#options, ...this.#images, this.directory);
    this.#supervisorPid = (await daemonOf(this.directory)).supervisorPid;
  }

  async unmount(): Promise<void> {
    await h2ts("umount", this.directory);
  }

  /** The supervisor and what it started: the worker and, in a while, a spare one. */
  pids(): Promise<readonly number[]> {
    return Promise.resolve(this.#supervisorPid === undefined ? [] : processesOf(this.#supervisorPid));
  }

  async abandon(): Promise<void> {
    if (!isMounted(this.directory)) return;
    await this.unmount().catch(async () => {
      await detach(this.directory);
      for (const pid of await this.pids()) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It is gone.
        }
      }
    });
  }
}

function processesOf(supervisorPid: number): number[] {
  const children = readFileSync(`/proc/${supervisorPid}/task/${supervisorPid}/children`, "utf8").trim();
  return [supervisorPid, ...(children === "" ? [] : children.split(" ").map(Number))];
}

// Ways in which a copy behind an export of ours is lost and regained: by its server, by the worker of the mount, by both.

import { expect } from "vitest";
import { type ForeignServer, startExport } from "../nbd/foreign-servers.ts";
import type { Loss, Part } from "./copies-losses.ts";
import { type CopiesPlace, killed } from "./copies-place.ts";

const GONE_MS_MAX = 30_000;
/** Longer than a copy on a server takes to be asked for again when it was just dropped. */
const BACK_MS_MAX = 60_000;

/** A copy and the server before it. */
export class RemotePart implements Part {
  readonly index: number;
  readonly image: string;
  readonly #folder: string;
  #server: ForeignServer | undefined;
  #moves = 0;

  constructor(index: number, image: string, folder: string) {
    this.index = index;
    this.image = image;
    this.#folder = folder;
  }

  get target(): string {
    return this.#running.target;
  }

  get #running(): ForeignServer {
    if (this.#server === undefined) throw new Error(`the server of copy ${this.index} was not started`);
    return this.#server;
  }

  async start(): Promise<void> {
    this.#server = await startExport(this.#folder, this.image, { name: `${this.index}-${this.#moves}` });
  }

  kill(): Promise<void> {
    return this.#running.stop();
  }

  /** Serves it from another address. */
  async move(): Promise<void> {
    await this.kill();
    this.#moves++;
    await this.start();
  }

  signal(name: "SIGSTOP" | "SIGCONT"): void {
    this.#running.process.kill(name);
  }

  async dispose(): Promise<void> {
    await this.#server?.stop();
  }
}

export class RemoteLosses {
  readonly #place: CopiesPlace;

  constructor(place: CopiesPlace) {
    this.#place = place;
  }

  async #becomes({ index }: Part, is: (state: string | undefined) => boolean, timeout: number): Promise<void> {
    const state = async (): Promise<boolean> => is((await this.#place.status()).copies[index]?.state);
    await expect.poll(state, { timeout, interval: 200 }).toBe(true);
  }

  #isDropped = (part: Part): Promise<void> => this.#becomes(part, (state) => state === "FAULTED", GONE_MS_MAX);
  #comesBack = (part: Part): Promise<void> =>
    this.#becomes(part, (state) => state === "ONLINE" || state === "SYNCING", BACK_MS_MAX);

  async #killWorker(): Promise<void> {
    await killed((await this.#place.daemon()).workerPid);
  }

  /** Its server dies and is started again at once: it never leaves. */
  restarted(part: RemotePart): Loss {
    return {
      name: "server restarted",
      part,
      lose: async () => {
        await part.kill();
        await part.start();
      },
      regain: () => Promise.resolve(),
    };
  }

  /** Its server dies, for so long that the copy is dropped; it comes back by itself. */
  away(part: RemotePart): Loss {
    return {
      name: "server away",
      part,
      lose: async () => {
        await part.kill();
        await this.#isDropped(part);
      },
      regain: async () => {
        await part.start();
        await this.#comesBack(part);
      },
    };
  }

  /** Its server hangs, for so long that the copy is dropped; what it was sent before, it does when it goes on. */
  hung(part: RemotePart): Loss {
    return {
      name: "server hung",
      part,
      lose: async () => {
        part.signal("SIGSTOP");
        await this.#isDropped(part);
      },
      regain: async () => {
        part.signal("SIGCONT");
        await this.#comesBack(part);
      },
    };
  }

  /** It is served from another address, which the operator tells. */
  moved(part: RemotePart): Loss {
    const verb = (...words: [string, ...string[]]): Promise<void> =>
      this.#place.h2ts(words[0], this.#place.mnt, ...words.slice(1));
    return {
      name: "moved",
      part,
      lose: async () => {
        await verb("offline", String(part.index));
        await part.move();
      },
      regain: () => verb("online", String(part.index), part.target),
    };
  }

  /** The worker of the mount dies; the next one finds the server as it was. */
  withoutWorker(part: RemotePart): Loss {
    return { name: "worker killed", part, lose: () => this.#killWorker(), regain: () => this.#comesBack(part) };
  }

  /** Server and worker die together: the next worker begins without the copy, and takes it back when its server is there. */
  withoutBoth(part: RemotePart): Loss {
    return {
      name: "server and worker killed",
      part,
      lose: async () => {
        await part.kill();
        await this.#killWorker();
      },
      regain: async () => {
        await part.start();
        await this.#comesBack(part);
      },
    };
  }
}

// Ways in which a copy of a mounted volume is lost and regained, for real: by the operator, by its medium, or for good. Each
// knows what has to be seen of it meanwhile.

import { spawnSync } from "node:child_process";
import { existsSync, openSync, closeSync, statSync, truncateSync, writeSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { CopiesPlace } from "./copies-place.ts";
import { spoil } from "./data-scenery.ts";

/** How long work may go on before a copy on a full medium must have been given something to write. */
const FULL_MS_MAX = 6000;

/** A copy that takes part, and where it is now. */
export interface Part {
  readonly index: number;
  target: string;
}

export interface Loss {
  readonly name: string;
  readonly part: Part;
  /** Resolves when the copy is out of use, or spoilt. */
  lose(): Promise<void>;
  /** Resolves when it is being caught up, or whole again. */
  regain(): Promise<void>;
}

export class Losses {
  readonly #place: CopiesPlace;
  /** Losses by a full medium that dropped the copy. */
  fullDrops = 0;

  constructor(place: CopiesPlace) {
    this.#place = place;
  }

  #verb(...words: string[]): Promise<void> {
    const [verb = "", ...rest] = words;
    return this.#place.h2ts(verb, this.#place.mnt, ...rest);
  }

  async #state({ index }: Part): Promise<string | undefined> {
    return (await this.#place.status()).copies.find((copy) => copy.index === index)?.state;
  }

  async #untilState(part: Part, state: string): Promise<void> {
    await expect.poll(() => this.#state(part), { timeout: 20_000, interval: 100 }).toBe(state);
  }

  offline(part: Part): Loss {
    const lose = (): Promise<void> => this.#verb("offline", String(part.index));
    return { name: "offline", part, lose, regain: () => this.#verb("online", String(part.index)) };
  }

  suspend(part: Part): Loss {
    const lose = (): Promise<void> => this.#verb("suspend", String(part.index));
    return { name: "suspend", part, lose, regain: () => this.#verb("resume", String(part.index)) };
  }

  /** Its image, or that of one of its nodes, loses its second half; what comes back in its place are zeros. */
  cut(part: Part, image: string): Loss {
    const { size } = statSync(image);
    return {
      name: "cut off",
      part,
      lose: async () => {
        truncateSync(image, size / 2);
        await this.#untilState(part, "FAULTED");
        expect((await this.#place.status()).copies[part.index]?.note).toMatch(/cut off|only \d+ of \d+ bytes/);
      },
      regain: async () => {
        truncateSync(image, size);
        await this.#verb("online", String(part.index));
      },
    };
  }

  /** There is no room left under its sparse image. Without anything to be written to a new place, it stays in use. */
  full(part: Part, folder: string): Loss {
    const filler = join(folder, "filler");
    return {
      name: "full medium",
      part,
      lose: async () => {
        fill(filler);
        const untilMs = performance.now() + FULL_MS_MAX;
        while (performance.now() < untilMs && (await this.#state(part)) !== "FAULTED");
        if ((await this.#state(part)) === "FAULTED") this.fullDrops++;
      },
      regain: async () => {
        await rm(filler);
        await this.#verb("online", String(part.index));
      },
    };
  }

  /** Garbage all over its image; nobody notices before it is read. */
  spoilt(part: Part, image: string, seed: () => number): Loss {
    return {
      name: "spoilt",
      part,
      lose: () => Promise.resolve(spoil(image, seed())),
      regain: async () => {
        await this.#verb("sync");
        await this.#verb("scrub");
        await this.#verb("wait", "-t", "scrub");
      },
    };
  }

  /** It leaves the volume for good, and its medium is given to the volume as a new one. */
  detached(part: Part): Loss {
    return {
      name: "detached",
      part,
      lose: async () => {
        await this.#verb("detach", String(part.index));
        await this.#verb("wait", "-t", "detach");
        expect(await this.#state(part)).toBe(undefined);
      },
      regain: () => this.#place.h2ts("attach", "-f", this.#place.mnt, part.target),
    };
  }

  /** Its loop device is taken away, and another one made of the same file. */
  moved(part: Part, file: string): Loss {
    return {
      name: "loop device detached",
      part,
      lose: async () => {
        await this.#verb("offline", String(part.index));
        expect(spawnSync("losetup", ["-d", part.target]).status).toBe(0);
      },
      regain: async () => {
        part.target = this.#place.loop(file) ?? "";
        await this.#verb("online", String(part.index), part.target);
      },
    };
  }
}

/** Takes all the room there is. */
function fill(path: string): void {
  expect(existsSync(path)).toBe(false);
  const fd = openSync(path, "w");
  const piece = Buffer.alloc(1 << 20, 0x55);
  try {
    for (;;) writeSync(fd, piece);
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
  } finally {
    closeSync(fd);
  }
}

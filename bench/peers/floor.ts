// The floors: filesystems that do nothing, served by our own transport and by libfuse in C. What is measured on them is the price
// of a request.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { run } from "../process.ts";
import { script } from "../programs.ts";
import { missingProgram } from "./peer.ts";
import { ServedPeer } from "./served.ts";

const NULL_SERVER = script("bench/null-server.js");
// The C source is not copied by the build: it is beside the TypeScript source of this file.
const NULL_C_SOURCE = fileURLToPath(new URL("../../../bench/null-c/null.c", import.meta.url));

abstract class Floor extends ServedPeer {
  readonly isFloor = true;

  /** Program and arguments that serve it in the foreground. */
  protected abstract words(): [string, ...string[]];

  create(): Promise<void> {
    return this.mount();
  }

  async mount(): Promise<void> {
    const [command, ...words] = this.words();
    await this.serve(command, words);
  }
}

export class NullTransport extends Floor {
  readonly name = "null";
  readonly description = "a null filesystem on the transport of h2ts";

  missing(): Promise<string | undefined> {
    return Promise.resolve(undefined);
  }

  protected words(): [string, ...string[]] {
    return [process.execPath, NULL_SERVER, this.directory];
  }
}

export class NullC extends Floor {
  readonly name = "c-null";
  readonly description = "a null filesystem on libfuse 3 in C";
  readonly #binary: string;

  constructor(home: string, directory: string) {
    super(directory);
    this.#binary = join(home, "null-c");
  }

  async missing(): Promise<string | undefined> {
    const program = missingProgram("cc", "pkg-config");
    if (program !== undefined) return program;
    const library = await run("pkg-config", ["--cflags", "--libs", "fuse3"]).catch(() => undefined);
    return library === undefined ? "libfuse3-dev is not installed" : undefined;
  }

  override async create(): Promise<void> {
    const { stdout } = await run("pkg-config", ["--cflags", "--libs", "fuse3"]);
    await run("cc", ["-O2", "-o", this.#binary, NULL_C_SOURCE, ...stdout.trim().split(/\s+/)]);
    await this.mount();
  }

  protected words(): [string, ...string[]] {
    return [this.#binary, "-f", this.directory];
  }
}

// What peers have in common that one program serves in the foreground: it is started to mount and gone after the unmount.

import { run, Server } from "../process.ts";
import { detach, isMounted, type Peer } from "./peer.ts";

export abstract class ServedPeer implements Peer {
  abstract readonly name: string;
  abstract readonly description: string;
  abstract readonly isFloor: boolean;
  readonly directory: string;
  #server: Server | undefined;

  constructor(directory: string) {
    this.directory = directory;
  }

  abstract missing(): Promise<string | undefined>;
  abstract create(): Promise<void>;
  abstract mount(): Promise<void>;

  /** Starts the program; resolves when `ready` says so. */
  protected async serve(
    command: string,
    words: readonly string[],
    ready: () => boolean = () => isMounted(this.directory),
  ): Promise<void> {
    this.#server = new Server(command, words);
    await this.#server.until(ready);
  }

  protected async stop(signal: NodeJS.Signals | "none" = "SIGTERM"): Promise<void> {
    await this.#server?.stop(signal);
    this.#server = undefined;
  }

  async unmount(): Promise<void> {
    await run("umount", [this.directory]);
    // It ends by itself, and may have to write everything back before.
    await this.stop("none");
  }

  pids(): Promise<readonly number[]> {
    return Promise.resolve(this.#server === undefined ? [] : [this.#server.pid]);
  }

  async abandon(): Promise<void> {
    await detach(this.directory);
    await this.stop();
  }
}

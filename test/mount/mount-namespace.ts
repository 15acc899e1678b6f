// A mount namespace for one test: what is mounted in it nobody else sees, and what the test does there to folders of the system is gone
// with it.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

export class MountNamespace {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  /**
   * Starts a process that holds one, in which `script` (of sh) was run before. Of FUSE mounts it has those below `folder` only: others, of
   * tests beside this one, would wait for it when they are unmounted. Throws when the script fails.
   */
  static async hold(folder: string, script: string): Promise<MountNamespace> {
    const others = `awk '/ - fuse/ {print $5}' /proc/self/mountinfo | grep -v '^${folder}/' | xargs -r umount -lc`;
    const words = ["-m", "--propagation", "private", "sh", "-c", `${others}\n${script}\necho ready; exec sleep 600`];
    const holder = spawn("unshare", words, { stdio: ["ignore", "pipe", "inherit"] });
    const namespace = new MountNamespace(holder);
    const ended = once(holder, "close").then(() => {
      throw new Error(`a mount namespace can't be made ready:\n${script}`);
    });
    await Promise.race([once(holder.stdout, "data"), ended]);
    ended.catch(() => undefined);
    return namespace;
  }

  get pid(): number {
    return this.#holder.pid ?? 0;
  }

  /** The words behind which a program runs in it. */
  get inside(): string[] {
    return ["nsenter", "-t", String(this.pid), "-m"];
  }

  /** Ends the process, and with it the namespace. */
  async release(): Promise<void> {
    if (this.#holder.exitCode !== null || this.#holder.signalCode !== null) return;
    const ended = once(this.#holder, "close");
    this.#holder.kill("SIGKILL");
    await ended;
  }
}

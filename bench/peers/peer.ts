// A filesystem that is measured. Its files lie in the folder it is given; it is mounted when `mount` resolves.

import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { run } from "../process.ts";

export interface Peer {
  readonly name: string;
  /** In the heading of the table: how many copies of the data it keeps, and how. */
  readonly description: string;
  /** It has no files, only the cost of a request: takes part in the rows of metadata latency alone. */
  readonly isFloor: boolean;
  readonly directory: string;
  /** Why it can't be measured here; undefined when it can. */
  missing(): Promise<string | undefined>;
  /** Makes the filesystem new and mounts it. */
  create(): Promise<void>;
  mount(): Promise<void>;
  /** Resolves once everything is durable and nothing of it runs any more. */
  unmount(): Promise<void>;
  /** Processes that serve it; none for a filesystem of the kernel. */
  pids(): Promise<readonly number[]>;
  /** After a failure: lets go of the mount, whatever state it is in. Never rejects for what is gone already. */
  abandon(): Promise<void>;
}

/** The first of `programs` that is not installed, as a sentence. */
export function missingProgram(...programs: string[]): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  const found = (program: string): boolean =>
    folders.some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  const absent = programs.find((program) => !found(program));
  return absent === undefined ? undefined : `${absent} is not installed`;
}

/** Whether something is mounted at `directory`. */
export function isMounted(directory: string): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .some((line) => line.split(" ")[4] === directory);
}

/** Detaches what is mounted at `directory`, if anything is. */
export async function detach(directory: string): Promise<void> {
  if (isMounted(directory)) await run("umount", ["-l", directory]);
}

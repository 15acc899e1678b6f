// Who had an export when its server ended: a server that is started again leaves it to that owner, under the same number. Kept
// where it is gone when the machine is started anew, under what the device is known by: whoever opens that to write on this
// machine, other than a server does, takes the record away first (I11). No record is always safe: the owner is told another number.

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRuntimeFolder, runtimeFolder } from "../../base/runtime-folder.ts";

export interface RecordedLease {
  /** What the owner is known by. */
  readonly owner: string;
  readonly number: number;
  /** For people: who it is. */
  readonly label: string;
}

export interface LeaseRecord {
  read(): RecordedLease | undefined;
  /** Throws when it can't be kept; then nothing is. */
  keep(lease: RecordedLease): void;
  /** Throws when what was kept can't be taken away. */
  forget(): void;
}

/** Of what can't be known again. */
export const NO_RECORD: LeaseRecord = { read: () => undefined, keep: () => undefined, forget: () => undefined };

const folder = (): string => join(runtimeFolder(), "leases");
const fileOf = (incarnation: string): string => join(folder(), incarnation.replaceAll(/[^0-9A-Za-z]/g, "-"));

/** A row is known by all its nodes: each has the record, which holds only where they agree. */
export class DeviceLeaseRecord implements LeaseRecord {
  readonly #paths: readonly string[];

  constructor(incarnations: readonly string[]) {
    this.#paths = incarnations.map(fileOf);
  }

  read(): RecordedLease | undefined {
    const [text, ...others] = this.#paths.map(textOf);
    if (text === undefined || others.some((other) => other !== text)) return undefined;
    const [owner = "", digits = "", label = ""] = text.split("\n");
    const number = Number(digits);
    return owner !== "" && number > 0 && Number.isSafeInteger(number) ? { owner, number, label } : undefined;
  }

  keep({ owner, number, label }: RecordedLease): void {
    try {
      makeRuntimeFolder();
      mkdirSync(folder(), { recursive: true, mode: 0o700 });
      for (const path of this.#paths) {
        writeFileSync(`${path}.new`, `${owner}\n${number}\n${label}\n`, { mode: 0o600 });
        renameSync(`${path}.new`, path);
      }
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  forget(): void {
    for (const path of this.#paths) if (existsSync(path)) rmSync(path, { force: true });
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

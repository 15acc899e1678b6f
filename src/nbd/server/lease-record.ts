// Who had an export when its server ended: a server that is started again leaves it to that owner, under the same number. Kept
// where it is gone when the machine is started anew, under what the device is known by: whoever opens that to write on this
// machine, other than a server does, takes the record away first (I11), whichever of this user's programs left it; root takes away
// that of any user. No record is always safe: the owner is told another number.

import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeRuntimeFolder, runtimeFolder, runtimeFolders } from "../../base/runtime-folder.ts";

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

const leasesIn = (folder: string): string => join(folder, "leases");
/** Where users have their runtime folders, and the names there that say whose. */
const USERS = [
  ["/run/user", /^(\d+)$/],
  ["/tmp", /^h2ts-(\d+)$/],
] as const;

/** A row is known by all its nodes: each has the record, which holds only where they agree. */
export class DeviceLeaseRecord implements LeaseRecord {
  readonly #names: readonly string[];

  constructor(incarnations: readonly string[]) {
    this.#names = incarnations.map((incarnation) => incarnation.replaceAll(/[^0-9A-Za-z]/g, "-"));
  }

  read(): RecordedLease | undefined {
    const [text, ...others] = this.#pathsIn(runtimeFolder()).map(textOf);
    if (text === undefined || others.some((other) => other !== text)) return undefined;
    const [owner = "", digits = "", label = ""] = text.split("\n");
    const number = Number(digits);
    return owner !== "" && number > 0 && Number.isSafeInteger(number) ? { owner, number, label } : undefined;
  }

  keep({ owner, number, label }: RecordedLease): void {
    try {
      // What another server left would be believed by that when it is started again.
      this.forget();
      const folder = makeRuntimeFolder();
      mkdirSync(leasesIn(folder), { recursive: true, mode: 0o700 });
      for (const path of this.#pathsIn(folder)) {
        writeFileSync(`${path}.new`, `${owner}\n${number}\n${label}\n`, { mode: 0o600 });
        renameSync(`${path}.new`, path);
      }
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  /** Also what a server in another environment kept. */
  forget(): void {
    for (const path of foldersInSight().flatMap((folder) => this.#pathsIn(folder)))
      if (isFile(path)) rmSync(path, { force: true });
  }

  #pathsIn(folder: string): string[] {
    return this.#names.map((name) => join(leasesIn(folder), name));
  }
}

/** The runtime folders of this user, and of all users if this is root. */
function foldersInSight(): string[] {
  if (process.getuid?.() !== 0) return runtimeFolders();
  const users = USERS.flatMap(([parent, pattern]) => namesIn(parent).flatMap((name) => pattern.exec(name)?.[1] ?? []));
  return [...new Set(["0", ...users])].flatMap((user) => runtimeFolders(Number(user)));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** What else a user has put there is no record, and holds nobody up. */
function isFile(path: string): boolean {
  try {
    return lstatSync(path).isFile();
  } catch {
    return false;
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

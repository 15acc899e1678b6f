// Whose folders commands look for control sockets in.

import { chownSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { runtimeFolder, runtimeFolders } from "../../src/base/runtime-folder.ts";
import { controlPaths } from "../../src/daemon/control-path.ts";

/** Nobody has this number. */
const UID = 3_987_654;
const OF_LOGIN = `/run/user/${UID}`;
const IN_TMP = `/tmp/h2ts-${UID}`;

describe.skipIf(process.getuid?.() !== 0)("the folders of a user", () => {
  beforeEach(() => {
    mkdirSync(`${OF_LOGIN}/h2ts`, { recursive: true });
    mkdirSync(IN_TMP);
    for (const path of [OF_LOGIN, `${OF_LOGIN}/h2ts`, IN_TMP]) chownSync(path, UID, 0);
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
    for (const path of [OF_LOGIN, IN_TMP]) rmSync(path, { recursive: true });
  });

  it("are all that programs of that user may have used, for root and in any environment of the user", () => {
    const all = [`${OF_LOGIN}/h2ts`, IN_TMP];
    expect(controlPaths("0-50", UID)).toEqual(all.map((folder) => `${folder}/0-50.sock`));
    vi.spyOn(process, "getuid").mockReturnValue(UID);
    for (const environment of [undefined, "", OF_LOGIN]) {
      vi.stubEnv("XDG_RUNTIME_DIR", environment);
      expect(runtimeFolder()).toBe(environment === OF_LOGIN ? all[0] : all[1]);
      expect(runtimeFolders().toSorted()).toEqual(all);
    }
  });

  it("are not where the path of a control socket would be too long", () => {
    vi.spyOn(process, "getuid").mockReturnValue(UID);
    for (const [bytes, isTaken] of [
      [81, true],
      [82, false],
    ] as const) {
      const runtime = `${OF_LOGIN}/`.padEnd(bytes - "/h2ts".length, "x");
      mkdirSync(runtime);
      chownSync(runtime, UID, 0);
      vi.stubEnv("XDG_RUNTIME_DIR", runtime);
      expect(runtimeFolder()).toBe(isTaken ? `${runtime}/h2ts` : IN_TMP);
      expect(Buffer.byteLength(`${runtimeFolder()}/4095-1048575.sock.4194304`)).toBeLessThanOrEqual(107);
    }
  });

  it("are not what belongs to somebody else", () => {
    chownSync(`${OF_LOGIN}/h2ts`, 0, 0);
    rmSync(IN_TMP, { recursive: true });
    symlinkSync(OF_LOGIN, IN_TMP);
    expect(runtimeFolders(UID)).toEqual([]);
    // As su leaves it in the environment.
    vi.spyOn(process, "getuid").mockReturnValue(UID);
    chownSync(OF_LOGIN, 0, 0);
    vi.stubEnv("XDG_RUNTIME_DIR", OF_LOGIN);
    expect(runtimeFolder()).toBe(IN_TMP);
  });
});

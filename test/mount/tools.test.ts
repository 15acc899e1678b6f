// The scripts in tools/ as somebody runs them who has just cloned the repository and has installed nothing. What they would install and
// build is there already: npm and apt-get are stand-ins that note what they are asked for, and so is vitest.

import { execFile } from "node:child_process";
import { chmodSync, cpSync, existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DIST, mountsImpossible, type Outcome, Place } from "./cli-place.ts";
import { MountNamespace } from "./mount-namespace.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const CI = "npm ci --ignore-scripts --no-audit --no-fund";
const BUILD = "npm run --silent build";
const STANDINS = {
  npm: `case "$1" in
  ci) mkdir node_modules; ln -s ${ROOT}/node_modules/* ${ROOT}/node_modules/.bin node_modules
    touch node_modules/.package-lock.json ;;
  run) ln -sfn ${DIST} dist ;;
esac`,
  npx: `if [ "$1" = vitest ]; then echo "kills $H2TS_KILLS $H2TS_KILL_SEED"; else exec "node_modules/.bin/$@"; fi`,
  "apt-get": "",
};

let place: Place;
let clone: string;
let namespace: MountNamespace | undefined;
beforeEach(() => {
  place = new Place();
  clone = place.path("clone");
  for (const name of ["package.json", "package-lock.json", "README.md", "docs", "man", "src", "tools"])
    cpSync(join(ROOT, name), join(clone, name), { recursive: true, preserveTimestamps: true });
  symlinkSync(join(ROOT, "test"), join(clone, "test"));
  mkdirSync(place.path("bin"));
  for (const [name, script] of Object.entries(STANDINS))
    standIn(name, `echo "${name} $*" >> ${place.path("asked")}\n${script}`);
});
afterEach(async () => {
  await namespace?.release();
  namespace = undefined;
  place.clear();
});

function standIn(name: string, script: string): void {
  writeFileSync(place.path(`bin/${name}`), `#!/bin/bash\n${script}\n`);
  chmodSync(place.path(`bin/${name}`), 0o755);
}

/** What npm and the others were asked for since the last look. */
function asked(): string[] {
  if (!existsSync(place.path("asked"))) return [];
  const lines = readFileSync(place.path("asked"), "utf8").trimEnd().split("\n");
  writeFileSync(place.path("asked"), "");
  return lines.filter((line) => line !== "");
}

/** Runs a command line of bash in the clone, behind `words`. */
function bash(line: string, words: readonly string[] = []): Promise<Outcome> {
  const env = { ...process.env, PATH: `${place.path("bin")}:${process.env["PATH"]}` };
  const [command = "", ...all] = [...words, "bash", "-c", `cd ${clone} && ${line}`];
  return new Promise((settle) => {
    execFile(command, all, { env }, (error, out, err) =>
      settle({ code: error === null ? 0 : (error.code as number), out, err }),
    );
  });
}

async function succeeds(line: string, words?: readonly string[]): Promise<Outcome> {
  const outcome = await bash(line, words);
  expect(outcome.code, `${line}\n${outcome.out}${outcome.err}`).toBe(0);
  return outcome;
}

describe.skipIf(mountsImpossible() !== undefined)("in a new clone", () => {
  it("tools/demo.sh shows a volume, and says how to put it away", async () => {
    const { out } = await succeeds("bash tools/demo.sh");
    expect(asked()).toEqual([CI, BUILD]);
    expect(out).toMatch(/^\$ mkfs\.h2ts -L demo [^]*\n\$ h2ts mount demo\/a\.img demo\/b\.img demo\/volume\n/m);
    expect(out).toMatch(/volume: demo [^]*state: ONLINE[^]*errors: No known data errors\n/);
    const volume = join(clone, "demo/volume");
    expect(place.mounts()).toEqual([volume]);
    expect(readFileSync(join(volume, "README.md")).equals(readFileSync(join(ROOT, "README.md")))).toBe(true);
    const away = out.trimEnd().split("\n").at(-1)?.trim() ?? "";
    expect(away).toMatch(/^node dist\/src\/cli\.js umount .* dist\/fsck\/main\.js -n -f /);
    expect((await succeeds(away)).out).toMatch(/: clean\n$/);
    expect(place.mounts()).toEqual([]);
  });

  it("tools/install.sh puts the commands where mount(8), mkfs(8), fstab and people find them, and takes them away", async () => {
    // The folders that it makes links in, with all that is in them, for this test alone.
    namespace = await MountNamespace.hold(
      place.folder,
      `set -e
shadow() { # FOLDER: what is in it is there still, and what is changed in it goes no further.
  before=${place.path("before")}$1; mkdir -p $before; mount --bind $1 $before; mount -t tmpfs none $1
  find $before -mindepth 1 -maxdepth 1 ! -name '*.h2ts' ! -name h2ts -exec ln -s -t $1 {} +
}
shadow $(readlink -f /sbin); shadow /usr/local
for folder in /usr/local/bin /usr/local/share; do
  rm -f $folder; mkdir $folder
  find $before/\${folder##*/} -mindepth 1 -maxdepth 1 ! -name man ! -name h2ts -exec ln -s -t $folder {} +
done`,
    );
    const { inside } = namespace;
    const { err } = await succeeds("bash tools/install.sh", inside);
    expect(asked()).toEqual([CI, BUILD]);
    const links = err
      .trimEnd()
      .split("\n")
      .filter((line) => line.startsWith("/"));
    expect(links.filter((link) => link.includes("/man/")).length).toBeGreaterThan(3);
    expect((await succeeds(`for link in ${links.join(" ")}; do cat $link > here; done`, inside)).err).toBe("");
    const mnt = place.mountPoint();
    writeFileSync(place.path("fstab"), `a.img,b.img ${mnt} fuse.h2ts noauto,nowarmup,nofail 0 0\n`);
    await succeeds("mkfs -t h2ts -q -s 64M a.img b.img", inside);
    // Only as if: that it is asked is enough.
    await succeeds(`mount -f -t h2ts a.img,b.img ${mnt}`, inside);
    const { out } = await succeeds(
      `mount -T ${place.path("fstab")} ${mnt} && echo kept > ${mnt}/file && h2ts umount ${mnt} && fsck.fuse.h2ts -n a.img b.img`,
      inside,
    );
    expect(out).toMatch(/: clean /);
    expect((await succeeds("fsck.h2ts -V", inside)).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    await succeeds("bash tools/install.sh --remove", inside);
    expect((await bash(`ls ${links.join(" ")}`, inside)).out).toBe("");
  });

  it("npm run sim and npm run torture bring what they need, and run what there is", async () => {
    // No time for any seed: the program begins, and ends.
    const sim = await succeeds("bash tools/sim.sh --minutes 0 --seed 5");
    for (const part of [1, 2]) {
      expect(sim.out).toMatch(new RegExp(`^crash states for 0 minutes from seed 5, part ${part} of 2$`, "m"));
      expect(sim.out).toMatch(new RegExp(`^part ${part}: 0 seeds, `, "m"));
    }
    const [first, bundle, histories, ...rest] = asked();
    expect([first, rest]).toEqual([CI, []]);
    expect(bundle).toMatch(/^npx rolldown test\/sim\/endless\/crashes\.ts /);
    expect(histories).toBe("npx vitest run --config test/sim/endless/vitest.config.ts");

    // Nothing is installed.
    chmodSync(place.folder, 0o755);
    standIn("dpkg-query", "");
    expect(await bash("bash tools/torture.sh", ["setpriv", "--reuid=65534", "--clear-groups"])).toMatchObject({
      code: 1,
      err: "error: run this as root: it mounts\n",
    });
    const torture = await succeeds("rm -r dist; bash tools/torture.sh --kills 3 --seed 7");
    expect(torture.out).toBe("kills 3 7\n");
    const kills = "npx vitest run test/mount/restart.test.ts -t goes unnoticed";
    const install = "apt-get install -y -qq --no-install-recommends fio rsync sqlite3 git";
    expect(asked()).toEqual(["apt-get update -qq", install, BUILD, kills]);
    for (const path of [bundle, histories, kills].flatMap((line) => line?.match(/test\/\S+/g) ?? []))
      expect(lstatSync(join(ROOT, path)).isFile(), path).toBe(true);
    expect(readFileSync(join(ROOT, "test/mount/restart.test.ts"), "utf8")).toMatch(/\bit\("[^"]* goes unnoticed"/);
  });
});

// A directory of which some inodes, or long names, are bad on every copy, or some names can't be any: it lists all the rest.

import { beforeEach, expect, it } from "vitest";
import { REF_NAME_OFFSET, refPointer, setRefEntry } from "../../src/format/blockref.ts";
import { KIB } from "../../src/format/geometry.ts";
import { entriesRoot, findEntry } from "../../src/ops/directories.ts";
import { directoryOf, inodesRoot } from "../../src/ops/inodes.ts";
import type { AttributesWanted } from "../../src/posix/requests.ts";
import type { PfsState } from "../../src/tree/pfs-state.ts";
import { type Position, treeFind } from "../../src/tree/tree.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { refusal } from "./errno.ts";

const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0 };
const ROOT = 1;
const LONG = "n".repeat(200);

let made: SimulatedVolume;
let inos: number[];
beforeEach(async () => {
  made = await SimulatedVolume.format(22, [32 * MIB, 32 * MIB]);
  inos = [];
  for (const name of ["first", "second", LONG]) {
    inos.push((await made.fs.makeNode(ROOT, Buffer.from(name), 0o100644, 0, 0, CALLER)).ino);
  }
  made = await made.remount();
});

/** Spoils the block that a ref names on all copies, and begins with an empty cache. */
async function spoil(refIn: (state: PfsState) => Position | undefined): Promise<void> {
  const places = await made.volume.view((state) => {
    const { block, at } = refIn(state)!;
    return made.devices.map((_, copy) => refPointer(block.view, at, copy) * KIB);
  });
  for (const [copy, place] of places.entries()) made.devices[copy]!.image.flipBit(place + 10, 3);
  made = await made.remount();
}

/** The names, those without attributes with a question mark. */
async function list(wanted: AttributesWanted): Promise<string[]> {
  const names: string[] = [];
  await made.fs.readDirectory(
    ROOT,
    2,
    wanted,
    () => (names.length = 0),
    ({ name }, attributes) => names.push(Buffer.from(name).toString() + (attributes === undefined ? "?" : "")) > 0,
  );
  return names.sort();
}

it("an inode that no copy can give costs its own entry the attributes", async () => {
  await spoil((state) => treeFind(state.store, inodesRoot(state.pfs()), inos[1] as number));
  expect(await list("all")).toEqual(["first", LONG, "second?"]);
  expect(await list("at-hand")).toHaveLength(3);
  expect(await list("none")).toEqual(["first?", `${LONG}?`, "second?"]);
  expect(await refusal(() => made.fs.lookup(ROOT, Buffer.from("second")))).toBe("EIO");
  expect((await made.fs.lookup(ROOT, Buffer.from("first")))?.ino).toBe(inos[0]);
});

it("a long name that no copy can give is left out", async () => {
  await spoil((state) => {
    const directory = directoryOf(state, ROOT);
    const entry = findEntry(state.store, directory, Buffer.from(LONG));
    return treeFind(state.store, entriesRoot(directory), entry!.key);
  });
  expect(await list("all")).toEqual(["first", "second"]);
  expect(await list("none")).toEqual(["first?", "second?"]);
});

it.each(["in/ide", "NUL\0", ".", ".."])("a name that can't be one, %j, is left out", async (name) => {
  await made.volume.view((state) => {
    const directory = directoryOf(state, ROOT);
    const { key, ino, type } = findEntry(state.store, directory, Buffer.from("second"))!;
    const { block, at } = treeFind(state.store, entriesRoot(directory), key)!;
    setRefEntry(block.view, at, ino, type, name.length);
    block.bytes.set(Buffer.from(name), at + REF_NAME_OFFSET);
  });
  expect(await list("none")).toEqual(["first?", `${LONG}?`]);
});

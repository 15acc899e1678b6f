// Two blocks lost on every copy, one of them of a freemap: what is free is known all the same where nothing hangs from the other one,
// and where something does, what can't be told counts as used.
import { expect, test } from "vitest";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { BLOCKREF_BYTES, RefType, refSizeBytes, refType } from "../../src/format/blockref.ts";
import { INODE_XATTRS_OFFSET } from "../../src/format/inode.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { openVolume } from "../../src/volume/open.ts";
import { buildGoodImage, LONG_NAME } from "../../fixtures/corrupt/good-image.ts";
import type { VolumeImage } from "../../fixtures/corrupt/image-builder.ts";
import { type EditedRef, ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { checkVolume } from "../../fsck/check.ts";
import { type FsckOutcome, fsckVolume } from "../../fsck/fsck.ts";

const clock = new SimulatedClock();
const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };
const good = buildGoodImage();
/** Of more than one freemap leaf each: 32 MiB. */
const large = buildGoodImage(1, [81_920, 98_304]);

const ITEMS: readonly (readonly [string, (editor: ImageEditor) => EditedRef])[] = [
  ["data", (editor) => editor.dataRef(3, 65_536)],
  ["xattrs", (editor) => ({ block: editor.inode(2), at: INODE_XATTRS_OFFSET })],
  ["a name", (editor) => editor.entryRef(1, LONG_NAME)],
];

/** The image with these blocks lost on every copy, and the leaf of every copy's freemap. */
function spoiled(volume: VolumeImage, ...refsOf: readonly ((editor: ImageEditor) => EditedRef)[]): ImageEditor {
  const editor = new ImageEditor(volume);
  const refs = refsOf.map((refOf) => refOf(editor));
  for (const { index } of editor.copies) {
    for (const ref of refs) editor.garble(ref, index);
    for (const { index: owner } of editor.copies) editor.garble(editor.freemapRef(owner), index);
  }
  return editor;
}

function fsck(volume: ImageEditor, abandon = false): Promise<FsckOutcome> {
  const target = { copies: memoryCopies(volume, false), devices: memoryDevices(volume) };
  return fsckVolume(target, { force: true, clock, repair: "full", abandon });
}

/** The bytes of /sparse, from a volume that can be written to. */
async function readSparse(volume: ImageEditor): Promise<Buffer> {
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const fs = new FileSystem(opened, clock);
  const { pieces } = await fs.read(7, 0, 4_000_000);
  await fs.makeNode(1, Buffer.from("new"), 0o100644, 0, 0, caller);
  await fs.close();
  await opened.close();
  return Buffer.concat(pieces);
}

/** What lies where the data blocks below its first indirect block are in the sound image. */
function hiddenBytes({ copies }: VolumeImage, copy: number): Buffer[] {
  const sound = new ImageEditor(large);
  const indirect = sound.open(sound.dataRef(7, 0, 1));
  const blocks: Buffer[] = [];
  for (let at = 0; at < indirect.bytes.length && refType(indirect.view, at) !== RefType.EMPTY; at += BLOCKREF_BYTES) {
    const bytes = Buffer.alloc(refSizeBytes(indirect.view, at));
    (copies[copy] as VolumeImage["copies"][number]).image.read(sound.offsetOf({ block: indirect, at }, copy), bytes);
    blocks.push(bytes);
  }
  expect(blocks.length).toBeGreaterThan(4);
  return blocks;
}

const told = ({ left, failures }: FsckOutcome): string =>
  [...left, ...failures].map(({ message }) => message).join("\n");

test.each(ITEMS)("a freemap is computed anew although %s is lost, too", async (_, refOf) => {
  const volume = spoiled(good, refOf);
  const outcome = await fsck(volume);
  expect(
    outcome.left.map(({ name }) => name),
    told(outcome),
  ).toEqual(["block-lost"]);
  expect(outcome.failures).toEqual([]);
  expect((await readSparse(volume)).equals(await readSparse(new ImageEditor(good)))).toBe(true);
  // What is in use is what was, to the last KiB.
  expect((await fsck(volume)).left.map(({ name }) => name)).toEqual(["block-lost"]);
});

test("where a lost block hides others, all that the lost part of the freemap stood for counts as used", async () => {
  const hidden = (editor: ImageEditor): EditedRef => editor.dataRef(7, 0, 1);
  const volume = spoiled(large, hidden);
  const outcome = await fsck(volume);
  expect(
    outcome.left.map(({ name }) => name),
    told(outcome),
  ).toEqual(["block-lost"]);
  expect(outcome.failures).toEqual([]);
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const fs = new FileSystem(opened, clock);
  const { ino } = await fs.makeNode(1, Buffer.from("new"), 0o100644, 0, 0, caller);
  await fs.write(ino, 0, new Uint8Array(1_000_000).fill(7), {});
  await fs.unlink(1, Buffer.from("sparse"), caller);
  await fs.close();
  await opened.close();
  // Nothing was written where a hidden block lies.
  for (const copy of [0, 1]) expect(hiddenBytes(volume, copy)).toEqual(hiddenBytes(large, copy));
  // What hid them is given up now: their room is free again.
  const after = await fsck(volume, true);
  expect(after.left, told(after)).toEqual([]);
  expect(await checkVolume(memoryCopies(volume))).toEqual([]);
});

test("nothing is changed where no part of the freemap is left to tell what a hidden block may have", async () => {
  const outcome = await fsck(spoiled(good, (editor) => editor.dataRef(7, 0, 1)));
  expect(told(outcome)).toContain("what is free can't be known");
});

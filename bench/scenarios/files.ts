// Many files: small ones made, looked at and deleted, and a tree unpacked.

import { mkdirSync, writeFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Amounts } from "../amounts.ts";
import { Content } from "../content.ts";
import { run } from "../process.ts";
import type { Scenario } from "./scenario.ts";

export const smallFiles: Scenario = {
  name: "small-files",
  rows: [
    { name: "create", unit: "op/s" },
    { name: "readdir", unit: "op/s" },
    { name: "stat all", unit: "op/s" },
    { name: "readdir cold", unit: "op/s" },
    { name: "stat cold", unit: "op/s" },
    { name: "delete", unit: "op/s" },
  ],
  run: async (place) => {
    const { create } = await place.task("smallFiles");
    const { list } = await place.task("smallFilesList");
    const { stat } = await place.task("smallFilesStat");
    await place.remountCold();
    const { list: listCold } = await place.task("smallFilesList");
    const { stat: statCold } = await place.task("smallFilesStat");
    const { delete: deleted } = await place.task("smallFilesDelete");
    return {
      create: create as number,
      readdir: list as number,
      "stat all": stat as number,
      "readdir cold": listCold as number,
      "stat cold": statCold as number,
      delete: deleted as number,
    };
  },
};

const FILES_PER_FOLDER = 12;
/** Sizes as source trees have them: most files small, a few large. */
const sizeBytes = (content: Content): number => Math.floor(512 * 2 ** (content.below(900) / 100)) + content.below(700);

/** Packs a generated tree into `path`. */
export async function makeTar(path: string, { treeFiles }: Amounts): Promise<void> {
  const tree = `${path}-tree`;
  const content = new Content();
  try {
    for (let i = 0; i < treeFiles; i++) {
      const folder = Math.floor(i / FILES_PER_FOLDER);
      const directory = join(tree, `package-${Math.floor(folder / 8)}`, `folder-${folder % 8}`);
      if (i % FILES_PER_FOLDER === 0) mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `source-${i}.ts`), content.bytes(sizeBytes(content)));
    }
    await run("tar", ["-C", tree, "-cf", path, "."]);
  } finally {
    await rm(tree, { recursive: true, force: true });
  }
}

export function untar(tar: string): Scenario {
  return {
    name: "untar",
    rows: [{ name: "untar", unit: "op/s" }],
    run: async (place) => {
      await readFile(tar); // From memory, whoever is first.
      const { seconds } = await place.program("tar", ["-xf", tar]);
      return { untar: place.amounts.treeFiles / seconds };
    },
  };
}

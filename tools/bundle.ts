// Puts the modules of each program into a few files, in place of the entries that the compiler wrote: Node takes a millisecond
// or two for every file it loads, and people wait for commands as programs on a mount wait for a worker when theirs died.
import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { type OutputOptions, rolldown } from "rolldown";

const WORKER = "src/daemon/worker-main";
const OTHERS = ["src/cli", "src/cli/mount-helper", "src/daemon/supervisor-main", "mkfs/main", "fsck/main"];
/** Native code, which is found beside its package. */
const EXTERNAL = ["koffi", "fuse-native"];
/** What programs load later, or share with what they load later. As deep as the modules that look for files by their own place. */
const SHARED = "src/bundled";

async function bundle(program: string, options: OutputOptions): Promise<void> {
  const bundled = await rolldown({
    input: { [program]: `dist/${program}.js` },
    platform: "node",
    external: EXTERNAL,
  });
  await bundled.write({ dir: "dist", format: "esm", sourcemap: true, entryFileNames: "[name].js", ...options });
  await bundled.close();
}

/** What rolldown knows of modules. */
interface Graph {
  getModuleInfo(id: string): { readonly importedIds: readonly string[] } | null;
}

/**
 * The modules that a program has to have to begin; without the first one, which may wait for what is loaded later, and must not
 * be waited for by that.
 */
function neededBy(program: string, graph: Graph): ReadonlySet<string> {
  const first = resolve(`dist/${program}.js`);
  const needed = new Set([first]);
  for (const id of needed) for (const imported of graph.getModuleInfo(id)?.importedIds ?? []) needed.add(imported);
  needed.delete(first);
  return needed;
}

rmSync(`dist/${SHARED}`, { recursive: true, force: true });
for (const program of OTHERS) {
  let needed: ReadonlySet<string> | undefined;
  await bundle(program, {
    chunkFileNames: `${SHARED}/[name]-[hash].js`,
    // All that it needs at first is in one file, though what it loads later shares much of that.
    codeSplitting: {
      groups: [
        {
          debugName: program,
          name: (id, graph) => ((needed ??= neededBy(program, graph)).has(id) ? program.replaceAll("/", "-") : null),
        },
      ],
    },
  });
}
// Alone, in one file, with all that it loads later: a mount outlives the files that its worker came from.
await bundle(WORKER, { codeSplitting: false });

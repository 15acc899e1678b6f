// Puts the modules of each program into a few files, in place of the entries that the compiler wrote: Node takes a millisecond
// or two for every file it loads, and people wait for commands as programs on a mount wait for a worker when theirs died.
import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { type OutputOptions, type Plugin, rolldown } from "rolldown";

const WORKER = "src/daemon/worker-main";
const OTHERS = ["src/cli", "src/cli/mount-helper", "src/daemon/supervisor-main", "mkfs/main", "fsck/main"];
/** Native code, which is found beside its package. */
const EXTERNAL = ["koffi", "fuse-native"];
/** What programs load later, or share with what they load later. As deep as the modules that look for files by their own place. */
const SHARED = "src/bundled";

async function bundle(program: string, options: OutputOptions, plugins: readonly Plugin[] = []): Promise<void> {
  const bundled = await rolldown({
    input: { [program]: `dist/${program}.js` },
    platform: "node",
    external: EXTERNAL,
    plugins: [...plugins],
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

const LATER = /await import\("(\.\/open-remote\.js)"\)/g;
/**
 * In one file, what is loaded later is wrapped together with all that it imports. The client of the network imports what everything
 * is made of (integers, structures, check codes), and V8 makes less of such code: a fourteenth fewer files were created a second.
 */
const clientAtOnce: Plugin = {
  name: "client-at-once",
  transform(code, id) {
    if (!id.endsWith("/nbd/open.js")) return null;
    const [later] = code.matchAll(LATER);
    if (later === undefined) throw new Error(`${id} loads no client later: see LATER in tools/bundle.ts`);
    return { code: `import * as clientModule from "${later[1]}";\n${code.replace(LATER, "clientModule")}`, map: null };
  },
};
// Alone, in one file, with all that it loads later: a mount outlives the files that its worker came from.
await bundle(WORKER, { codeSplitting: false }, [clientAtOnce]);

// Puts the modules of each program into a few files, in place of the entries that the compiler wrote: Node takes half a
// millisecond for every module it loads, and programs on a mount wait for that when its worker died.
import { rmSync } from "node:fs";
import { type OutputOptions, rolldown } from "rolldown";

const WORKER = ["src/daemon/worker-main"];
const OTHERS = ["src/cli", "src/cli/mount-helper", "src/daemon/supervisor-main", "mkfs/main", "fsck/main"];
/** Native code, which is found beside its package. */
const EXTERNAL = ["koffi", "fuse-native"];
/** What programs share. As deep as the modules that look for files by their own place. */
const SHARED = "src/bundled";

async function bundle(programs: readonly string[], options: OutputOptions): Promise<void> {
  const bundled = await rolldown({
    input: Object.fromEntries(programs.map((path) => [path, `dist/${path}.js`])),
    platform: "node",
    external: EXTERNAL,
  });
  await bundled.write({ dir: "dist", format: "esm", sourcemap: true, entryFileNames: "[name].js", ...options });
  await bundled.close();
}

rmSync(`dist/${SHARED}`, { recursive: true, force: true });
await bundle(OTHERS, { chunkFileNames: `${SHARED}/[name]-[hash].js` });
// Alone, in one file, with all that it loads later.
await bundle(WORKER, { codeSplitting: false });

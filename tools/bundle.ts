// Puts the modules of each program into a few files, in place of the entries that the compiler wrote: Node takes half a
// millisecond for every module it loads, and programs on a mount wait for that when its worker died.
import { rmSync } from "node:fs";
import { rolldown } from "rolldown";

const PROGRAMS = [
  "src/cli",
  "src/cli/mount-helper",
  "src/daemon/supervisor-main",
  "src/daemon/worker-main",
  "mkfs/main",
  "fsck/main",
];
/** Native code, which is found beside its package. */
const EXTERNAL = ["koffi", "fuse-native"];
/** What programs share. As deep as the modules that look for files by their own place. */
const SHARED = "src/bundled";

const bundle = await rolldown({
  input: Object.fromEntries(PROGRAMS.map((path) => [path, `dist/${path}.js`])),
  platform: "node",
  external: EXTERNAL,
});
rmSync(`dist/${SHARED}`, { recursive: true, force: true });
await bundle.write({
  dir: "dist",
  format: "esm",
  sourcemap: true,
  entryFileNames: "[name].js",
  chunkFileNames: `${SHARED}/[name]-[hash].js`,
});
await bundle.close();

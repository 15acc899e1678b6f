import { defineConfig } from "vitest/config";
import { builtCode } from "./test/built-code.ts";
import { Order } from "./test/order.ts";

const NOT_ORDINARY = ["test/acceptance/**", "test/sim/endless/**"];
/** Tests that put modules of their own in place of ours: of built code they see only the surface. */
const REPLACING = [
  "test/crash/seeded-log-bugs.test.ts",
  "test/unit/open-volume.test.ts",
  "test/unit/start-mount.test.ts",
];

const ALL = ["test/**/*.test.ts"];

// What stands here is added to what `extends` brings: both kinds say themselves what is theirs.
const projects = [
  {
    extends: true as const,
    plugins: [builtCode],
    test: { name: "built", include: ALL, exclude: [...NOT_ORDINARY, ...REPLACING] },
  },
  { extends: true as const, test: { name: "sources", include: REPLACING } },
];
const isBuilt = process.env["H2TS_TEST_BUILT"] !== undefined;

// Most of what mount tests do is to wait: four files at a time keep two cores busy.
// The limits are for what hangs, not for what is slow: on a host busy with other things all takes three times as long.
export default defineConfig({
  test: {
    testTimeout: 600_000,
    hookTimeout: 600_000,
    expect: { poll: { timeout: 60_000 } },
    pool: "forks",
    globalSetup: "test/all-possible.ts",
    maxWorkers: 4,
    sequence: { sequencer: Order },
    server: { deps: { external: [/\/dist\//] } },
    // All of them in one, of the sources as they are, unless a build came before (tools/test.sh).
    ...(isBuilt ? { projects } : { include: ALL, exclude: NOT_ORDINARY }),
  },
});

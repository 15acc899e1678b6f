import { defineConfig } from "vitest/config";

// Most of what mount tests do is to wait: three files at a time keep two cores busy.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/acceptance/**", "test/sim/endless/**"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: "forks",
    maxWorkers: 3,
  },
});

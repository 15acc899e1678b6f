import { defineConfig } from "vitest/config";

// Mount tests share loop devices, mount points and two cores: files run one after another there, side by side elsewhere.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/acceptance/**", "test/sim/endless/**"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: "forks",
    maxWorkers: 2,
  },
});

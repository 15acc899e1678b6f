import { defineConfig } from "vitest/config";

// The long run, apart from `npm test`: one volume, step after step, and no more steps once one has failed.
export default defineConfig({
  test: {
    root: `${import.meta.dirname}/../..`,
    include: ["test/acceptance/**/*.test.ts"],
    testTimeout: 2_400_000,
    hookTimeout: 600_000,
    reporters: ["verbose"],
    bail: 1,
  },
});

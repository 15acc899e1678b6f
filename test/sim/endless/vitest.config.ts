import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["test/sim/endless/*.test.ts"], testTimeout: 0, pool: "forks", maxWorkers: 2 },
});

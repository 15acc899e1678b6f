import { defineConfig } from "vitest/config";
import { Order } from "./test/order.ts";

// Most of what mount tests do is to wait: four files at a time keep two cores busy.
// The limits are for what hangs, not for what is slow: on a host busy with other things all takes three times as long.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["test/acceptance/**", "test/sim/endless/**"],
    testTimeout: 600_000,
    hookTimeout: 600_000,
    pool: "forks",
    maxWorkers: 4,
    sequence: { sequencer: Order },
  },
});

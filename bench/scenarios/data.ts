// Large files, in order and at random.

import type { Scenario } from "./scenario.ts";

export const sequential: Scenario = {
  name: "sequential",
  rows: [
    { name: "sequential write", unit: "MiB/s" },
    { name: "warm read", unit: "MiB/s" },
    { name: "cold read", unit: "MiB/s" },
  ],
  run: async (place) => {
    const { write } = await place.task("sequentialWrite");
    const { read: warm } = await place.task("warmRead");
    await place.remountCold();
    const { read: cold } = await place.task("sequentialRead");
    return { "sequential write": write as number, "warm read": warm as number, "cold read": cold as number };
  },
};

export const random: Scenario = {
  name: "random",
  rows: [
    { name: "random 4K write", unit: "op/s" },
    { name: "random 4K read", unit: "op/s" },
  ],
  run: async (place) => {
    await place.task("randomPrepare");
    await place.settle();
    const { write } = await place.task("randomWrite");
    await place.remountCold();
    const { read } = await place.task("randomRead");
    return { "random 4K write": write as number, "random 4K read": read as number };
  },
};

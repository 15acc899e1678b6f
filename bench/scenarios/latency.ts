// What one request of metadata takes: names that are not there, each asked of the filesystem, and attributes known already.

import type { Scenario } from "./scenario.ts";

export const missingNames: Scenario = {
  name: "missing-names",
  rows: [{ name: "lookup missing", unit: "µs" }],
  onFloors: true,
  run: async (place) => {
    const { lookup } = await place.task("missingNames");
    return { "lookup missing": lookup as number };
  },
};

export const warmStat: Scenario = {
  name: "warm-stat",
  rows: [{ name: "warm stat", unit: "µs" }],
  run: async (place) => {
    const { stat } = await place.task("warmStat");
    return { "warm stat": stat as number };
  },
};

// Every other seed; its sibling runs beside it, on another core. See crash-seeds.ts.

import { crashSeeds } from "./crash-seeds.ts";

crashSeeds(1);

// Entry of the supervisor's process.

import { MountRequest } from "./messages.ts";
import { superviseDetached } from "./supervise.ts";

process.once("message", (message) => void superviseDetached(MountRequest.parse(message)));

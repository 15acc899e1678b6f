// Serves the null filesystem on the directory given until it is unmounted: one of bench/peers/floor.ts.

import { kernelTransport } from "../src/fuse/kernel/transport.ts";
import { NullRequests } from "./null-requests.ts";

const directory = process.argv[2];
if (directory === undefined) throw new Error("usage: null-server DIR");
const onFault = (error: unknown): void => console.error(error);
const mounted = await kernelTransport.mount({ source: "null", directory }, new NullRequests(), { onFault });
await mounted.closed;

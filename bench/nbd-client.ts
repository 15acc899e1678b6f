// The client of h2ts by itself, against an export: node nbd-client.js TARGET write|read COUNT BYTES DEPTH STEP [CONNECTIONS] prints
// the seconds it took. STEP is how many requests lie between two that follow one another; CONNECTIONS are there before it begins.

import { deviceOpener } from "../src/nbd/open.ts";

const [target = "", mode, ...numbers] = process.argv.slice(2);
const [count, bytes, depth, step, connections = 1] = numbers.map(Number) as [number, number, number, number, number?];

let widened = (): void => undefined;
const ready = connections === 1 ? undefined : new Promise<void>((resolve) => (widened = resolve));
const open = deviceOpener({ policy: { connections }, observer: ({ event }) => event.kind === "widened" && widened() });
const device = await open(target, { writable: true });
await ready;
const places = Math.floor(device.sizeBytes / bytes);
let next = 0;
const beganMs = performance.now();
await Promise.all(
  Array.from({ length: depth }, async () => {
    const buffer = [new Uint8Array(bytes).fill(1)];
    while (next < count) {
      const at = ((next++ * step) % places) * bytes;
      await (mode === "write" ? device.write(at, buffer) : device.read(at, buffer));
    }
  }),
);
console.log((performance.now() - beganMs) / 1000);
await device.close();

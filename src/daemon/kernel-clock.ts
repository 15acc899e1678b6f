// The clock that Linux stamps files with: wall-clock time at its last tick, of 1 to 10 ms.
//
// In a mount with the write-back cache the kernel sets the times of a written file itself, by this clock, and sends them in a
// request of their own when they differ from those it knows. A file that was created in the same tick by the same clock has them
// already: one request less for each small file. Nor is a file older than its directory says, or changed before it was made.

import { endianness } from "node:os";
import koffi from "koffi";
import { SystemClock, type Timespec } from "../base/clock.ts";

const CLOCK_REALTIME_COARSE = 5;
const LITTLE_ENDIAN = endianness() === "LE";
const HIGH_WORD = LITTLE_ENDIAN ? 4 : 0;
const LOW_WORD = 4 - HIGH_WORD;
/** `struct timespec` has two words of 64 bits. */
const NANOSECONDS_AT = 8;
const TIMESPEC_BYTES = 16;

const clockGettime = koffi.load(null).func("int clock_gettime(int clock, void *time)") as (
  clock: number,
  time: Uint8Array,
) => number;

export class KernelClock extends SystemClock {
  readonly #time = new DataView(new ArrayBuffer(TIMESPEC_BYTES));
  readonly #bytes = new Uint8Array(this.#time.buffer);
  readonly #isThere = clockGettime(CLOCK_REALTIME_COARSE, this.#bytes) === 0;

  override now(): Timespec {
    if (!this.#isThere) return super.now();
    clockGettime(CLOCK_REALTIME_COARSE, this.#bytes);
    const sec = this.#time.getInt32(HIGH_WORD, LITTLE_ENDIAN) * 2 ** 32 + this.#time.getUint32(LOW_WORD, LITTLE_ENDIAN);
    return { sec, nsec: this.#time.getUint32(NANOSECONDS_AT + LOW_WORD, LITTLE_ENDIAN) };
  }
}

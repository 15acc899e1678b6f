// The transmission phase of one connection: requests are read one after another and carried out side by side.
// Invariants: I1 (FLUSH and FUA answer after a flush that began after the writes they cover), I2 (no flush after one that failed
// is answered as if it had worked), I12 (bounded memory: reading waits for room).

import { messageOf } from "../../base/thrown.ts";
import { DeviceError } from "../../device/device.ts";
import { extentsOf, zeroRange } from "../../device/sparse.ts";
import type { ByteSink } from "../wire/byte-sink.ts";
import type { ByteSource } from "../wire/byte-source.ts";
import type { BlockStatus } from "../wire/chunk.ts";
import { AllocationFlag, Command, CommandFlag } from "../wire/constants.ts";
import { decodeRequest, REQUEST_BYTES, type Request } from "../wire/request.ts";
import { wireErrorOf } from "../wire/wire-error.ts";
import type { OpenExport } from "./agreement.ts";
import { refusalOf } from "./check-request.ts";
import type { Export } from "./export.ts";
import type { InFlight } from "./in-flight.ts";
import { EXTENTS_MAX } from "./limits.ts";
import { Replies } from "./replies.ts";

export interface TransmissionPlace {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  readonly inFlight: InFlight;
  readonly log: (line: string) => void;
}

export class Transmission {
  readonly #opened: OpenExport;
  readonly #place: TransmissionPlace;
  readonly #replies: Replies;
  /** Flushes of the export that had failed when this connection began. */
  readonly #flushFailures: number;
  #isStopped = false;
  #isInMessage = false;

  constructor(opened: OpenExport, place: TransmissionPlace) {
    this.#opened = opened;
    this.#place = place;
    this.#replies = new Replies(place.sink, opened.structured);
    this.#flushFailures = opened.flushFailures;
  }

  get served(): Export {
    return this.#opened.export;
  }

  /** Part of a request has come, or all but its data. */
  get isInMessage(): boolean {
    return this.#isInMessage || this.#place.source.heldBytes > 0;
  }

  /** No request is begun from now on. */
  stop(): void {
    this.#isStopped = true;
  }

  /**
   * Serves until the client disconnects (true: it said so), or `stop`. Requests may still be under way then. Throws
   * NbdProtocolError and NbdClosedError.
   */
  async run(): Promise<boolean> {
    const { source, inFlight } = this.#place;
    for (;;) {
      const request = decodeRequest(source.takeNow(REQUEST_BYTES) ?? (await source.take(REQUEST_BYTES, "request")));
      if (this.#isStopped) return false;
      if (request.command === Command.DISC) return true;
      const refusal = refusalOf(request, this.#opened);
      const payloadBytes = refusal === undefined ? payloadOf(request) : 0;
      await inFlight.enter(payloadBytes);
      const data = await this.#dataOf(request, refusal !== undefined).catch((error: unknown) => {
        inFlight.leave(payloadBytes);
        throw error;
      });
      if (this.#isStopped) {
        inFlight.leave(payloadBytes);
        return false;
      }
      if (refusal !== undefined) this.#replies.failed(request.cookie, refusal.error, refusal.message);
      const performed = refusal === undefined ? this.#perform(request, data) : Promise.resolve();
      void this.#finish(request, performed, payloadBytes);
    }
  }

  /** What follows a WRITE, which is of no use when it is refused. */
  async #dataOf({ command, lengthBytes }: Request, isRefused: boolean): Promise<readonly Uint8Array[]> {
    if (command !== Command.WRITE) return [];
    const { source } = this.#place;
    this.#isInMessage = true;
    try {
      if (!isRefused) return await source.takePieces(lengthBytes, "data of a WRITE");
      await source.skip(lengthBytes, "data of a refused WRITE");
      return [];
    } finally {
      this.#isInMessage = false;
    }
  }

  /** Sees a request to its end: the reply has gone out, or can't any more. */
  async #finish(request: Request, performed: Promise<void>, payloadBytes: number): Promise<void> {
    const { sink, inFlight } = this.#place;
    try {
      await performed;
    } catch (error) {
      this.#replies.failed(request.cookie, ...this.#failure(request, error));
    }
    // A client that does not take its replies gets no more of them made.
    await sink.drained("reply").catch(() => undefined);
    inFlight.leave(payloadBytes);
  }

  async #perform(request: Request, data: readonly Uint8Array[]): Promise<void> {
    const { device } = this.#opened;
    const { buffers } = this.#opened.export;
    const { command, flags, cookie, offsetBytes, lengthBytes } = request;
    switch (command) {
      case Command.READ: {
        const target = buffers.take(lengthBytes);
        // One whose read failed is not used again: the system may have it still.
        await device.read(offsetBytes, [target]);
        this.#replies.data(request, target, () => buffers.give(target));
        return;
      }
      case Command.BLOCK_STATUS:
        this.#replies.statuses(cookie, await this.#statuses(request));
        return;
      case Command.WRITE:
        await device.write(offsetBytes, data);
        break;
      case Command.TRIM:
        await device.discard(offsetBytes, lengthBytes);
        break;
      case Command.WRITE_ZEROES:
        await zeroRange(device, offsetBytes, lengthBytes, (flags & CommandFlag.NO_HOLE) !== 0);
        break;
    }
    if (command === Command.FLUSH || (flags & CommandFlag.FUA) !== 0) await this.#flush();
    this.#replies.done(cookie);
  }

  /** What was answered on any connection before this is durable then. */
  async #flush(): Promise<void> {
    const { export: served, readOnly } = this.#opened;
    if (readOnly) return;
    if (served.flushFailures === this.#flushFailures) await served.flush();
    if (served.flushFailures !== this.#flushFailures) {
      const detail = "a flush failed since this connection was made";
      throw new DeviceError(served.name, "flush", 0, "EIO", detail);
    }
  }

  async #statuses({ flags, offsetBytes, lengthBytes }: Request): Promise<BlockStatus[]> {
    const { device, contexts } = this.#opened;
    const countMax = (flags & CommandFlag.REQ_ONE) !== 0 ? 1 : EXTENTS_MAX;
    const statuses: BlockStatus[] = [];
    for (const { id, lease } of contexts) {
      if (lease !== undefined) statuses.push({ contextId: id, extents: [{ lengthBytes, flags: 0 }] });
      else {
        const extents = await extentsOf(device, offsetBytes, lengthBytes, countMax);
        statuses.push({ contextId: id, extents: extents.map(toExtent) });
      }
    }
    return statuses;
  }

  #failure({ command, offsetBytes }: Request, error: unknown): [error: number, message: string] {
    const code = error instanceof DeviceError ? error.code : "EIO";
    this.#place.log(messageOf(error));
    // Where the device is on this machine is not the client's business.
    return [wireErrorOf(code), `command ${command} at byte ${offsetBytes} failed: ${code}`];
  }
}

function toExtent({ lengthBytes, isHole }: { lengthBytes: number; isHole: boolean }): BlockStatus["extents"][number] {
  return { lengthBytes, flags: isHole ? AllocationFlag.HOLE | AllocationFlag.ZERO : 0 };
}

/** Bytes of the export's data that a request keeps in memory. */
function payloadOf({ command, lengthBytes }: Request): number {
  return command === Command.READ || command === Command.WRITE ? lengthBytes : 0;
}

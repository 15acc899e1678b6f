// A device that is a file descriptor: what image files and block devices share. Calls run on libuv's pool (or koffi's,
// which is the same), at most four at once for each node.
// Invariants: I1/I2 (flush is fdatasync and covers every write that resolved before), I11 (locked while open).

import { close, fdatasync, fstat, read, readv, write, writev } from "node:fs";
import {
  type BlockDevice,
  ContentLostError,
  DeviceError,
  type DeviceExtent,
  type DeviceOperation,
  type DeviceReport,
} from "./device.ts";
import { Gate } from "./gate.ts";
import { fileExtents, zeroFile } from "./sparse-file.ts";
import { beginWriteBack, punchHole } from "./system-calls.ts";

/** So much written, the disk is set to work on it, so that a flush later finds most of it done. */
const WRITE_BACK_BYTES = 8 * 1024 * 1024;

type Transferred = (error: NodeJS.ErrnoException | null, byteCount: number) => void;

export interface FileNodeFacts {
  readonly sizeBytes: number;
  /** The same for two paths to one device. */
  readonly identity: string;
  readonly writable: boolean;
  /** What was written back stays in the kernel's cache. */
  readonly keepsCached: boolean;
  /** Called when nothing is under way any more, before the descriptor is closed. */
  readonly letGo: () => Promise<void>;
}

/** An open, locked descriptor as a linear device. */
export class FileNode implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly exclusive = true;
  readonly identity: string;
  readonly writable: boolean;
  readonly #fd: number;
  readonly #keepsCached: boolean;
  readonly #letGo: () => Promise<void>;
  readonly #gate = new Gate();
  #closed: Promise<void> | undefined;
  #unwrittenBytes = 0;
  #writingBack = false;

  constructor(name: string, fd: number, { sizeBytes, identity, writable, keepsCached, letGo }: FileNodeFacts) {
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.identity = identity;
    this.writable = writable;
    this.#fd = fd;
    this.#keepsCached = keepsCached;
    this.#letGo = letGo;
  }

  report(): DeviceReport {
    return { kind: this.identity.startsWith("block") ? "block device" : "file" };
  }

  read(offsetBytes: number, targets: readonly Uint8Array[]): Promise<void> {
    return this.#transfer("read", offsetBytes, targets);
  }

  async write(offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    if (!this.writable) throw new DeviceError(this.name, "write", offsetBytes, "EROFS", "opened read-only");
    await this.#transfer("write", offsetBytes, sources);
    for (const source of sources) this.#unwrittenBytes += source.length;
    if (this.#unwrittenBytes >= WRITE_BACK_BYTES && !this.#writingBack && this.#closed === undefined)
      void this.#writeBack();
  }

  /** Nobody waits for it, and what goes wrong the next flush reports. A place in the gate keeps the descriptor open. */
  async #writeBack(): Promise<void> {
    this.#unwrittenBytes = 0;
    this.#writingBack = true;
    await this.#gate.run(() => beginWriteBack(this.#fd, !this.#keepsCached));
    this.#writingBack = false;
  }

  flush(): Promise<void> {
    if (!this.writable) return Promise.resolve();
    this.#unwrittenBytes = 0;
    return this.#call("flush", 0, async () => {
      const flushed = promised((done) => fdatasync(this.#fd, done));
      // Behind the flushes of other copies that begin in this step, each of which waits for a thread.
      const lost = Promise.resolve().then(() => this.#refuseLost());
      await Promise.all([flushed, lost]);
    });
  }

  /**
   * An image file that was cut off takes writes past its end as if nothing had happened, and one that was deleted takes them
   * until it is closed: what it held is gone.
   */
  #refuseLost(): Promise<void> {
    return promised((done) =>
      fstat(this.#fd, (error, stats) => {
        if (error !== null || !stats.isFile()) return done(error);
        const { size, nlink } = stats;
        const lost =
          size < this.sizeBytes
            ? `the file was cut off: it is ${size} bytes long, not ${this.sizeBytes}`
            : "the file was deleted: what is written to it is gone when it is closed";
        const isLost = size < this.sizeBytes || nlink === 0;
        done(isLost ? new ContentLostError(this.name, "flush", 0, "EIO", lost) : null);
      }),
    );
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!this.writable || lengthBytes <= 0 || offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) return;
    await this.#call("discard", offsetBytes, () => punchHole(this.#fd, offsetBytes, lengthBytes));
  }

  /** The first write to a place in a sparse file makes the flush after it a change of the file's own metadata, too. */
  async prepare(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!this.writable || !this.#isFile || offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) return;
    if (this.#closed !== undefined) return;
    await this.#call("flush", offsetBytes, async () => {
      // No room for it, say: the place is as good as before. What a flush reports is about other writes, too.
      const isWritten = await this.#submit("write", offsetBytes, [new Uint8Array(lengthBytes)]).catch(() => 0);
      if (isWritten > 0) await promised((done) => fdatasync(this.#fd, done));
    });
  }

  get #isFile(): boolean {
    return this.identity.startsWith("file ");
  }

  async zero(offsetBytes: number, lengthBytes: number, keepRoom: boolean): Promise<void> {
    if (!this.writable) throw new DeviceError(this.name, "zero", offsetBytes, "EROFS", "opened read-only");
    this.#refusePastEnd("zero", offsetBytes, lengthBytes);
    await this.#call("zero", offsetBytes, () => zeroFile(this.#fd, offsetBytes, lengthBytes, keepRoom));
  }

  extents(offsetBytes: number, lengthBytes: number, countMax: number): Promise<DeviceExtent[]> {
    return this.#call("map", offsetBytes, () => {
      this.#refusePastEnd("map", offsetBytes, lengthBytes);
      return fileExtents(this.#fd, offsetBytes, lengthBytes, countMax);
    });
  }

  /** Waits for what is under way, then gives descriptor and lock back. Closing twice is closing once. */
  close(): Promise<void> {
    this.#closed ??= this.#drainAndClose();
    return this.#closed;
  }

  async #drainAndClose(): Promise<void> {
    await this.#gate.idle();
    await this.#letGo();
    await promised((done) => close(this.#fd, done)).catch((error: unknown) => {
      throw this.#failure("close", 0, error);
    });
  }

  async #transfer(operation: "read" | "write", offsetBytes: number, buffers: readonly Uint8Array[]): Promise<void> {
    let lengthBytes = 0;
    for (const buffer of buffers) lengthBytes += buffer.length;
    this.#refusePastEnd(operation, offsetBytes, lengthBytes);
    if (lengthBytes === 0) return;
    await this.#call(operation, offsetBytes, async () => {
      let rest = buffers;
      let doneBytes = 0;
      for (;;) {
        const moved = await this.#submit(operation, offsetBytes + doneBytes, rest);
        doneBytes += moved;
        if (doneBytes === lengthBytes) return;
        // The system may move less than asked, and takes 1024 buffers at most; nothing at all means the file got shorter or takes no more.
        if (moved === 0) throw Object.assign(new Error(`only ${doneBytes} of ${lengthBytes} bytes`), { code: "EIO" });
        rest = dropFront(rest, moved);
      }
    });
  }

  #refusePastEnd(operation: DeviceOperation, offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return;
    const detail = `${lengthBytes} bytes reach past the end (${this.sizeBytes})`;
    throw new DeviceError(this.name, operation, offsetBytes, "EINVAL", detail);
  }

  #submit(operation: "read" | "write", position: number, buffers: readonly Uint8Array[]): Promise<number> {
    return new Promise((resolve, reject) => {
      const done: Transferred = (error, byteCount) => (error === null ? resolve(byteCount) : reject(error));
      const first = buffers[0] as Uint8Array;
      if (operation === "read") {
        if (buffers.length === 1) read(this.#fd, first, 0, first.length, position, done);
        else readv(this.#fd, buffers, position, done);
      } else if (buffers.length === 1) write(this.#fd, first, 0, first.length, position, done);
      else writev(this.#fd, buffers, position, done);
    });
  }

  async #call<T>(operation: DeviceOperation, offsetBytes: number, body: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined)
      throw new DeviceError(this.name, operation, offsetBytes, "EBADF", "device is closed");
    try {
      return await this.#gate.run(body);
    } catch (error) {
      throw this.#failure(operation, offsetBytes, error);
    }
  }

  #failure(operation: DeviceOperation, offsetBytes: number, error: unknown): DeviceError {
    if (error instanceof DeviceError) return error;
    const { code, message } = error as NodeJS.ErrnoException;
    return new DeviceError(this.name, operation, offsetBytes, code ?? "EIO", message);
  }
}

function promised(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) =>
    start((error) => (error === null || error === undefined ? resolve() : reject(error))),
  );
}

function dropFront(buffers: readonly Uint8Array[], movedBytes: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = movedBytes;
  for (const buffer of buffers) {
    if (skip >= buffer.length) skip -= buffer.length;
    else {
      rest.push(skip === 0 ? buffer : buffer.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

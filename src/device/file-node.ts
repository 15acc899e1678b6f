// A device that is a file descriptor: what image files and block devices share. Calls run on libuv's pool (or koffi's,
// which is the same), at most four at once for each node, and at most as many as its row has places.
// Invariants: I1/I2 (flush is fdatasync and covers every write that resolved before), I11 (locked while open).

import { close, fdatasync, fstat, ftruncate, read, readv, write, writev } from "node:fs";
import {
  type BlockDevice,
  ContentLostError,
  DeviceError,
  type DeviceExtent,
  type DeviceOperation,
  type DeviceReport,
} from "./device.ts";
import { Gate } from "./gate.ts";
import { pastEnd } from "./past-end.ts";
import { fileExtents, zeroFile } from "./sparse-file.ts";
import { beginWriteBack, type FileSize, knownSize, punchHole } from "./system-calls.ts";

/** So much written, the disk is set to work on it, so that a flush later finds most of it done. */
const WRITE_BACK_BYTES = 8 * 1024 * 1024;

type Transferred = (error: NodeJS.ErrnoException | null, byteCount: number) => void;

export interface FileNodeFacts {
  readonly sizeBytes: number;
  /** The same for two paths to one device. */
  readonly identity: string;
  /** The same as long as the device is. */
  readonly incarnation: string;
  readonly writable: boolean;
  /** What was written back stays in the kernel's cache. */
  readonly keepsCached: boolean;
  /** Called when nothing is under way any more, before the descriptor is closed. */
  readonly letGo: () => Promise<void>;
}

/** An open, locked descriptor as a linear device. */
export class FileNode implements BlockDevice {
  readonly name: string;
  readonly exclusive = true;
  readonly identity: string;
  readonly incarnation: string;
  readonly writable: boolean;
  #sizeBytes: number;
  readonly #fd: number;
  readonly #keepsCached: boolean;
  readonly #letGo: () => Promise<void>;
  readonly #gate = new Gate();
  /** Its places are taken after those of the node: a node that hangs leaves some to the others. */
  #row: Gate | undefined;
  #closed: Promise<void> | undefined;
  #unwrittenBytes = 0;
  #writingBack = false;

  constructor(
    name: string,
    fd: number,
    { sizeBytes, identity, incarnation, writable, keepsCached, letGo }: FileNodeFacts,
  ) {
    this.name = name;
    this.#sizeBytes = sizeBytes;
    this.identity = identity;
    this.incarnation = incarnation;
    this.writable = writable;
    this.#fd = fd;
    this.#keepsCached = keepsCached;
    this.#letGo = letGo;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Gives an image file, on which there is nothing of value, another size. */
  async resize(sizeBytes: number): Promise<void> {
    await this.#call("write", 0, () => promised((done) => ftruncate(this.#fd, sizeBytes, done)));
    this.#sizeBytes = sizeBytes;
  }

  report(): DeviceReport {
    return { kind: this.identity.startsWith("block") ? "block device" : "file" };
  }

  shareThreads(row: Gate): void {
    this.#row = row;
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
    await this.#gate.run(() => this.#inRow(() => beginWriteBack(this.#fd, !this.#keepsCached)));
    this.#writingBack = false;
  }

  flush(): Promise<void> {
    if (!this.writable) return Promise.resolve();
    return this.#gated("flush", 0, (resolve, reject) => {
      this.#unwrittenBytes = 0;
      fdatasync(this.#fd, (error) => {
        if (error !== null) reject(error);
        else if (this.#isFile) this.#refuseLost(resolve, reject);
        else resolve();
      });
    });
  }

  /**
   * An image file that was cut off takes writes past its end as if nothing had happened, and one that was deleted takes them
   * until it is closed: what it held is gone.
   */
  #refuseLost(resolve: () => void, reject: (error: Error) => void): void {
    const judge = ({ size, nlink }: FileSize): void => {
      const lost =
        size < this.sizeBytes
          ? `the file was cut off: it is ${size} bytes long, not ${this.sizeBytes}`
          : nlink === 0
            ? "the file was deleted: what is written to it is gone when it is closed"
            : undefined;
      if (lost === undefined) resolve();
      else reject(new ContentLostError(this.name, "flush", 0, "EIO", lost));
    };
    const known = knownSize(this.#fd);
    if (known !== undefined) judge(known);
    else fstat(this.#fd, (error, stats) => (error === null ? judge(stats) : reject(error)));
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!this.writable || lengthBytes <= 0 || offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) return;
    await this.#call("discard", offsetBytes, () => punchHole(this.#fd, offsetBytes, lengthBytes));
  }

  /** The first write to a place in a sparse file makes the flush after it a change of the file's own metadata, too. */
  async prepare(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (!this.writable || !this.#isFile || offsetBytes < 0 || offsetBytes + lengthBytes > this.sizeBytes) return;
    if (this.#closed !== undefined) return;
    // No room for it, say: the place is as good as before. What a flush reports is about other writes, too.
    await this.#gated("flush", offsetBytes, (resolve, reject) =>
      this.#submit("write", offsetBytes, [new Uint8Array(lengthBytes)], (error, byteCount) => {
        if (error !== null || byteCount === 0) resolve();
        else fdatasync(this.#fd, (lost) => (lost === null ? resolve() : reject(lost)));
      }),
    );
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
    await this.#inRow(async () => {
      await this.#letGo();
      await promised((done) => close(this.#fd, done)).catch((error: unknown) => {
        throw this.#failure("close", 0, error);
      });
    });
  }

  /** Makes a call with a place in the gate of the row. */
  #inRow<T>(call: () => Promise<T>): Promise<T> {
    return this.#row === undefined ? call() : this.#row.run(call);
  }

  /** One promise and one callback: this is on the way of every block. */
  #transfer(operation: "read" | "write", offsetBytes: number, buffers: readonly Uint8Array[]): Promise<void> {
    let lengthBytes = 0;
    for (const buffer of buffers) lengthBytes += buffer.length;
    return this.#gated(operation, offsetBytes, (resolve, reject) => {
      this.#refusePastEnd(operation, offsetBytes, lengthBytes);
      if (lengthBytes === 0) return resolve();
      let rest = buffers;
      let doneBytes = 0;
      const moved: Transferred = (error, byteCount) => {
        if (error !== null) return reject(error);
        doneBytes += byteCount;
        if (doneBytes === lengthBytes) return resolve();
        // The system may move less than asked, and takes 1024 buffers at most; nothing at all means the file got shorter or takes no more.
        if (byteCount === 0)
          return reject(Object.assign(new Error(`only ${doneBytes} of ${lengthBytes} bytes`), { code: "EIO" }));
        rest = dropFront(rest, byteCount);
        this.#submit(operation, offsetBytes + doneBytes, rest, moved);
      };
      this.#submit(operation, offsetBytes, rest, moved);
    });
  }

  #refusePastEnd(operation: DeviceOperation, offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes) return;
    throw pastEnd(this, operation, offsetBytes, lengthBytes);
  }

  #submit(operation: "read" | "write", position: number, buffers: readonly Uint8Array[], moved: Transferred): void {
    const first = buffers[0] as Uint8Array;
    if (operation === "read") {
      if (buffers.length === 1) read(this.#fd, first, 0, first.length, position, moved);
      else readv(this.#fd, buffers, position, moved);
    } else if (buffers.length === 1) write(this.#fd, first, 0, first.length, position, moved);
    else writev(this.#fd, buffers, position, moved);
  }

  /** Makes a call with a place in the gates; `start` calls one of what it is given, once, when the call is over. */
  #gated(
    operation: DeviceOperation,
    offsetBytes: number,
    start: (resolve: () => void, reject: (error: unknown) => void) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#isClosed(operation, offsetBytes));
      const row = this.#row;
      const leave = (): void => {
        row?.leave();
        this.#gate.leave();
      };
      const done = (): void => {
        leave();
        resolve();
      };
      const failed = (error: unknown): void => {
        leave();
        reject(this.#failure(operation, offsetBytes, error));
      };
      const begin = (): void => {
        try {
          start(done, failed);
        } catch (error) {
          failed(error);
        }
      };
      this.#gate.enter(row === undefined ? begin : () => row.enter(begin));
    });
  }

  async #call<T>(operation: DeviceOperation, offsetBytes: number, body: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw this.#isClosed(operation, offsetBytes);
    try {
      return await this.#gate.run(() => this.#inRow(body));
    } catch (error) {
      throw this.#failure(operation, offsetBytes, error);
    }
  }

  #isClosed(operation: DeviceOperation, offsetBytes: number): DeviceError {
    return new DeviceError(this.name, operation, offsetBytes, "EBADF", "device is closed");
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

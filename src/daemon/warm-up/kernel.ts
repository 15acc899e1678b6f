// The kernel's side of the protocol, as far as a worker practises it: requests written as Linux writes them, one at a time. They go
// through a session of their own, so that all the worker does for a request is practised, with objects of the same kind.

import { assert } from "../../base/assert.ts";
import { Errno } from "../../base/errno.ts";
import { readU64, writeU64 } from "../../base/integers.ts";
import { Opcode, SetattrFlag, WriteFlag } from "../../fuse/kernel/abi.ts";
import { Notices } from "../../fuse/kernel/notices.ts";
import { Session } from "../../fuse/kernel/session.ts";
import {
  Attr,
  AttrOut,
  EntryOut,
  ForgetIn,
  GetxattrIn,
  InHeader,
  MkdirIn,
  MknodIn,
  OutHeader,
  ReadIn,
  Rename2In,
  SetattrIn,
  WriteIn,
} from "../../fuse/kernel/structures.ts";
import { Mode } from "../../format/mode.ts";
import type { FileSystemRequests } from "../../posix/requests.ts";
import { PracticeChannel } from "./channel.ts";

/** Longest content of a write. */
export const CONTENT_BYTES_MAX = 128 * 1024;
/** What precedes it, and names: less than that. */
const HEAD_BYTES_MAX = 4096;
const UMASK = 0o022;
/** Bytes of the structures of GETATTR (by no file: its flags are 0) and of FSYNC, of which nothing is read. */
const ZERO_BYTES = 16;
const LISTING_BYTES = 4096;

/** Every request rejects, with AssertionError, when it is answered otherwise than it should be. */
export class PracticeKernel {
  readonly #channel = new PracticeChannel(HEAD_BYTES_MAX + CONTENT_BYTES_MAX);
  readonly #session: Session;
  readonly #request: DataView;
  readonly #answer: DataView;
  #unique = 0;

  /** `onFault`: told of everything thrown that should not have been. */
  constructor(fs: FileSystemRequests, onFault: (error: unknown) => void) {
    const { request, answer } = this.#channel;
    this.#request = new DataView(request.buffer, request.byteOffset, request.length);
    this.#answer = new DataView(answer.buffer, answer.byteOffset, answer.length);
    this.#session = new Session(this.#channel, fs, { onFault, notices: new Notices(() => Promise.resolve(0)) });
  }

  /** The node; 0 when there is no such name. */
  lookup(parent: number, name: string): Promise<number> {
    return this.#askForEntry(Opcode.LOOKUP, parent, this.#text(0, name));
  }

  makeFile(parent: number, name: string): Promise<number> {
    const at = this.#structure(MknodIn.sizeBytes);
    this.#request.setUint32(at + MknodIn.mode, Mode.REGULAR | 0o644, true);
    this.#request.setUint32(at + MknodIn.umask, UMASK, true);
    return this.#askForEntry(Opcode.MKNOD, parent, this.#text(MknodIn.sizeBytes, name));
  }

  makeDirectory(parent: number, name: string): Promise<number> {
    const at = this.#structure(MkdirIn.sizeBytes);
    this.#request.setUint32(at + MkdirIn.mode, 0o755, true);
    this.#request.setUint32(at + MkdirIn.umask, UMASK, true);
    return this.#askForEntry(Opcode.MKDIR, parent, this.#text(MkdirIn.sizeBytes, name));
  }

  rename(parent: number, name: string, newName: string): Promise<void> {
    const at = this.#structure(Rename2In.sizeBytes);
    writeU64(this.#request, at + Rename2In.newdir, parent);
    const end = this.#text(Rename2In.sizeBytes, name);
    return this.#ask(Opcode.RENAME2, parent, this.#text(end, newName));
  }

  unlink(parent: number, name: string): Promise<void> {
    return this.#ask(Opcode.UNLINK, parent, this.#text(0, name));
  }

  removeDirectory(parent: number, name: string): Promise<void> {
    return this.#ask(Opcode.RMDIR, parent, this.#text(0, name));
  }

  /** Gives lookups back; there is no answer to that. */
  forget(node: number, count: number): void {
    const at = this.#structure(ForgetIn.sizeBytes);
    writeU64(this.#request, at + ForgetIn.nlookup, count);
    this.#post(Opcode.FORGET, node, ForgetIn.sizeBytes);
  }

  getAttributes(node: number): Promise<void> {
    this.#structure(ZERO_BYTES);
    return this.#ask(Opcode.GETATTR, node, ZERO_BYTES);
  }

  /** Sets the times of a file as the kernel does after a write: here to those it has. */
  async setTimes(node: number): Promise<void> {
    await this.getAttributes(node);
    const at = this.#structure(SetattrIn.sizeBytes);
    const known = OutHeader.sizeBytes + AttrOut.attr;
    this.#request.setUint32(at + SetattrIn.valid, SetattrFlag.MTIME | SetattrFlag.CTIME, true);
    for (const time of ["mtime", "ctime"] as const) {
      writeU64(this.#request, at + SetattrIn[time], readU64(this.#answer, known + Attr[time]));
      const nsec = this.#answer.getUint32(known + Attr[`${time}nsec`], true);
      this.#request.setUint32(at + SetattrIn[`${time}nsec`], nsec, true);
    }
    return this.#ask(Opcode.SETATTR, node, SetattrIn.sizeBytes);
  }

  /** Asks for an extended attribute that is not there. */
  missXattr(node: number, name: string): Promise<void> {
    this.#structure(GetxattrIn.sizeBytes);
    return this.#ask(Opcode.GETXATTR, node, this.#text(GetxattrIn.sizeBytes, name), Errno.ENODATA);
  }

  /** Writes `content` back from the page cache. */
  write(node: number, offset: number, content: Uint8Array): Promise<void> {
    const at = this.#structure(WriteIn.sizeBytes);
    writeU64(this.#request, at + WriteIn.offset, offset);
    this.#request.setUint32(at + WriteIn.size, content.length, true);
    this.#request.setUint32(at + WriteIn.writeFlags, WriteFlag.CACHE, true);
    this.#channel.request.set(content, at + WriteIn.sizeBytes);
    return this.#ask(Opcode.WRITE, node, WriteIn.sizeBytes + content.length);
  }

  read(node: number, offset: number, lengthBytes: number): Promise<void> {
    return this.#ask(Opcode.READ, node, this.#range(offset, lengthBytes));
  }

  /** The first entries of a folder. */
  list(node: number): Promise<void> {
    return this.#ask(Opcode.READDIR, node, this.#range(0, LISTING_BYTES));
  }

  fsync(node: number): Promise<void> {
    this.#structure(ZERO_BYTES);
    return this.#ask(Opcode.FSYNC, node, ZERO_BYTES);
  }

  // ---- what messages are made of

  /** Makes room for a structure of zeroes, and says where that begins. */
  #structure(lengthBytes: number): number {
    this.#channel.request.fill(0, InHeader.sizeBytes, InHeader.sizeBytes + lengthBytes);
    return InHeader.sizeBytes;
  }

  /** Writes a name and its NUL at byte `field` of the body, and says where it ends. */
  #text(field: number, name: string): number {
    const { request } = this.#channel;
    const end = field + request.write(name, InHeader.sizeBytes + field, "latin1");
    request[InHeader.sizeBytes + end] = 0;
    return end + 1;
  }

  #range(offset: number, lengthBytes: number): number {
    const at = this.#structure(ReadIn.sizeBytes);
    writeU64(this.#request, at + ReadIn.offset, offset);
    this.#request.setUint32(at + ReadIn.size, lengthBytes, true);
    return ReadIn.sizeBytes;
  }

  /** Has the session take the request, and look for another in vain, as in a turn of the event loop. */
  #post(opcode: number, node: number, bodyBytes: number): void {
    const lengthBytes = InHeader.sizeBytes + bodyBytes;
    this.#channel.request.fill(0, 0, InHeader.sizeBytes);
    this.#request.setUint32(InHeader.len, lengthBytes, true);
    this.#request.setUint32(InHeader.opcode, opcode, true);
    // Linux counts in steps of two.
    writeU64(this.#request, InHeader.unique, (this.#unique += 2));
    writeU64(this.#request, InHeader.nodeid, node);
    this.#channel.post(lengthBytes);
    this.#session.beginTurn();
    while (this.#session.step() === "served");
  }

  async #ask(opcode: number, node: number, bodyBytes: number, expected = 0): Promise<void> {
    this.#post(opcode, node, bodyBytes);
    await this.#channel.answered();
    const errno = -this.#answer.getInt32(OutHeader.error, true);
    assert(errno === expected, `FUSE opcode ${opcode} was answered with errno ${errno}`);
  }

  async #askForEntry(opcode: number, node: number, bodyBytes: number): Promise<number> {
    await this.#ask(opcode, node, bodyBytes);
    return readU64(this.#answer, OutHeader.sizeBytes + EntryOut.nodeid);
  }
}

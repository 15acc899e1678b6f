// How the protocol lays out what it sends, and how its fields are read.

import { describe, expect, it } from "vitest";
import { Request } from "../../src/fuse/kernel/request.ts";
import * as structures from "../../src/fuse/kernel/structures.ts";

describe("structures", () => {
  it("have the sizes of <linux/fuse.h>", () => {
    const sizes: Record<string, number> = {
      InHeader: 40,
      OutHeader: 16,
      InitIn: 64,
      InitOut: 64,
      Attr: 88,
      AttrOut: 104,
      EntryOut: 128,
      SetattrIn: 88,
      Statx: 256,
      StatxOut: 288,
      StatfsOut: 80,
      MknodIn: 16,
      CreateIn: 16,
      OpenOut: 16,
      Rename2In: 16,
      ReadIn: 40,
      WriteIn: 40,
      FallocateIn: 32,
      LseekIn: 24,
      CopyFileRangeIn: 56,
      Dirent: 24,
      DirentPlus: 152,
      SetxattrIn: 16,
      GetxattrIn: 8,
    };
    for (const [structure, size] of Object.entries(sizes)) {
      expect([structure, structures[structure as keyof typeof structures].sizeBytes]).toEqual([structure, size]);
    }
  });
});

describe("times", () => {
  it("beyond what a record can say are the last that it can", () => {
    const request = new Request(new Uint8Array(64));
    const at = (seconds: bigint): number => {
      request.view.setBigInt64(request.body, seconds, true);
      return request.seconds(0);
    };
    const last = BigInt(Number.MAX_SAFE_INTEGER);
    expect([-1n, 0n, last, -last].map(at)).toEqual([-1, 0, Number(last), -Number(last)]);
    expect([last + 1n, -last - 1n, 2n ** 63n - 1n, -(2n ** 63n)].map(at)).toEqual(
      [last, -last, last, -last].map(Number),
    );
  });
});

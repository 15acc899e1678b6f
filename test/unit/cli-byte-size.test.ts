import { describe, expect, it } from "vitest";
import { formatByteSize, parseByteSize } from "../../src/base/byte-size.ts";

describe("byte sizes", () => {
  it.each([
    ["0", 0],
    ["512", 512],
    ["4K", 4096],
    ["4KiB", 4096],
    ["64m", 64 * 1024 ** 2],
    ["1.5G", 1.5 * 1024 ** 3],
    ["10GB", 10 * 1024 ** 3],
    ["2 T", 2 * 1024 ** 4],
  ])("reads %s", (text, bytes) => expect(parseByteSize(text)).toBe(bytes));

  it.each(["", "K", "-1", "1X", "1e9", "0x10", "1.2.3", "9999999P"])("refuses %j", (text) => {
    expect(parseByteSize(text)).toBeUndefined();
  });

  it.each([
    [0, "0"],
    [1023, "1023"],
    [1536, "1.50K"],
    [1024 ** 3, "1G"],
    [1024 ** 3 - 65536, "1.00G"],
    [123.4 * 1024 ** 2, "123M"],
  ])("writes %d", (bytes, text) => expect(formatByteSize(bytes)).toBe(text));
});

// Targets of remote nodes: what one means stays the same when it is written down and read again, whatever characters are in it.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseRemoteTarget, splitRow, splitSpec } from "../../../src/nbd/target.ts";

/** The characters that mean something somewhere, and some that do not. */
const odd = fc.string({
  unit: fc.constantFrom(..."/@:?&=+,%#[] .é~'\"\\", "a", "🙂", "%2F", ".."),
  minLength: 1,
  maxLength: 8,
});
const path = odd.map((text) => `/k/${text.replaceAll("/", "_")}x`);

describe("a remote target", () => {
  it("leads to the same place by its canonical text, in a row and in a spec too", () => {
    fc.assert(
      fc.property(
        odd.map((text) => text.replaceAll(":", "_")),
        odd,
        path,
        fc.constantFrom("store.example", "[::1]:5", "[fe80::1%25eth0]", "a,b:99"),
        (identity, exportName, pskFile, hosts) => {
          const words = [identity, exportName, pskFile].map(encodeURIComponent);
          const target = parseRemoteTarget(`nbds://${words[0]}@${hosts}/${words[1]}?tls-psk-file=${words[2]}`);
          expect(target).toMatchObject({ exportName, tls: { identity, pskFile } });
          expect(parseRemoteTarget(target.text)).toEqual(target);
          expect(splitRow(`${target.text}+/b.img`)).toEqual([target.text, "/b.img"]);
          expect(splitSpec(`${target.text},/b.img`)).toEqual([target.text, "/b.img"]);
        },
      ),
    );
  });

  it("leads where it says, whatever is in the name of the user", () => {
    const target = parseRemoteTarget("nbds://host%2Falice@store.example/photos?tls-psk-file=/k");
    expect(target.text).toBe("nbds://host%2Falice@store.example/photos?tls-psk-file=/k");
    expect(parseRemoteTarget(target.text)).toMatchObject({
      addresses: [{ host: "store.example" }],
      exportName: "photos",
      tls: { identity: "host/alice" },
    });
  });

  it.each([
    ["[fe80::1%25eth0]", "fe80::1%eth0"],
    ["[fe80::1%eth0]:99", "fe80::1%eth0"],
    ["[fe80::1%25br-lan.5]", "fe80::1%br-lan.5"],
    ["[fe80::1%2525]", "fe80::1%25"],
    ["[2001:db8::1]", "2001:db8::1"],
  ])("at %s leads to host %s", (text, host) => {
    const target = parseRemoteTarget(`nbd://${text}/x`);
    expect(target.addresses).toMatchObject([{ host }]);
    expect(parseRemoteTarget(target.text)).toEqual(target);
  });

  it.each(["[fe80::1%]", "[fe80::1%eth0%1]", "[fe80::1%et/h]", "[%eth0]", "fe80::1"])("at %s is refused", (text) => {
    expect(() => parseRemoteTarget(`nbd://${text}/x`)).toThrow(/is no address/);
  });
});

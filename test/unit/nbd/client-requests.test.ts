// Requests without a connection: the test answers them, in any order, and looks at what is remembered of the node.

import { describe, expect, it } from "vitest";
import { AssertionError } from "../../../src/base/assert.ts";
import { SimulatedClock } from "../../../src/device/simulated-clock.ts";
import { FORMAT_VERSION, KNOWN_FEATURES } from "../../../src/format/features.ts";
import { encodeNodeHeader } from "../../../src/format/node-header.ts";
import { NodeIdentity } from "../../../src/nbd/client/identity.ts";
import { Requests } from "../../../src/nbd/client/requests.ts";
import type { Transaction } from "../../../src/nbd/client/transaction.ts";
import { TransmissionFlag } from "../../../src/nbd/wire/constants.ts";

const SIZE_BYTES = 64 * 1024 * 1024;
const BLOCK = new Uint8Array(4096).fill(1);

/** The header of a node that is known by this byte. */
function headerOf(node: number): Uint8Array {
  const range = { copyIndex: 0, nodePosition: 0, nodeCount: 1, startKib: 64, sizeKib: 32 * 1024, copyStartKib: 0 };
  const ranges = [{ ...range, copyUuid: new Uint8Array(16).fill(2), nodeUuid: new Uint8Array(16).fill(node) }];
  const volumeUuid = new Uint8Array(16).fill(3);
  return encodeNodeHeader(
    { formatVersion: FORMAT_VERSION, features: KNOWN_FEATURES, volumeUuid, label: "", ranges },
    0,
  );
}

function asked(): { requests: Requests; identity: NodeIdentity; sent: Transaction[] } {
  const sent: Transaction[] = [];
  const identity = new NodeIdentity("x", SIZE_BYTES);
  const terms = {
    ...{ sizeBytes: SIZE_BYTES, flags: TransmissionFlag.SEND_FLUSH, minimumBytes: 1, maximumBytes: SIZE_BYTES },
    ...{ structured: true, roundTripMs: 0, allocationContext: undefined, lease: undefined },
  };
  const requests = new Requests({
    ...{ name: "x", clock: new SimulatedClock(), terms, identity, keptBytesMax: SIZE_BYTES },
    onAsked: (transaction) => void sent.push(transaction),
    onAnswered: () => undefined,
    onFlushFailed: () => undefined,
  });
  return { requests, identity, sent };
}

/** Whether a node with this header would be taken for the one we have. */
const isTaken = (identity: NodeIdentity, header: Uint8Array): Promise<boolean> =>
  identity
    .expect((offsetBytes, target) => {
      if (offsetBytes === 0) target.set(header);
      return Promise.resolve();
    })
    .then(
      () => true,
      () => false,
    );

describe("a node whose header is being changed", () => {
  it("is known by the old one and the new one until a flush covers the write, whatever else is flushed", async () => {
    const { requests, identity, sent } = asked();
    const [before, after] = [headerOf(7), headerOf(8)];
    await identity.meet((offsetBytes, target) => Promise.resolve(offsetBytes === 0 ? target.set(before) : undefined));
    const settleNext = (): void => sent.shift()?.settle(undefined);
    void requests.write(1024 * 1024, BLOCK.length, [BLOCK]);
    settleNext();
    void requests.write(0, after.length, [after]);
    const header = sent.shift();
    void requests.flush();
    settleNext();
    expect(await isTaken(identity, before)).toBe(true);
    expect(await isTaken(identity, after)).toBe(true);
    header?.settle(undefined);
    void requests.flush();
    settleNext();
    expect(await isTaken(identity, before)).toBe(false);
    expect(await isTaken(identity, after)).toBe(true);
  });
});

describe("a request", () => {
  it("is answered once", () => {
    const { requests, sent } = asked();
    void requests.write(0, BLOCK.length, [BLOCK]);
    sent[0]?.settle(undefined);
    expect(() => sent[0]?.settle(undefined)).toThrow(AssertionError);
    expect(requests.kept.count).toBe(1);
  });
});

describe("requests without an answer when all is closed", () => {
  it("fail, and nobody takes that for an answer of the server", async () => {
    const { requests } = asked();
    const [read, flush] = [requests.read(0, 4096, [new Uint8Array(4096)]), requests.flush()];
    requests.close();
    await expect(read).rejects.toMatchObject({ code: "EBADF", message: expect.stringMatching(/is closed/) as unknown });
    await expect(flush).rejects.toMatchObject({ code: "EBADF" });
    expect(requests.count).toBe(0);
  });
});

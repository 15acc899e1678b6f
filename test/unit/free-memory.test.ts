// Memory given back at once, and code that does not have to be compiled anew for it.

import { expect, it } from "vitest";
import { expectDetaching, freeAtOnce } from "../../src/base/free-memory.ts";
import { native } from "../model/v8-native.ts";

/** Whether V8 runs code of its optimizing compiler for a function. */
const isOptimized = (body: () => unknown): boolean =>
  native("(%GetOptimizationStatus(value) & 16) !== 0", body) as boolean;

function optimize(body: () => unknown): void {
  native("%PrepareFunctionForOptimization(value)", body);
  body();
  body();
  native("%OptimizeFunctionOnNextCall(value)", body);
  body();
}

it("leaves nothing of an ArrayBuffer, and compiled code as it is", () => {
  expectDetaching();
  const bytes = new Uint8Array(64);
  const sum = (): number => {
    let total = 0;
    for (let i = 0; i < bytes.length; i++) total += bytes[i] as number;
    return total;
  };
  optimize(sum);
  expect(isOptimized(sum)).toBe(true);
  const given = new Uint8Array(4096);
  freeAtOnce(given.buffer);
  expect(given.length).toBe(0);
  expect(isOptimized(sum)).toBe(true);
});

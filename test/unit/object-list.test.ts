// What V8 takes a list for is not to be seen but by asking V8 itself.

import { expect, it } from "vitest";
import { objectList } from "../../src/base/object-list.ts";
import { native } from "../model/v8-native.ts";

/** Whether V8 takes a list for one of small integers, or a list that is empty. */
const hasSmiElements = (list: unknown[]): boolean => native("%HasSmiElements(value)", list) as boolean;

it("is a list of objects from the start", () => {
  const list = objectList<{ at: number }>();
  expect(list).toEqual([]);
  expect(hasSmiElements([])).toBe(true);
  expect(hasSmiElements(list)).toBe(false);
  list.push({ at: 1 });
  expect(list).toEqual([{ at: 1 }]);
  expect(list.pop()).toEqual({ at: 1 });
  expect(list.length).toBe(0);
});

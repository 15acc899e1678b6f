// Which attributes listings get: all once somebody has used them, those at hand otherwise.

import { beforeEach, describe, expect, it } from "vitest";
import { ListingHabit } from "../../src/fuse/kernel/listing-habit.ts";

let habit: ListingHabit;
beforeEach(() => {
  habit = new ListingHabit();
});

describe("the habit of those who list", () => {
  it("is not known at first: nothing is read that nobody has asked for", () => {
    expect(habit.wanted(0, true)).toBe("at-hand");
    expect(habit.wanted(0, false)).toBe("none");
    expect(habit.isWatching).toBe(false);
  });

  it("shows when something left out is looked up, and holds for a while", () => {
    habit.leftOut();
    expect(habit.isWatching).toBe(true);
    habit.lookedUp();
    expect(habit.isWatching).toBe(false);
    for (let i = 0; i < 32; i++) expect(habit.wanted(0, true)).toBe("all");
    expect(habit.wanted(0, true)).toBe("at-hand");
  });

  it("shows in whether the kernel takes attributes with later parts", () => {
    expect(habit.wanted(180, true)).toBe("all");
    expect(habit.wanted(0, true)).toBe("all");
    expect(habit.wanted(180, false)).toBe("none");
    expect(habit.wanted(0, true)).toBe("at-hand");
  });
});

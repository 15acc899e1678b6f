// Lists of objects that stay what V8 takes them for. It has a kind for lists that are empty or hold small integers only, and changes
// it with the first object that is put in; code compiled for lists of the other kind is thrown away when it then meets one that is
// empty still, in a volume opened a moment ago, say.

/** An empty list whose kind the first object in it does not change. */
export function objectList<T extends object>(): T[] {
  const list: (T | undefined)[] = [undefined];
  list.length = 0;
  return list as T[];
}

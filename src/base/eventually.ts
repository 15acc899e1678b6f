// Values that are mostly here already: an `await` costs ten times what the answer to a small request does.

/** A value now, or a promise of it. */
export type Eventually<T> = T | Promise<T>;

/** `next` of the value: now if it is here, otherwise when it comes. (Not called `then`: a module exporting that is a thenable.) */
export function after<T, U>(value: Eventually<T>, next: (value: T) => Eventually<U>): Eventually<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

// Reports to the process that started this one, over the channel between them.

/** Resolves when the message is out, or when nobody is there any more: a mount lives on without whoever started it. */
export function tellParent(message: object): Promise<void> {
  return new Promise((resolve) => {
    if (process.send && process.connected) process.send(message, undefined, undefined, () => resolve());
    else resolve();
  });
}

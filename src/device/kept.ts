// Descriptors that outlive this process. A lock belongs to an open file description, so it holds for as long as any process
// has a descriptor of that: whoever keeps ours for the process after us leaves nobody a moment to open a device between the
// two (I11). Who that is, is a matter of the whole process, and set once at its start.

/** Keeps descriptors of locked devices. `identity` tells devices apart, whatever their paths. */
export interface DescriptorKeeper {
  /** A descriptor of that device which a process before us had open, for the caller to close; undefined when there is none. */
  takeOver(identity: string): number | undefined;
  /** The device is open and locked here. */
  opened(identity: string, fd: number): void;
  /** It is about to be closed here. True when it is to be free for others from now on. */
  closing(identity: string): boolean;
  /** It was let go of by this process, so that whoever kept it does the same now, if not yet. */
  hasReleased(identity: string): boolean;
}

const nobody: DescriptorKeeper = {
  takeOver: () => undefined,
  opened: () => undefined,
  closing: () => true,
  hasReleased: () => false,
};
let keeper = nobody;

/** From now on `next` keeps what this process opens; nobody does until then. */
export function keepDescriptors(next: DescriptorKeeper | undefined): void {
  keeper = next ?? nobody;
}

export const descriptorKeeper = (): DescriptorKeeper => keeper;

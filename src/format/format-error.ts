// The typed refusal of anything on media that is not what the format says it must be (I12).

/** Bytes on media break the format. `place` names the structure and where it lies, `detail` what is wrong with it. */
export class FormatError extends Error {
  override readonly name = "FormatError";
  readonly place: string;
  readonly detail: string;

  constructor(place: string, detail: string) {
    super(`${place}: ${detail}`);
    this.place = place;
    this.detail = detail;
  }
}

/** How large a run is: the figures that are quoted come from the full one. */
export interface Scale {
  readonly fileMib: number;
  readonly fileCount: number;
  /** Files that are made one by one. */
  readonly createCount: number;
  readonly rounds: number;
}

export const FULL: Scale = { fileMib: 1024, fileCount: 60_000, createCount: 100_000, rounds: 3 };
export const QUICK: Scale = { fileMib: 64, fileCount: 4_000, createCount: 5_000, rounds: 2 };

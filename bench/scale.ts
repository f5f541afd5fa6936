/** How large a run is: the figures that are quoted come from the full one. */
export interface Scale {
  readonly fileMib: number;
  readonly fileCount: number;
  /** Files that are made one by one. */
  readonly createCount: number;
  /** Interleavings of a toy. */
  readonly scheduleCount: number;
  /** How long a figure is measured that stands alone. */
  readonly figureSeconds: number;
  readonly rounds: number;
}

export const FULL: Scale = { fileMib: 1024, fileCount: 60_000, createCount: 100_000, scheduleCount: 20_000, figureSeconds: 8, rounds: 3 };
export const QUICK: Scale = { fileMib: 64, fileCount: 4_000, createCount: 5_000, scheduleCount: 2_000, figureSeconds: 1.5, rounds: 2 };

/** Figures that stand alone: there is no peer to take turns with. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it should be at most. */
  readonly max?: number;
}

export interface Figures {
  readonly title: string;
  readonly figures: readonly Figure[];
}

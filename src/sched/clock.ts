/** Where the time comes from. Real clocks stand in platform/; the core asks whichever it was given. */
export interface Clock {
  /** Seconds and nanoseconds since 1970. */
  now(): { readonly sec: number; readonly nsec: number };
}

/** A clock that stands still until it is set. */
export class ManualClock implements Clock {
  constructor(private sec = 0, private nsec = 0) {}

  now(): { readonly sec: number; readonly nsec: number } {
    return { sec: this.sec, nsec: this.nsec };
  }

  set(sec: number, nsec = 0): void {
    this.sec = sec;
    this.nsec = nsec;
  }
}

/** SOURCE_DATE_EPOCH: where it is set it is the time for everything that is written, so that the same command gives the same bytes. */
import { UsageError } from "./operand.js";

/** Seconds since 1970; undefined: the host's clock counts. @throws UsageError. */
export function fixedTimeSec(): number | undefined {
  const fixed = process.env["SOURCE_DATE_EPOCH"];
  if (fixed === undefined || fixed === "") return undefined;
  if (!/^\d{1,10}$/.test(fixed)) throw new UsageError(`SOURCE_DATE_EPOCH: '${fixed}' is not a time in seconds`);
  return Number(fixed);
}

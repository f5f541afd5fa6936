/** truncate: sets sizes, and makes files that are not there. */
import type { Output } from "../output.js";
import type { Target } from "../session.js";

export function truncate({ volume, path, text }: Target, newSize: (oldBytes: number) => number, isOnlyExisting: boolean, out: Output): void {
  const stats = volume.statSync(path, { throwIfNoEntry: false });
  if (stats === undefined && isOnlyExisting) return;
  if (stats === undefined) volume.writeFileSync(path, "");
  const sizeBytes = newSize(stats?.size ?? 0);
  volume.truncateSync(path, sizeBytes);
  out.did(() => `${text} has ${sizeBytes} bytes`, () => ({ path, size: sizeBytes }));
}

/** Where the files of this package lie, from whichever bundle this is part of. */
const ROOT = import.meta.resolve("ext4/package.json");

/** @param name as in "sim.js". @returns a URL. */
export const bundleUrl = (name: string): string => new URL(`dist/${name}`, ROOT).href;

/** What tools/lab-bugs.ts has measured. */
export const RESULTS = new URL("docs/lab-results.json", ROOT);

/** One scenario from its image to e2fsck, and what of it differs from the trace. */
import { compareRecords, type Difference } from "./compare.js";
import { checkImage, makeImage, withInlineFile } from "./image.js";
import { Interpreter, type OurRecord } from "./interpreter.js";
import { readScenario, readTrace, type Trace, type TraceRecord } from "./traces.js";

interface Setting {
  /** Where the memory begins: without this blocks are aligned that are not so in Linux, whose allocator aligns less. */
  readonly physicalAddress?: number;
  /** A file that is made before: new ones are not stored in their inode here. */
  readonly inlineFile?: string;
}

const SETTINGS: Readonly<Record<string, Setting>> = {
  a04_pmd_phys_unaligned: { physicalAddress: 2 ** 20 },
  h02_inline_data: { inlineFile: "f" },
  n10_inline: { inlineFile: "f" },
};

export interface RecordDifferences {
  readonly record: TraceRecord;
  readonly ours: OurRecord;
  readonly differences: readonly Difference[];
}

export interface Replay {
  readonly trace: Trace;
  readonly differing: readonly RecordDifferences[];
  /** e2fsck's exit code, and what it said. */
  readonly fsck: { readonly status: number | null; readonly stdout: string };
}

export function replay(name: string): Replay {
  const trace = readTrace(name);
  const { physicalAddress, inlineFile } = SETTINGS[name] ?? {};
  let image = trace.scenario.after === undefined ? makeImage(trace.scenario) : imageAfter(trace.scenario.after);
  if (inlineFile !== undefined) image = withInlineFile(image, inlineFile);
  const interpreter = new Interpreter(image, physicalAddress);
  const progress = { times: new Map() };
  const differing: RecordDifferences[] = [];
  for (const record of trace.records) {
    const ours = interpreter.run(record.op, record.i, record);
    const differences = compareRecords(record, ours, progress);
    if (differences.length > 0) differing.push({ record, ours, differences });
  }
  return { trace, differing, fsck: checkImage(image) };
}

/** What another scenario leaves when its power is cut: the memory as it is. */
function imageAfter(name: string): Uint8Array {
  const { scenario, operations } = readScenario(name);
  const image = makeImage(scenario);
  const interpreter = new Interpreter(image);
  if (scenario.mount !== undefined) interpreter.run({ op: "mount", opts: scenario.mount }, -1);
  operations.forEach((operation, index) => {
    if (operation.op !== "halt") interpreter.run(operation, index);
  });
  return image;
}

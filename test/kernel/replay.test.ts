/** The measured Linux 6.1, operation by operation: docs/kernel-traces.md says what is compared. */
import { expect, test } from "vitest";
import { EXCEPTIONS } from "./exceptions.js";
import { replay, type RecordDifferences } from "./replay.js";
import { scenarioNames, traceNames } from "./traces.js";

/** What is not allowed to differ, as text; and which exceptions were needed. */
function unexplained(name: string, differing: readonly RecordDifferences[]): { readonly lines: string[]; readonly used: ReadonlySet<string> } {
  const lines: string[] = [];
  const used = new Set<string>();
  for (const { record, ours, differences } of differing) {
    for (const { field, linux, ours: own } of differences) {
      const exception = EXCEPTIONS[name]?.find(({ records, fields }) => records.includes(record.i) && fields.includes(field));
      if (exception !== undefined) {
        used.add(`${record.i}`);
        used.add(field);
      } else lines.push(`${record.i} ${JSON.stringify(record.op)}: ${field} is ${JSON.stringify(own)}, in Linux ${JSON.stringify(linux)} ${String(ours.fields.detail ?? "")}`);
    }
  }
  return { lines, used };
}

test.each(traceNames)("%s", (name) => {
  const { trace, differing, fsck } = replay(name);
  const { lines, used } = unexplained(name, differing);
  expect(lines, trace.scenario.desc).toEqual([]);
  const unused = (EXCEPTIONS[name] ?? []).flatMap(({ records, fields }) => [...records.map(String), ...fields]).filter((part) => !used.has(part));
  expect(unused, "exceptions that are not needed").toEqual([]);
  expect(fsck.status, fsck.stdout).toBe(trace.fsck);
});

test("exceptions name scenarios that are there", () => {
  expect(Object.keys(EXCEPTIONS).filter((name) => !traceNames.includes(name))).toEqual([]);
});

test("each trace is of a scenario that can be recorded again", () => {
  expect(traceNames.length).toBeGreaterThanOrEqual(67);
  expect(traceNames.filter((name) => !scenarioNames.includes(name))).toEqual([]);
});

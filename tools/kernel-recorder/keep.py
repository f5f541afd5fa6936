#!/usr/bin/env python3
"""keep.py TRACES DIRECTORY: puts traces where test/kernel reads them, without what it does not compare, compressed."""
import glob, gzip, json, os, sys

KEPT_EVENTS = ("dax_writeback_one",)


def kept(record):
    record = {k: v for k, v in record.items() if k not in ("ev", "evc", "mounts") and not (k == "kmsg" and record["ret"] == 0)} | (
        {"evc": counts} if (counts := {k: v for k, v in record.get("evc", {}).items() if k in KEPT_EVENTS}) else {})
    return record


def main():
    source, target = sys.argv[1:]
    os.makedirs(target, exist_ok=True)
    for path in sorted(glob.glob(os.path.join(source, "*.jsonl"))):
        lines = []
        for line in open(path):
            record = json.loads(line)
            lines.append(json.dumps(kept(record) if "op" in record else record, separators=(",", ":")))
        with open(os.path.join(target, os.path.basename(path) + ".gz"), "wb") as f:
            f.write(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))


main()

/**
 * The test of bad input, one field at a time: each field of each structure of an image is zeroed, maximised, flipped and moved by one, with checksums looked at and passed over, and
 * everything is read. It ends in a CorruptionError that says what and where, or in a correct read. Where no checksum covers a field (or none is looked at) a wrong value may be
 * read as if it were right; but nothing hangs, crashes, or trips an assertion.
 */
import { describe, expect, test } from "vitest";
import { Ext4, MemoryDevice } from "../../src/platform/node/index.js";
import { fixtureImage, type Fixture } from "../support/fixtures.js";
import { spoilEachField, Tally, type Subject } from "./each-field.js";
import { contentsOf } from "./exercise.js";
import { targetsOf, type Target } from "./targets.js";

/** Structures of the journal: losing one may lose a transaction, and an older tree is then what there is. */
const JOURNAL_LAYOUTS = /journal|commit_header|revoke|logged_block|^ext4_fc_/;
/** Has the bit that says that there are checksums. */
const CHECKSUM_SWITCH = "s_feature_ro_compat";

/** What is spoiled of an image that takes long to read and has the rest in common with others. */
const ONLY: Partial<Record<Fixture, RegExp>> = {
  deep: /^(dx_|ext4_extent|ext4_inode|ext4_dir_entry_2|mmp_)/,
  "fast-commit": /^(ext4_fc_|ext4_extent$|ext4_inode$|journal_superblock_s$)/,
};

/** The structures of a fixture whose fields are spoiled. */
export function targetsIn(name: Fixture): Target[] {
  return targetsOf(fixtureImage(name)).filter(({ layout }) => ONLY[name]?.test(layout.$.name) ?? true);
}

export function testFields(fixtures: readonly Fixture[]): void {
  const tally = new Tally();
  describe.each(fixtures)("%s", (name) => {
    const pristine = fixtureImage(name);
    const volume = Ext4.openSync(new MemoryDevice(pristine, { readOnly: true }));
    const isChecked = volume.fs.sb.hasMetadataCsum;

    test("each field of each structure", { timeout: 1_200_000 }, () => {
      const targets = targetsIn(name);
      expect(targets.length).toBeGreaterThan(30);
      const subject: Subject = {
        pristine, contents: contentsOf(volume),
        ways: isChecked ? [["checksums looked at", { checksum: true }], ["checksums passed over", { checksum: false }]] : [["no checksums", {}]],
        mayDiffer: ({ layout, reseal }, field) => !isChecked || reseal !== undefined || JOURNAL_LAYOUTS.test(layout.$.name) || field === CHECKSUM_SWITCH,
      };
      expect(subject.contents.failures).toEqual([]);
      spoilEachField(subject, targets, tally);
    });

    test("the image cut short at every block", () => {
      for (let bytes = 0; bytes < pristine.length; bytes += 1024) {
        expect(() => Ext4.openSync(new MemoryDevice(pristine.subarray(0, bytes), { readOnly: true })), `${bytes} bytes`)
          .toThrow(expect.objectContaining({ kind: "device-truncated" }));
      }
    });
  });
  tally.printAtEnd("spoiled fields");
}

/** A third party's program on a volume: isomorphic-git makes a repository in it, commits, branches, and checks out; git itself, on a mount or a copy, agrees. */
import * as git from "isomorphic-git";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Ext4 } from "../../src/platform/node/index.js";
import { attempt, canMount, run, temporaryFolder, withMount } from "../support/host.js";

const author = { name: "A. U. Thor", email: "author@example.org", timestamp: 1_700_000_000, timezoneOffset: 0 };
const dir = "/work";

test("init, commit, branch, check out", async () => {
  const image = join(temporaryFolder(), "git.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", image, "32M"]);
  const volume = await Ext4.open(image, { readOnly: false });
  const fs = { promises: volume.promises } as unknown as git.PromiseFsClient;
  await volume.promises.mkdir(`${dir}/src`, { recursive: true });
  await git.init({ fs, dir, defaultBranch: "main" });
  for (let file = 0; file < 20; file++) await volume.promises.writeFile(`${dir}/src/file-${file}.txt`, `line ${file}\n`.repeat(file * 50));
  await volume.promises.symlink("src/file-1.txt", `${dir}/link`);
  await git.add({ fs, dir, filepath: "." });
  const first = await git.commit({ fs, dir, message: "first", author });
  await git.branch({ fs, dir, ref: "side", checkout: true });
  await volume.promises.writeFile(`${dir}/src/file-1.txt`, "changed\n");
  await volume.promises.unlink(`${dir}/src/file-2.txt`);
  await git.add({ fs, dir, filepath: "src/file-1.txt" });
  await git.remove({ fs, dir, filepath: "src/file-2.txt" });
  await git.commit({ fs, dir, message: "second", author });
  await git.checkout({ fs, dir, ref: "main" });
  expect(await volume.promises.readFile(`${dir}/src/file-1.txt`, "utf8")).toBe("line 1\n".repeat(50));
  expect(await volume.promises.readFile(`${dir}/src/file-2.txt`, "utf8")).toBe("line 2\n".repeat(100));
  expect((await git.log({ fs, dir, ref: "side" })).map(({ commit }) => commit.message)).toEqual(["second\n", "first\n"]);
  expect(await git.resolveRef({ fs, dir, ref: "main" })).toBe(first);
  expect(await git.statusMatrix({ fs, dir }).then((rows) => rows.filter(([, head, work, stage]) => head !== 1 || work !== 1 || stage !== 1))).toEqual([]);
  await volume.close();
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
  if (!canMount) return;
  withMount(image, "ro", (mountPoint) => {
    const ask = (...args: string[]): string => run("git", ["-c", "safe.directory=*", "-C", join(mountPoint, dir), ...args]);
    expect(ask("fsck", "--full")).toBe("");
    expect(ask("log", "--format=%s", "side").trim()).toBe("second\nfirst");
    expect(ask("status", "--porcelain")).toBe("");
  });
});

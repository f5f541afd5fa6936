/**
 * Encrypted directories without their key: Linux makes them, has the key taken away, and says what is left to see. We must list the same encoded names, find the same inodes by them, show the same
 * attributes and links, and refuse the same reads and writes.
 */
import { createHash } from "node:crypto";
import * as host from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Ext4, type FsError, type Volume } from "../../src/platform/node/index.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { linuxTree, ourTree, treeDifferences, type Node, type Tree } from "../support/tree.js";

const script = new URL("../support/fscrypt.py", import.meta.url).pathname;

function makeImage(args: readonly string[], sizeMib = 48): string {
  const image = join(temporaryFolder(), "disk.img");
  run("mke2fs", ["-q", "-F", "-t", "ext4", ...args, image, `${sizeMib}M`]);
  return image;
}

function copyOf(image: string): string {
  const copy = join(temporaryFolder(), "copy.img");
  run("cp", ["--sparse=always", image, copy]);
  return copy;
}

/** What Node calls an error of Linux that libuv has no name for. */
const codeOf = (error: unknown): string => ((error as NodeJS.ErrnoException).errno === -126 ? "ENOKEY" : (error as NodeJS.ErrnoException).code ?? String(error));

function keylessTree(root: string): Tree {
  const tree = linuxTree(root);
  for (const node of tree.values()) if (node.error === "Unknown system error -126") node.error = "ENOKEY";
  return tree;
}

const canEncrypt = canMount && withMount(makeImage(["-O", "encrypt"], 16), "rw", (mountPoint) => attempt("python3", [script, "fill", mountPoint, "0"]).status === 0) === true;
const isDirectory = (node: Node): boolean => (node.mode & 0o170000n) === 0o040000n;

describe.runIf(canEncrypt)("what is seen without the key", () => {
  test.each<[string, string[], number, string[]?]>([
    ["1 KiB blocks: hash trees of two levels", ["-O", "encrypt", "-b", "1024"], 3000],
    ["4 KiB blocks", ["-O", "encrypt", "-b", "4096"], 500],
    ["without dir_index: no hashes", ["-O", "encrypt,^dir_index", "-b", "1024"], 200],
    ["legacy hash", ["-O", "encrypt", "-b", "1024"], 200, ["-E", "hash_alg=legacy"]],
    ["TEA hash", ["-O", "encrypt", "-b", "1024"], 200, ["-E", "hash_alg=tea"]],
    ["inline_data", ["-O", "encrypt,inline_data", "-I", "512", "-b", "1024"], 200],
    ["128-byte inodes: the context in a block of its own", ["-O", "encrypt,^metadata_csum", "-I", "128", "-b", "1024"], 200],
    ["without extents and filetype", ["-O", "encrypt,^extent,^64bit,^filetype,^metadata_csum", "-b", "1024"], 200],
  ])("%s", (_name, args, count, tune) => {
    const image = makeImage(args);
    if (tune !== undefined) run("tune2fs", [...tune, image]);
    const taken = withMount(image, "noatime", (mountPoint) => {
      run("python3", [script, "fill", mountPoint, String(count)]);
      run("python3", [script, "lock", mountPoint]);
      return host.readdirSync(mountPoint, { recursive: true }).sort();
    })!;
    const theirs = withMount(image, "ro,noatime", keylessTree)!;
    expect(taken, "the key taken away, and never there").toEqual([...theirs.keys()].slice(1).map((path) => path.slice(1)).sort());
    expect(attempt("e2fsck", ["-fn", image]).status).toBe(0);

    const volume = Ext4.openSync(image);
    const ours = ourTree(volume);
    expect(treeDifferences(theirs, ours)).toEqual([]);
    const nodes = [...theirs.values()];
    expect(nodes.filter(({ error }) => error === "ENOKEY").length, "files that the key is needed for").toBeGreaterThan(200);
    expect([...theirs.keys()].filter((path) => path.split("/").at(-1)!.length === 252).length, "names in the long form").toBeGreaterThan(50);
    expect(nodes.filter(({ target }) => target !== undefined).length).toBeGreaterThan(60);

    for (const [path, { ino }] of theirs) expect(volume.lstatSync(path, { bigint: true }).ino, path).toBe(ino);
    const [[file]] = [[...theirs].find(([, { error }]) => error === "ENOKEY")!];
    expect(() => volume.readFileSync(file)).toThrow(expect.objectContaining({ code: "ENOKEY", errno: -126, path: file }));
    expect(volume.readFileSync("/plain/link", "utf8")).toBe("for all to read");
    volume.closeSync();
  });

  test("a tree of another hash than new directories get", () => {
    const image = makeImage(["-O", "encrypt", "-b", "1024"]);
    withMount(image, "rw", (mountPoint) => run("python3", [script, "fill", mountPoint, "500"]));
    run("tune2fs", ["-E", "hash_alg=tea", image]);
    const volume = Ext4.openSync(image);
    expect(treeDifferences(withMount(image, "ro,noatime", keylessTree)!, ourTree(volume))).toEqual([]);
    volume.closeSync();
  });
});

/** Names that are nearly those listed: other hashes, other bytes behind them, forms of base64 that no listing has. */
function variants(name: string): string[] {
  const bytes = Buffer.from(name, "base64url");
  const changed = (at: number): string => {
    const other = Buffer.from(bytes);
    other[at]! ^= 1;
    return other.toString("base64url");
  };
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".indexOf(name.at(-1)!);
  const loose = name.slice(0, -1) + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]!;
  return [
    changed(0), changed(3), changed(4), changed(8), changed(bytes.length - 1), bytes.subarray(0, -1).toString("base64url"), Buffer.concat([bytes, Buffer.of(0)]).toString("base64url"),
    name.slice(0, -1), `${name}A`, `${name}=`, `${name}==`, loose, bytes.toString("base64"), name.toLowerCase(), "A", "AAAA", "AAAAAAAAAAA", "AAAAAAAAAAAA", "empty", "1", ".", "..",
  ];
}

describe.runIf(canEncrypt)("spellings that no listing has", () => {
  test.each([["hashed", []], ["without dir_index", ["-O", "^dir_index"]]])("%s", (_name, args) => {
    const image = makeImage(["-O", "encrypt", "-b", "1024", ...args]);
    withMount(image, "rw", (mountPoint) => run("python3", [script, "fill", mountPoint, "300"]));
    const volume = Ext4.openSync(image);
    const found = (stat: () => { ino: number }): string => {
      try {
        return String(stat().ino);
      } catch (error) {
        return codeOf(error);
      }
    };
    withMount(image, "ro,noatime", (mountPoint) => {
      let foundCount = 0;
      for (const directory of ["/pad4", "/pad32", "/many", "/first"]) {
        const names = host.readdirSync(mountPoint + directory);
        const sample = names.filter((name, index) => name.length === 252 || index % Math.ceil(names.length / 40) === 0);
        for (const name of sample.flatMap((listed) => [listed, ...variants(listed)])) {
          const theirs = found(() => host.lstatSync(`${mountPoint}${directory}/${name}`));
          expect(`${name} ${found(() => volume.lstatSync(`${directory}/${name}`))}`, directory).toBe(`${name} ${theirs}`);
          if (theirs !== "ENOENT") foundCount++;
        }
      }
      expect(foundCount).toBeGreaterThan(500);
    });
    volume.closeSync();
  });
});

/** The calls of Node's fs that the host and a volume both have. */
interface Door {
  readonly at: (path: string) => string;
  readonly fs: Pick<Volume, "openSync" | "closeSync" | "writeFileSync" | "appendFileSync" | "truncateSync" | "mkdirSync" | "rmdirSync" | "unlinkSync" | "linkSync" | "symlinkSync" | "renameSync" | "chmodSync" | "lchownSync"
    | "utimesSync" | "copyFileSync" | "readdirSync" | "lstatSync" | "mkdtempSync" | "readFileSync" | "accessSync">;
}

/**
 * No kernel here has both, so the directory is written by hand, as the headers say (struct ext4_dir_entry_hash): behind each name, at the next multiple of 4, stand the hash and the minor hash that only
 * the key's holder can compute. e2fsck is the judge of the layout; the shown names are computed from the rule once more.
 */
describe.runIf(canEncrypt)("names that are encrypted and casefolded", () => {
  test("are shown with their stored hash, and found by it", () => {
    const image = makeImage(["-O", "encrypt,^metadata_csum", "-b", "1024"], 16);
    withMount(image, "rw", (mountPoint) => run("python3", [script, "fill", mountPoint, "0"]));
    const debugfs = (...requests: string[]): string => run("debugfs", ["-w", "-f", "-", image], { input: requests.join("\n") });
    const block = Number(/^\d+ *$/m.exec(debugfs("blocks /few"))![0]);
    const fd = host.openSync(image, "r+");
    const before = Buffer.alloc(1024);
    host.readSync(fd, before, 0, 1024, block * 1024);
    const after = Buffer.alloc(1024);
    const expected = new Map<string, number>();
    let to = 0;
    let last = 0;
    for (let from = 0; from < 1024; from += before.readUInt16LE(from + 4)) {
      const [ino, nameBytes] = [before.readUInt32LE(from), before[from + 6]!];
      const isDots = from < 24;
      const nameEnd = (8 + nameBytes + 3) & ~3;
      const entryBytes = nameEnd + (isDots ? 0 : 8);
      before.copy(after, to, from, from + 8 + nameBytes);
      after.writeUInt16LE(entryBytes, to + 4);
      if (!isDots) {
        const hashes = Buffer.alloc(8);
        hashes.writeUInt32LE(0x1000_0000 * expected.size + 2, 0);
        hashes.writeUInt32LE(0xfedc_0000 + to, 4);
        hashes.copy(after, to + nameEnd);
        const name = before.subarray(from + 8, from + 8 + nameBytes);
        const rest = name.length > 149 ? createHash("sha256").update(name.subarray(149)).digest() : Buffer.alloc(0);
        expected.set(Buffer.concat([hashes, name.subarray(0, 149), rest]).toString("base64url"), ino);
      }
      last = to;
      to += entryBytes;
    }
    after.writeUInt16LE(1024 - last, last + 4);
    host.writeSync(fd, after, 0, 1024, block * 1024);
    host.closeSync(fd);
    run("tune2fs", ["-E", "encoding=utf8", "-O", "casefold", image]);
    debugfs("sif /few flags 0x40080800");
    expect(attempt("e2fsck", ["-fn", image]).stdout).not.toMatch(/Directory inode|Entry '/);

    const volume = Ext4.openSync(image);
    expect(expected.size).toBe(4);
    expect(volume.readdirSync("/few")).toEqual([...expected.keys()].sort());
    for (const [name, ino] of expected) expect(volume.lstatSync(`/few/${name}`).ino).toBe(ino);
    volume.closeSync();
  });
});

type Change = [string, (door: Door) => unknown];
/** Paths of one thing of each kind, as they are shown without the key. */
type Paths = Readonly<Record<string, string>>;

const REFUSED = (paths: Paths): Change[] => [
  ["open for reading", ({ fs, at }) => fs.closeSync(fs.openSync(at(paths.file!), "r"))],
  ["read an empty file", ({ fs, at }) => fs.readFileSync(at(paths.empty!))],
  ["open for writing", ({ fs, at }) => fs.closeSync(fs.openSync(at(paths.file!), "r+"))],
  ["overwrite", ({ fs, at }) => fs.writeFileSync(at(paths.file!), "new")],
  ["overwrite an empty file", ({ fs, at }) => fs.writeFileSync(at(paths.empty!), "new")],
  ["append", ({ fs, at }) => fs.appendFileSync(at(paths.file!), "new")],
  ["truncate", ({ fs, at }) => fs.truncateSync(at(paths.file!), 0)],
  ["truncate a long name's file", ({ fs, at }) => fs.truncateSync(at(paths.long!), 1)],
  ["create", ({ fs, at }) => fs.writeFileSync(at("/pad8/new"), "new")],
  ["create under an encoded name", ({ fs, at }) => fs.writeFileSync(at(`/pad8/${Buffer.alloc(24).toString("base64url")}`), "new")],
  ["create exclusively what is there", ({ fs, at }) => fs.writeFileSync(at(paths.file!), "new", { flag: "wx" })],
  ["create a nameless file", ({ fs, at }) => fs.closeSync(fs.openSync(at("/pad8"), 0o20200002))],
  ["mkdir", ({ fs, at }) => fs.mkdirSync(at("/pad8/new"))],
  ["mkdir that is there", ({ fs, at }) => fs.mkdirSync(at(paths.directory!))],
  ["mkdir below", ({ fs, at }) => fs.mkdirSync(at(`${paths.directory}/new`))],
  ["symlink", ({ fs, at }) => fs.symlinkSync("target", at("/pad8/new"))],
  ["link inside", ({ fs, at }) => fs.linkSync(at(paths.file!), at("/pad8/new"))],
  ["link in", ({ fs, at }) => fs.linkSync(at("/plain/file"), at("/pad8/new"))],
  ["rename inside", ({ fs, at }) => fs.renameSync(at(paths.file!), at("/pad8/new"))],
  ["rename in", ({ fs, at }) => fs.renameSync(at("/plain/file"), at("/pad8/new"))],
  ["rename out", ({ fs, at }) => fs.renameSync(at(paths.file!), at("/plain/new"))],
  ["rename out over another", ({ fs, at }) => fs.renameSync(at(paths.file!), at("/plain/file"))],
  ["rename over another", ({ fs, at }) => fs.renameSync(at(paths.file!), at(paths.long!))],
  ["rename in over another", ({ fs, at }) => fs.renameSync(at("/plain/file"), at(paths.file!))],
  ["rename a directory out", ({ fs, at }) => fs.renameSync(at(paths.directory!), at("/plain/new"))],
  ["rename a directory over a full one", ({ fs, at }) => fs.renameSync(at(paths.directory!), at("/plain"))],
  ["rename a directory in", ({ fs, at }) => fs.renameSync(at("/plain"), at("/pad8/new"))],
  ["rename a directory between two of one policy", ({ fs, at }) => fs.renameSync(at("/many"), at("/pad4/new"))],
  ["rename what is not there", ({ fs, at }) => fs.renameSync(at("/pad8/none"), at("/pad8/new"))],
  ["copy in", ({ fs, at }) => fs.copyFileSync(at("/plain/file"), at("/pad8/copy"))],
  ["copy over", ({ fs, at }) => fs.copyFileSync(at("/plain/file"), at(paths.file!))],
  ["unlink what is not there", ({ fs, at }) => fs.unlinkSync(at("/pad8/none"))],
  ["rmdir of what is not empty", ({ fs, at }) => fs.rmdirSync(at("/pad8"))],
];

const ALLOWED = (paths: Paths): Change[] => [
  ["chmod", ({ fs, at }) => fs.chmodSync(at(paths.file!), 0o600)],
  ["chown", ({ fs, at }) => fs.lchownSync(at(paths.link!), 1, 2)],
  ["utimes", ({ fs, at }) => fs.utimesSync(at(paths.file!), 1, 2)],
  ["access", ({ fs, at }) => fs.accessSync(at(paths.file!), 4)],
  ["rename to itself", ({ fs, at }) => fs.renameSync(at(paths.file!), at(paths.file!))],
  ["link out", ({ fs, at }) => fs.linkSync(at(paths.file!), at("/plain/linked"))],
  ["overwrite what was linked out", ({ fs, at }) => fs.writeFileSync(at("/plain/linked"), "new")],
  ["copy out", ({ fs, at }) => fs.copyFileSync(at(paths.file!), at("/plain/copy"))],
  ["unlink a file", ({ fs, at }) => fs.unlinkSync(at(paths.file!))],
  ["unlink a file of a long name", ({ fs, at }) => fs.unlinkSync(at(paths.long!))],
  ["unlink a link", ({ fs, at }) => fs.unlinkSync(at(paths.link!))],
  ["unlink a device", ({ fs, at }) => fs.unlinkSync(at(paths.device!))],
  ["remove everything", ({ fs, at }) => {
    const empty = (directory: string): void => {
      for (const name of fs.readdirSync(at(directory))) {
        const path = `${directory}/${name}`;
        if (!fs.lstatSync(at(path)).isDirectory()) fs.unlinkSync(at(path));
        else empty(path);
      }
      fs.rmdirSync(at(directory));
    };
    empty("/pad8");
  }],
  ["rename the directory itself into a plain one", ({ fs, at }) => fs.renameSync(at("/pad16"), at("/plain/renamed"))],
  ["rename the directory itself", ({ fs, at }) => fs.renameSync(at("/plain/renamed"), at("/renamed"))],
];

describe.runIf(canEncrypt)("changes without the key", () => {
  let image = "";
  const paths: Record<string, string> = {};
  beforeAll(() => {
    image = makeImage(["-O", "encrypt", "-b", "1024"]);
    withMount(image, "rw", (mountPoint) => run("python3", [script, "fill", mountPoint, "0"]));
    withMount(image, "ro", (mountPoint) => {
      for (const [path, node] of linuxTree(mountPoint)) {
        if (!path.startsWith("/pad8/")) continue;
        const kind = isDirectory(node) ? "directory" : node.target !== undefined ? "link" : node.error === undefined ? "device" : node.size === 0n ? "empty" : path.length > 200 ? "long" : "file";
        if (path.split("/").length === 3 || kind === "directory") paths[kind] = path;
      }
    });
    expect(Object.keys(paths).sort()).toEqual(["device", "directory", "empty", "file", "link", "long"]);
  });

  /** Each change in turn, on both; what the last ones leave is compared as well. */
  const outcomes = (door: Door, changes: readonly Change[]): string[] => changes.map(([name, change]) => {
    try {
      change(door);
      return `${name}: done`;
    } catch (error) {
      return `${name}: ${codeOf(error)}`;
    }
  });

  test.each([["refused", REFUSED], ["allowed", ALLOWED]])("%s", (_name, changes) => {
    const table = changes(paths);
    const [mine, theirs] = [copyOf(image), copyOf(image)];
    const volume = Ext4.openSync(mine, { readOnly: false });
    const ourOutcomes = outcomes({ fs: volume, at: (path) => path }, table);
    volume.closeSync();
    expect(ourOutcomes).toEqual(withMount(theirs, "rw", (mountPoint) => outcomes({ fs: host as unknown as Door["fs"], at: (path) => mountPoint + path }, table))!);
    expect(attempt("e2fsck", ["-fn", mine])).toMatchObject({ status: 0 });
    const [expected, found] = [theirs, mine].map((changed) => withMount(changed, "ro,noatime", keylessTree)!);
    expect(treeDifferences(expected!, found!, new Set<keyof Node>(["atimeNs", "mtimeNs", "ctimeNs", "blocks"]))).toEqual([]);
  });

  test("what Node's fs has no call for", () => {
    const volume = Ext4.openSync(copyOf(image), { readOnly: false });
    const refused = (work: () => unknown): string => {
      try {
        work();
        return "done";
      } catch (error) {
        return (error as FsError).code;
      }
    };
    expect(refused(() => volume.fallocateSync(paths.file!, 0, 0, 5000))).toBe("ENOKEY");
    expect(refused(() => volume.fallocateSync(paths.file!, 3, 0, 500))).toBe("ENOKEY");
    expect(refused(() => volume.seekSync(paths.file!, 0, "hole"))).toBe("ENOKEY");
    expect(refused(() => volume.renameSync(paths.file!, paths.long!, 2))).toBe("ENOKEY");
    expect(refused(() => volume.renameSync("/plain/file", paths.long!, 2))).toBe("ENOKEY");
    expect(refused(() => volume.mknodSync("/pad8/new", 0o010644))).toBe("ENOKEY");
    expect(refused(() => volume.setxattrSync(paths.file!, "user.note", "attributes are not encrypted"))).toBe("done");
    volume.closeSync();
  });
});

if (!canEncrypt) notTestedHere("encrypted directories", "needs root, loop devices and a kernel with fscrypt");

/** The verbs that write: each leaves what coreutils, attr and e2fsprogs leave on a loop mount of the same image, and e2fsck has nothing to say. One that fails leaves everything as it was. */
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Ext4 } from "../../src/platform/node/index.js";
import { fixtureImage } from "../support/fixtures.js";
import { attempt, canMount, notTestedHere, run, temporaryFolder, withMount } from "../support/host.js";
import { linuxTree, ourTree, treeDifferences, type Node, type Tree } from "../support/tree.js";
import { BIN, ext4, ext4Output } from "./ext4.js";

if (!canMount) notTestedHere("the verbs that write", "no loop mounts");

const FILL = `
umask 022
mkdir -p dir/sub deep/a/b
echo hello > file
echo two > dir/two
head -c 100000 /dev/urandom > big
printf x > 'odd name'
ln file hard
ln -s file link
ln -s dir dirlink
ln -s nowhere dangling
mkfifo pipe
chmod 2755 dir/sub
chmod 640 deep/a
setfattr -n user.old -v old file
touch -d '2003-03-03 03:03:03.333333333Z' file big dir
`;

let folder = "";
let base = "";

beforeAll(() => {
  if (!canMount) return;
  folder = temporaryFolder();
  base = join(folder, "base.img");
  run("mke2fs", ["-q", "-t", "ext4", "-b", "4096", base, "16M"]);
  expect(withMount(base, "rw", (mountPoint) => run("sh", ["-ec", FILL], { cwd: mountPoint }))).toBe("");
});

let copies = 0;
function copyOfBase(): string {
  const copy = join(folder, `copy${copies++}.img`);
  copyFileSync(base, copy);
  return copy;
}

/** What differs between two ways to the same tree: who got which inode, and when. */
const TIMES = ["atimeNs", "mtimeNs"] as const;
const PLACES = ["ino", "ctimeNs", "birthtimeNs"] as const;

function treeOf(image: string, under = ""): Tree {
  return withMount(image, "ro", (mountPoint) => linuxTree(join(mountPoint, under)))!;
}

function checkImage(image: string): void {
  const { status, stdout } = attempt("e2fsck", ["-fn", image]);
  expect(status, stdout).toBe(0);
}

interface Case {
  readonly verb: string;
  /** Words of commands, "@" standing for the image and a colon. */
  readonly ours: readonly string[];
  readonly linux: string;
  /** Times are compared, too. */
  readonly hasTimes?: boolean;
  /** A command whose output on the mount is compared. */
  readonly shown?: string;
}

const CASES: readonly Case[] = [
  {
    verb: "mkdir", ours: ["mkdir @/new @/dir/new", "mkdir -p -m 700 @/a/b/c @/dir", "mkdir -m u=rwx,g=rx,o= @/m", "mkdir -p @/deep/./x//y"],
    linux: "mkdir new dir/new; mkdir -p -m 700 a/b/c dir; mkdir -m u=rwx,g=rx,o= m; mkdir -p deep/./x//y",
  },
  {
    verb: "rm and rmdir", ours: ["rm @/file @/dirlink", "rm -r @/dir @/pipe", "rm -rf @/absent @/absent/below", "rmdir @/deep/a/b @/deep/a/"],
    linux: "rm file dirlink; rm -r dir pipe; rm -rf absent absent/below; rmdir deep/a/b deep/a/",
  },
  {
    verb: "mv", ours: ["mv @/file @/renamed", "mv @/dir @/deep", "mv @/renamed @/link @/deep/a", "mv -n @/big @/hard", "mv -T @/deep/a/b @/e", "mv @/dangling @/dirlink2"],
    linux: "mv file renamed; mv dir deep; mv renamed link deep/a; mv -n big hard; mv -T deep/a/b e; mv dangling dirlink2",
  },
  {
    verb: "ln", ours: ["ln @/file @/dir/hard2", "ln -s ../x @/dir/sym", "ln -sf other @/link", "ln -f @/big @/hard", "ln @/file @/big @/deep", "ln -sfn z @/dirlink", "ln -s one two @/deep/a"],
    linux: "ln file dir/hard2; ln -s ../x dir/sym; ln -sf other link; ln -f big hard; ln file big deep; ln -sfn z dirlink; ln -s one two deep/a",
  },
  {
    verb: "touch", hasTimes: true,
    ours: ["touch -d 2001-02-03T04:05:06.789Z @/file @/dir/two", "touch -c -d @1 @/absent", "touch -a -d @5 @/big", "touch -m -d @123.456 @/deep", "touch -h -d @-77 @/link", "touch -d 2040-01-01 @/dir/sub"],
    linux: "touch -d 2001-02-03T04:05:06.789Z file dir/two; touch -c -d @1 absent; touch -a -d @5 big; touch -m -d @123.456 deep; touch -h -d @-77 link; touch -d '2040-01-01 UTC' dir/sub",
  },
  {
    verb: "chmod", ours: [
      "chmod 4755 @/file", "chmod u+x,go-r @/big", "chmod a=rX @/dir", "chmod -R g+w,o=u @/deep", "chmod 755 @/dir/sub", "chmod -x @/dir/two", "chmod +t,ug+s @/deep/a/b", "chmod =rw @/link",
      "chmod -R a-x+X @/dir", "chmod o=g @/big",
    ],
    linux: "chmod 4755 file; chmod u+x,go-r big; chmod a=rX dir; chmod -R g+w,o=u deep; chmod 755 dir/sub; chmod -x dir/two; chmod +t,ug+s deep/a/b; chmod =rw link; chmod -R a-x+X dir; chmod o=g big",
  },
  { verb: "chmod with five digits", ours: ["chmod 00755 @/dir/sub"], linux: "chmod 00755 dir/sub" },
  {
    verb: "chown", ours: ["chmod 6755 @/big", "chown 1000:100 @/big", "chown :5 @/file", "chown -R 7:8 @/dir", "chown -h 3 @/link", "chown 9 @/dirlink", "chown 100000:70000 @/pipe"],
    linux: "chmod 6755 big; chown 1000:100 big; chown :5 file; chown -R 7:8 dir; chown -h 3 link; chown 9 dirlink; chown 100000:70000 pipe",
  },
  {
    verb: "truncate", ours: ["truncate -s 10 @/file", "truncate -s +5K @/big", "truncate -s -100 @/big", "truncate -s %4096 @/odd", "truncate -s 1M @/made", "truncate -c -s 1 @/absent", "truncate -s <3 @/dir/two"],
    linux: "truncate -s 10 file; truncate -s +5K big; truncate -s -100 big; truncate -s %4096 odd; truncate -s 1M made; truncate -c -s 1 absent; truncate -s '<3' dir/two",
  },
  {
    verb: "fallocate", ours: [
      "fallocate -l 1M @/made", "fallocate -p -o 4096 -l 8192 @/big", "fallocate -z -o 20000 -l 4096 @/big", "fallocate -c -o 4K -l 4KiB @/big", "fallocate -i -o 8K -l 4K @/big", "fallocate -n -l 300K @/file",
    ],
    linux: "fallocate -l 1M made; fallocate -p -o 4096 -l 8192 big; fallocate -z -o 20000 -l 4096 big; fallocate -c -o 4K -l 4KiB big; fallocate -i -o 8K -l 4K big; fallocate -n -l 300K file",
  },
  {
    verb: "chattr", ours: ["chattr +Ad @/file", "chattr -d @/file", "chattr =AS @/big", "chattr -R +d @/dir", "chattr +i @/hard", "chattr -i @/file", "chattr +a @/dir/two"],
    linux: "chattr +Ad file; chattr -d file; chattr =AS big; chattr -R +d dir; chattr +i hard; chattr -i file; chattr +a dir/two",
    shown: "lsattr -Ra . | sort",
  },
  {
    verb: "setfattr", ours: [
      "setfattr -n user.a -v text @/file", "setfattr -n user.b -v 0x00ff10 @/file", "setfattr -n user.c -v 0saGk= @/dir", "setfattr -n user.empty @/file", "setfattr -x user.old @/file",
      "setfattr -h -n trusted.own -v link @/link", 'setfattr -n user.q -v "a\\101\\"" @/big',
    ],
    linux: `setfattr -n user.a -v text file; setfattr -n user.b -v 0x00ff10 file; setfattr -n user.c -v 0saGk= dir; setfattr -n user.empty file; setfattr -x user.old file
      setfattr -h -n trusted.own -v link link; setfattr -n user.q -v '"a\\101\\""' big`,
  },
  {
    verb: "cp within the image", ours: ["cp @/file @/copied", "cp -r @/dir @/dir2", "cp -a @/dir/. @/deep/a", "cp @/big @/hard", "cp @/link @/linkcopy", "cp -a @/file @/hard @/link @/deep"],
    linux: "cp file copied; cp -r dir dir2; cp -a dir/. deep/a; cp big hard; cp link linkcopy; cp -a file hard link deep",
  },
];

const ends = (words: string, image: string): string[] => words.split(" ").map((word) => word.replace(/^@(?=\/)/, `${image}:`));

describe.runIf(canMount)("as on Linux", () => {
  test.each(CASES)("$verb", async ({ ours: commands, linux, hasTimes = false, shown }) => {
    const [ours, theirs] = [copyOfBase(), copyOfBase()];
    for (const command of commands) await ext4Output(...ends(command, ours));
    withMount(theirs, "rw", (mountPoint) => run("sh", ["-ec", `umask 022; ${linux}`], { cwd: mountPoint }));
    checkImage(ours);
    expect(treeDifferences(treeOf(theirs), treeOf(ours), new Set([...PLACES, ...(hasTimes ? [] : TIMES)]))).toEqual([]);
    if (shown === undefined) return;
    const [seen, wanted] = [ours, theirs].map((image) => withMount(image, "ro", (mountPoint) => run("sh", ["-c", shown], { cwd: mountPoint })));
    expect(seen).toBe(wanted);
  });
});

/** A folder of the host with everything that a filesystem can hold. */
function hostTree(): string {
  const tree = join(temporaryFolder(), "tree");
  mkdirSync(tree);
  run("sh", ["-ec", `
    mkdir -p sub/empty acl/below
    head -c 300000 /dev/urandom > large
    head -c 5000 /dev/urandom > sub/some
    : > nothing
    truncate -s 3M sparse; printf data | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none
    ln large sub/again
    ln -s ../large sub/link
    ln -s "$(printf 'x%.0s' $(seq 100))" long
    mkfifo fifo; mknod null c 1 3; mknod disk b 8 300
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
    setfattr -n user.note -v 'a note' large
    setfattr -h -n trusted.link -v 1 long
    setfattr -n system.posix_acl_access -v 0x0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000000ffffffff acl
    setfattr -n system.posix_acl_default -v 0x0200000001000700ffffffff04000500ffffffff20000000ffffffff acl
    printf acl > acl/inherits
    touch "$(printf 'n\\303\\244me \\377')"
    chown 1000:1001 large; chown -h 5 sub/link; chmod 4711 nothing; chmod 1777 sub/empty
    touch -d '1999-09-09 09:09:09.123456789Z' large sub/some sub/empty fifo sub; touch -h -d @1 long
  `], { cwd: tree });
  return tree;
}

describe.runIf(canMount)("cp into an image", () => {
  test("-a keeps everything, as Linux does", async () => {
    const tree = hostTree();
    const [ours, theirs] = [copyOfBase(), copyOfBase()];
    const { status, stderr } = await ext4("cp", "-a", tree, `${ours}:/dir`);
    expect(status).toBe(0);
    expect(stderr).toMatch(/left out: 1 sockets/);
    withMount(theirs, "rw", (mountPoint) => run("sh", ["-ec", `cp -a ${tree} dir; rm dir/tree/socket; touch -r ${tree} dir/tree`], { cwd: mountPoint }));
    checkImage(ours);
    expect(treeDifferences(treeOf(theirs, "dir/tree"), treeOf(ours, "dir/tree"), new Set([...PLACES, "atimeNs"]))).toEqual([]);
  });

  test("between two images, and out again", async () => {
    const [from, to] = [copyOfBase(), copyOfBase()];
    await ext4Output("cp", "-a", `${from}:/`, `${to}:/from`);
    checkImage(to);
    const [read, written] = [treeOf(from), treeOf(to, "from")];
    for (const tree of [read, written]) tree.delete("/lost+found"); // larger where mke2fs made it
    expect(treeDifferences(read, written, new Set([...PLACES, "blocks"]))).toEqual([]);
    expect(readFileSync(from).equals(readFileSync(base))).toBe(true);
  });

  test("over what is there, where GNU cp would put it", async () => {
    const source = join(temporaryFolder(), "source");
    writeFileSync(source, "new content");
    const commands = ["HOST @/file", "HOST @/dir", "HOST @/made", "HOST @/link", "HOST HOST2 @/deep", "HOST @/dirlink/", "-a HOST @/hard"];
    const source2 = `${source}2`;
    writeFileSync(source2, "second");
    const [ours, theirs] = [copyOfBase(), copyOfBase()];
    const words = (command: string): string[] => command.split(" ").map((word) => word.replace("HOST2", source2).replace("HOST", source));
    for (const command of commands) await ext4Output("cp", ...ends(words(command).join(" "), ours));
    withMount(theirs, "rw", (mountPoint) => {
      for (const command of commands) run("cp", words(command).map((word) => word.replace(/^@\//, "./")), { cwd: mountPoint });
    });
    checkImage(ours);
    expect(treeDifferences(treeOf(theirs), treeOf(ours), new Set([...PLACES, ...TIMES]))).toEqual([]);
  });

  test("standard input, and a tar that is read back", async () => {
    const image = copyOfBase();
    const tar = join(temporaryFolder(), "a.tar");
    run("tar", ["-cf", tar, "-C", join(import.meta.dirname, "../support"), "."]);
    const bytes = readFileSync(tar);
    execFileSync(process.execPath, [BIN, "cp", "-", `${image}:/in.tar`], { input: bytes });
    await ext4Output("cp", tar, `${image}:/dir/`);
    checkImage(image);
    for (const path of ["/in.tar", "/dir/a.tar"]) {
      const back = await ext4("cp", `${image}:${path}`, "-");
      expect(back.bytes.equals(bytes)).toBe(true);
    }
  });

  test("SOURCE_DATE_EPOCH is the clock", async () => {
    const image = copyOfBase();
    const { status } = spawnSync(process.execPath, [BIN, "mkdir", `${image}:/dated`], { env: { ...process.env, SOURCE_DATE_EPOCH: "1000000000" } });
    expect(status).toBe(0);
    const volume = Ext4.openSync(image);
    expect(volume.statSync("/dated", { bigint: true })).toMatchObject({ mtimeNs: 1_000_000_000_000_000_000n, birthtimeNs: 1_000_000_000_000_000_000n });
    volume.closeSync();
  });
});

test("chattr sets projects", async () => {
  const image = join(temporaryFolder(), "project.img");
  run("mke2fs", ["-q", "-t", "ext4", "-O", "project", image, "8M"]);
  await ext4Output("mkdir", `${image}:/of42`);
  await ext4Output("chattr", "-p", "42", "+P", `${image}:/of42`);
  await ext4Output("cp", "-r", join(import.meta.dirname, "../house"), `${image}:/of42`);
  checkImage(image);
  const inode = run("debugfs", ["-R", "stat /of42/house/imports.test.ts", image]);
  expect(inode).toMatch(/Project:\s+42/);
});

describe.runIf(canMount)("what fails", () => {
  test.each([
    ["cp /absent/file @/x", "/absent/file"], ["cp HUGE @/dir", "@/dir"], ["cp -a BUSY @/dir", "@/dir"], ["cp -r @/dir @/dir/sub", "@/dir/sub"], ["cp DIRECTORY @/x", "@/x"], ["cp @/file @/hard", "@/hard"],
    ["mkdir @/dir", "/dir"], ["mkdir @/absent/x", "/absent/x"], ["mkdir -p @/file/x", "/file/x"], ["rmdir @/dir", "/dir"], ["rmdir @/file", "/file"], ["rm @/dir", "/dir"], ["rm @/absent", "/absent"],
    ["rm -rf @/", "@/"], ["mv @/absent @/x", "/absent"], ["mv @/dir @/file", "/file"], ["mv @/dir @/dir/sub", "/dir/sub"], ["mv @/file @/file", "/file"], ["mv @/file @/hard", "/hard"], ["ln @/file @/big", "/big"], ["ln -f @/file @/hard", "/hard"],
    ["ln @/dir @/x", "/dir"], ["ln -s x @/file", "/file"], ["touch @/absent/x", "/absent/x"], ["chmod 7 @/absent", "/absent"], ["chown 1 @/dangling", "/dangling"], ["truncate -s 1 @/dir", "/dir"],
    ["truncate -s 20T @/new/x", "/new/x"], ["fallocate -l 1G @/made", "/made"], ["fallocate -c -o 1 -l 4096 @/big", "/big"], ["chattr +i @/link", "/link"], ["setfattr -x user.none @/file", "/file"],
    ["setfattr -n wrong -v 1 @/file", "/file"],
  ])("%s", async (command, named) => {
    const host = temporaryFolder();
    const image = copyOfBase();
    run("truncate", ["-s", "64M", join(host, "huge")]);
    if (command.includes("HUGE")) run("sh", ["-c", "head -c 40000000 /dev/zero > huge"], { cwd: host });
    mkdirSync(join(host, "busy"));
    if (command.includes("BUSY")) run("sh", ["-c", "mkdir busy/file; head -c 30000000 /dev/zero > busy/two"], { cwd: host });
    const words = ends(command, image).map((word) => word.replace("HUGE", join(host, "huge")).replace("BUSY", `${join(host, "busy")}/.`).replace("DIRECTORY", host));
    const { status, stdout, stderr } = await ext4(...words);
    expect(stderr).toContain(named.replace("@", `${image}:`));
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    checkImage(image);
    if (!command.includes("BUSY")) expect(treeDifferences(treeOf(base), treeOf(image), new Set([...PLACES, ...TIMES]))).toEqual([]);
  });

  test.each([["mkdir", "no-path"], ["mkdir", "/absent.img:/x"], ["chmod", "9", "@/file"], ["cp", "onlyone"], ["truncate", "@/file"], ["chattr", "+Y", "@/file"], ["fallocate", "-p", "-z", "-l", "1", "@/file"], ["touch", "-d", "soon", "@/file"]])(
    "wrong usage: %s %s", async (...words: string[]) => {
      const image = copyOfBase();
      const { status, stderr } = await ext4(...words.map((word) => word.replace(/^@/, `${image}:`)));
      expect(stderr).not.toBe("");
      expect(status).toBe(2);
      expect(readFileSync(image).equals(readFileSync(base))).toBe(true);
    });
});

describe("what was done", () => {
  test.runIf(canMount)("is told with -v, and with --json", async () => {
    const image = copyOfBase();
    const removed = (await ext4Output("rm", "-rv", `${image}:/dir`)).trimEnd().split("\n");
    expect(removed.at(-1)).toBe(`removed ${image}:/dir`);
    expect(removed.sort()).toEqual(["", "/sub", "/two"].map((name) => `removed ${image}:/dir${name}`));
    expect(await ext4Output("chmod", "-v", "600", `${image}:/file`)).toBe("mode of /file changed from 0644 (rw-r--r--) to 0600 (rw-------)\n");
    expect(JSON.parse(await ext4Output("--json", "mkdir", `${image}:/made`))).toEqual({ made: "/made" });
    expect(JSON.parse(await ext4Output("--json", "chown", "5:6", `${image}:/made`))).toEqual({ path: "/made", uid: 5, gid: 6 });
  });

  test("sync recovers a dirty journal", async () => {
    const image = join(temporaryFolder(), "dirty.img");
    writeFileSync(image, fixtureImage("journal"));
    const before = Ext4.openSync(image);
    expect(before.fs.recovery).toBeDefined();
    const tree = ourTree(before);
    before.closeSync();
    expect(await ext4Output("sync", "-v", image)).toContain("recovered its journal");
    checkImage(image);
    const after = Ext4.openSync(image);
    expect(after.fs.recovery).toBeUndefined();
    expect(treeDifferences(tree, ourTree(after), new Set<keyof Node>())).toEqual([]);
    after.closeSync();
    expect(await ext4Output("sync", "-v", image)).toContain("was clean");
  });
});

describe.runIf(canMount)("mkfs -d", () => {
  test.each([["ext4", []], ["ext2", ["-t", "ext2", "-b", "1024"]], ["inline data", ["-O", "inline_data,ea_inode"]], ["bigalloc", ["-O", "bigalloc", "-b", "4096"]]] as const)("%s: the folder's tree, the same bytes every time", async (_name, args) => {
    const tree = hostTree();
    const images = ["a.img", "b.img"].map((file) => join(temporaryFolder(), file));
    const fixed = ["-U", "01234567-89ab-cdef-0123-456789abcdef", "-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef"];
    for (const image of images) {
      const { status, stderr } = spawnSync(process.execPath, [BIN, "-q", "mkfs", ...args, ...fixed, "-d", tree, image, "32M"], { encoding: "utf8", env: { ...process.env, SOURCE_DATE_EPOCH: "2000000000" } });
      expect({ status, stderr: stderr.replace(/^.*left out: 1 sockets.*\n/, "") }).toEqual({ status: 0, stderr: "" });
    }
    checkImage(images[0]!);
    expect(readFileSync(images[0]!).equals(readFileSync(images[1]!))).toBe(true);
    const seen = treeOf(images[0]!);
    seen.delete("/lost+found");
    const wanted = linuxTree(tree);
    wanted.delete("/socket");
    const ignored: (keyof Node)[] = [...PLACES, "atimeNs", "blocks"];
    for (const nodes of [seen, wanted]) for (const node of nodes.values()) if ((node.mode & 0o170000n) === 0o040000n) node.size = node.nlink = 0n;
    expect(treeDifferences(wanted, seen, new Set(ignored))).toEqual([]);
  });

  test("a folder that does not fit leaves no image", async () => {
    const source = temporaryFolder();
    run("sh", ["-c", "head -c 20000000 /dev/zero > zeroes"], { cwd: source });
    const image = join(temporaryFolder(), "small.img");
    const { status, stderr } = await ext4("mkfs", "-d", source, image, "8M");
    expect(status).toBe(1);
    expect(stderr).toContain("zeroes");
    expect(attempt("ls", [join(image, "..")]).stdout).toBe("");
  });
});

/**
 * Before the tests: what they need from the system is installed where that can be done (root and apt), and else named in one line each.
 * Nothing is skipped silently: a test that cannot run here says so, too.
 */
import { spawnSync } from "node:child_process";

/** Command, the Debian packages that have it, and what is not tested without it. */
const NEEDS: readonly (readonly [command: string, debianPackages: string, use: string])[] = [
  ["mke2fs", "e2fsprogs", "images that mke2fs makes"],
  ["debugfs", "e2fsprogs", "comparison with debugfs"],
  ["python3", "python3", "images filled by Linux"],
  ["getfattr", "attr", "extended attributes as Linux shows them"],
  ["chromium", "chromium", "the browser bundle in a browser"],
  ["ndctl", "ndctl", "info blocks beside ndctl"],
  ["gcc", "gcc libc6-dev", "programs that are executed, and memory calls beside Linux"],
];

const isHere = (command: string): boolean => spawnSync(command, ["--version"], { stdio: "ignore" }).error === undefined;

function install(packages: readonly string[]): void {
  process.stdout.write(`installing ${packages.join(", ")}\n`);
  const apt = (...args: string[]): void => {
    spawnSync("apt-get", ["-qq", "-y", ...args], { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } });
  };
  apt("update");
  apt("install", "--no-install-recommends", ...packages);
}

const missing = NEEDS.filter(([command]) => !isHere(command));
if (missing.length > 0 && process.getuid?.() === 0 && isHere("apt-get")) install([...new Set(missing.flatMap(([, debianPackages]) => debianPackages.split(" ")))]);
for (const [command, debianPackages, use] of missing.filter(([name]) => !isHere(name))) {
  process.stderr.write(`not tested here: ${use} (needs ${command}, from ${debianPackages})\n`);
}

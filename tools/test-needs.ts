/**
 * Before the tests: what they need from the system is installed where that can be done (root and apt), and else named in one line each.
 * Nothing is skipped silently: a test that cannot run here says so, too.
 */
import { spawnSync } from "node:child_process";

/** Command, the Debian package that has it, and what is not tested without it. */
const NEEDS: readonly (readonly [command: string, debianPackage: string, use: string])[] = [
  ["mke2fs", "e2fsprogs", "images that mke2fs makes"],
  ["debugfs", "e2fsprogs", "comparison with debugfs"],
  ["python3", "python3", "images filled by Linux"],
  ["getfattr", "attr", "extended attributes as Linux shows them"],
  ["chromium", "chromium", "the browser bundle in a browser"],
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
if (missing.length > 0 && process.getuid?.() === 0 && isHere("apt-get")) install([...new Set(missing.map(([, debianPackage]) => debianPackage))]);
for (const [command, debianPackage, use] of missing.filter(([name]) => !isHere(name))) {
  process.stderr.write(`not tested here: ${use} (needs ${command}, from the package ${debianPackage})\n`);
}

/** The package's bundle for browsers, in one: images from Blobs, Files, bytes and web servers are read there as Linux read them. */
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fixtureImage, fixtureTree, type Fixture } from "../support/fixtures.js";
import { notTestedHere, run, temporaryFolder } from "../support/host.js";
import { serveImage, type ImageServer, type Served } from "../support/image-server.js";
import type { actions, Entry, Way } from "./page.js";

const executablePath = spawnSync("sh", ["-c", "command -v chromium || command -v chromium-browser || command -v google-chrome"], { encoding: "utf8" }).stdout.trim();
if (executablePath === "") notTestedHere("the bundle in a browser", "needs chromium");

const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

test("the bundle asks for no module of anybody's", () => {
  const bundle = readFileSync("dist/browser.js", "utf8");
  expect(bundle).not.toMatch(/(?:\bfrom|\bimport|\brequire\()\s*\(?"[^"]+"/);
  expect(bundle).toMatch(/export \{/);
});

type Actions = typeof actions;

describe.runIf(executablePath !== "")("in Chromium", () => {
  let browser: Browser;
  let site: Server;
  let page: Page;
  const imageServers: ImageServer[] = [];

  beforeAll(async () => {
    const { outputFiles } = await build({ entryPoints: ["test/browser/page.ts"], bundle: true, format: "esm", target: "es2022", write: false });
    const files: Record<string, readonly [type: string, content: string]> = {
      "/": ["text/html", '<!doctype html><script type="module" src="/page.js"></script>'],
      "/page.js": ["text/javascript", outputFiles[0]!.text],
      "/browser.js": ["text/javascript", readFileSync("dist/browser.js", "utf8")],
    };
    site = createServer((request, response) => {
      const [type, content] = files[request.url!] ?? [];
      response.writeHead(type === undefined ? 404 : 200, { "content-type": type ?? "text/plain" }).end(content ?? "");
    });
    await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
    browser = await chromium.launch({ executablePath, args: ARGUMENTS, timeout: 120_000 });
    page = await browser.newPage();
    page.setDefaultTimeout(120_000);
    await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`);
    await page.waitForFunction("globalThis.isReady");
  });

  afterAll(async () => {
    await browser?.close();
    site?.close();
    for (const server of imageServers) await server.close();
  });

  async function serve(bytes: Uint8Array, served: Partial<Served> = {}): Promise<ImageServer> {
    const server = await serveImage({ bytes, etag: '"one"', ...served });
    imageServers.push(server);
    return server;
  }

  /** Calls one of the page's actions there. */
  async function inPage<Name extends keyof Actions>(name: Name, ...args: Parameters<Actions[Name]>): Promise<Awaited<ReturnType<Actions[Name]>>> {
    return await page.evaluate(async ([action, values]) => await (globalThis as unknown as { actions: Record<string, (...values: unknown[]) => unknown> }).actions[action]!(...values), [name, args] as const) as never;
  }

  const told = (name: Fixture): Record<string, Entry> => Object.fromEntries([...fixtureTree(name)].map(([path, { mode, size, mtimeNs, target, sha256 }]) =>
    [path, { mode: Number(mode), size: Number(size), mtimeNs: String(mtimeNs), ...(target === undefined ? {} : { target }), ...(sha256 === undefined ? {} : { sha256 }) }]));

  test.each<[Way, Fixture]>([["blob", "checksums"], ["file", "inline"], ["bytes", "plain"], ["url", "checksums"], ["url", "journal"]])("from %s, every file of %s", async (way, name) => {
    const server = await serve(fixtureImage(name));
    expect(await inPage("tree", way, server.url)).toEqual(told(name));
    if (way === "url") {
      expect(server.requests).not.toContain("whole");
      expect(server.requests.length).toBeLessThan(30);
    }
  });

  test("a file as a web stream, whole and in part", async () => {
    const server = await serve(fixtureImage("checksums"));
    const medium = Buffer.from(Array.from({ length: 256 * 40 }, (_, index) => index % 256)).toString("latin1");
    for (const way of ["blob", "url"] as const) {
      const sparse = await inPage("stream", way, server.url, "/sparse", { start: 69_900_000 });
      expect(sparse.text).toBe(`${"\0".repeat(100_000)}end`);
      expect(Math.max(...sparse.lengths)).toBeLessThanOrEqual(65_536);
      expect((await inPage("stream", way, server.url, "/medium")).text).toBe(medium);
      expect(await inPage("stream", way, server.url, "/medium", { start: 100, end: 105 })).toEqual({ lengths: [6], text: medium.slice(100, 106) });
      expect((await inPage("stream", way, server.url, "/medium", { start: 20_000 })).text).toBe("");
    }
  });

  test("streams close their files, however they end", async () => {
    const server = await serve(fixtureImage("checksums"));
    const numbers = await inPage("streamsClose", server.url);
    expect(new Set(numbers).size).toBe(1);
  });

  test("errors are Node's, too", async () => {
    const server = await serve(fixtureImage("checksums"));
    const absent = { name: "FsError", code: "ENOENT", errno: -2, syscall: "open", path: "/absent" };
    expect(await inPage("error", "blob", server.url, "readFile")).toMatchObject(absent);
    expect(await inPage("error", "url", server.url, "stream")).toMatchObject(absent);
    expect(await inPage("error", "blob", server.url, "readFileSync")).toMatchObject({ code: "EOPNOTSUPP" });
    expect(await inPage("error", "url", server.url, "readFileSync")).toMatchObject({ code: "EOPNOTSUPP" });
    expect(await inPage("error", "blob", server.url, "badStream")).toMatchObject({ name: "RangeError", code: "ERR_OUT_OF_RANGE" });
    const zeros = await serve(new Uint8Array(100_000));
    expect(await inPage("error", "blob", zeros.url, "open")).toMatchObject({ name: "CorruptionError", code: "EUCLEAN", kind: "superblock-magic" });
  });

  test("a web server that cannot be used", async () => {
    const noRanges = await serve(fixtureImage("plain"), { hasRanges: false });
    expect(await inPage("error", "url", noRanges.url, "open")).toMatchObject({ code: "EOPNOTSUPP", syscall: "open", path: noRanges.url });
    const gone = await serve(fixtureImage("plain"));
    await gone.close();
    expect(await inPage("error", "url", gone.url, "open")).toMatchObject({ code: "EIO" });
  });

  test("a file is read and stored into where it lies", async () => {
    const folder = temporaryFolder();
    const image = join(folder, "disk.img");
    mkdirSync(join(folder, "source"));
    writeFileSync(join(folder, "source", "file"), "what is in the file from the beginning");
    run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", join(folder, "source"), image, "4M"]);
    const server = await serve(readFileSync(image));
    expect(await inPage("map", server.url, "/file")).toEqual({ isSame: true, before: "what is in the file from the beginning", after: "stored in placefile from the beginning" });
  });

  test("an image in memory can be changed there", async () => {
    const server = await serve(fixtureImage("checksums"));
    expect(await inPage("write", server.url)).toEqual({ text: "written in a browser", names: ["here", "here/file"] });
  });
});

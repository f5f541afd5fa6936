/** What the test's page can do: it has the package's bundle for browsers, as a web page would, and nothing of Node. */
import type * as Package from "../../src/platform/browser/index.js";

const bundle = "/browser.js";
const { Ext4, PmemDevice } = await import(bundle) as typeof Package;

/** How the page comes by the image. */
export type Way = "url" | "blob" | "file" | "bytes";

export interface Entry {
  readonly mode: number;
  readonly size: number;
  readonly mtimeNs: string;
  readonly target?: string;
  readonly sha256?: string;
}

async function targetOf(way: Way, url: string): Promise<Package.Target> {
  if (way === "url") return new URL(url);
  const response = await fetch(url);
  if (way === "bytes") return new Uint8Array(await response.arrayBuffer());
  const blob = await response.blob();
  return way === "blob" ? blob : new File([blob], "disk.img");
}

const hex = (bytes: ArrayBuffer): string => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

async function describe(volume: Package.Volume, path: string): Promise<Entry> {
  const stats = await volume.promises.lstat(path, { bigint: true });
  const entry = { mode: Number(stats.mode), size: Number(stats.size), mtimeNs: String(stats.mtimeNs) };
  if (stats.isSymbolicLink()) return { ...entry, target: await volume.promises.readlink(path) };
  if (!stats.isFile()) return entry;
  const bytes = await volume.promises.readFile(path) as Uint8Array<ArrayBuffer>;
  return { ...entry, sha256: hex(await crypto.subtle.digest("SHA-256", bytes)) };
}

export const actions = {
  async tree(way: Way, url: string): Promise<Record<string, Entry>> {
    const volume = await Ext4.open(await targetOf(way, url));
    const paths = ["/", ...(await volume.promises.readdir("/", { recursive: true })).map((path) => `/${path}`)];
    const tree = Object.fromEntries(await Promise.all(paths.map(async (path) => [path, await describe(volume, path)] as const)));
    await volume.close();
    return tree;
  },

  /** The chunks of a stream as their lengths, and all they hold as Latin-1. */
  async stream(way: Way, url: string, path: string, options?: { start?: number; end?: number }): Promise<{ lengths: number[]; text: string }> {
    const volume = await Ext4.open(await targetOf(way, url));
    const lengths: number[] = [];
    let text = "";
    const reader = volume.createReadStream(path, options).getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      lengths.push(chunk.value.length);
      for (const byte of chunk.value) text += String.fromCharCode(byte);
    }
    return { lengths, text };
  },

  /** Whether a file's descriptor is free again after a stream was read to the end, was cancelled, or failed. */
  async streamsClose(url: string): Promise<number[]> {
    const volume = await Ext4.open(await targetOf("bytes", url));
    const next = async (): Promise<number> => {
      const handle = await volume.promises.open("/small");
      const { fd } = handle;
      await handle.close();
      return fd;
    };
    const numbers = [await next()];
    await new Response(volume.createReadStream("/medium")).arrayBuffer();
    numbers.push(await next());
    const reader = volume.createReadStream("/medium").getReader();
    await reader.read();
    await reader.cancel();
    numbers.push(await next());
    await volume.createReadStream("/dir").getReader().read().catch(() => undefined);
    numbers.push(await next());
    return numbers;
  },

  /** What a call's error says; undefined: there was none. */
  async error(way: Way, url: string, call: "readFile" | "readFileSync" | "stream" | "open" | "badStream"): Promise<Record<string, unknown> | undefined> {
    try {
      const volume = await Ext4.open(await targetOf(way, url));
      if (call === "readFile") await volume.promises.readFile("/absent");
      if (call === "readFileSync") volume.readFileSync("/medium");
      if (call === "stream") await volume.createReadStream("/absent").getReader().read();
      if (call === "badStream") volume.createReadStream("/small", { start: 5, end: 2 });
      return undefined;
    } catch (error) {
      const { name, code, errno, syscall, path, kind } = error as Record<string, unknown>;
      return { name, code, errno, syscall, path, kind };
    }
  },

  /** Changes an image in memory, and reads it back. */
  async write(url: string): Promise<{ text: string; names: string[] }> {
    const bytes = await targetOf("bytes", url);
    const volume = await Ext4.open(bytes, { readOnly: false });
    await volume.promises.mkdir("/made/here", { recursive: true });
    await volume.promises.writeFile("/made/here/file", "written in a browser");
    await volume.close();
    const again = await Ext4.open(bytes);
    return { text: await again.promises.readFile("/made/here/file", "utf8"), names: await again.promises.readdir("/made", { recursive: true }) };
  },

  /** Maps a file of an image in persistent memory, which any bytes may be: whether the views are of those bytes, what was read by them, and what is read after a store and a new mount. */
  async map(url: string, path: string): Promise<{ isSame: boolean; before: string; after: string }> {
    const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    const volume = await Ext4.open(new PmemDevice(bytes), { readOnly: false, dax: "always" });
    const mapping = await volume.promises.map(path, 0, Infinity, { writable: true });
    const [run] = mapping.runs;
    const before = new TextDecoder().decode(run!.bytes);
    run!.bytes!.set(new TextEncoder().encode("stored in place"));
    await mapping.msync();
    await mapping.close();
    await volume.close();
    const again = await Ext4.open(bytes, { dax: "always" });
    const after = await again.promises.readFile(path, "utf8");
    await again.close();
    return { isSame: run!.bytes!.buffer === bytes.buffer, before, after };
  },
};

Object.assign(globalThis, { actions, isReady: true });

/** An image on a web server: read by ranges, few of them; and every way in which a server can be wrong is an error that says so. */
import { createHash } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { readBytes } from "../../src/block/device.js";
import { HttpDevice } from "../../src/platform/http-device.js";
import { Ext4 } from "../../src/platform/node/index.js";
import { runAsync, runSync, Scheduler } from "../../src/sched/scheduler.js";
import { fixtureImage, fixtureTree } from "../support/fixtures.js";
import { serveImage, type ImageServer, type Served } from "../support/image-server.js";

const PIECE_BYTES = 256 * 1024;
const SIZE_BYTES = 20 * 2 ** 20 + 777;
const IMAGE = Uint8Array.from({ length: SIZE_BYTES }, (_, index) => (index * 7) ^ (index >> 11));

const servers: ImageServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function serve(served: Partial<Served> = {}): Promise<{ served: Served; server: ImageServer }> {
  const whole: Served = { bytes: IMAGE, etag: '"one"', ...served };
  const server = await serveImage(whole);
  servers.push(server);
  return { served: whole, server };
}

async function read(device: HttpDevice, offsetBytes: number, length: number): Promise<Buffer> {
  const bytes = new Uint8Array(length);
  await runAsync(readBytes(device, offsetBytes, bytes));
  return Buffer.from(bytes);
}

const part = (from: number, length: number): Buffer => Buffer.from(IMAGE.subarray(from, from + length));

describe("a server that answers ranges", () => {
  test("size and name, and bytes from anywhere", async () => {
    const { server } = await serve();
    const device = await HttpDevice.open(server.url);
    expect([device.sizeBytes, device.name, device.readOnly]).toEqual([SIZE_BYTES, server.url, true]);
    for (const [from, length] of [[0, 1], [0, 1024], [PIECE_BYTES - 3, 7], [SIZE_BYTES - 5, 5], [1_000_000, 700_000], [5, 0], [100, SIZE_BYTES - 100]] as const) {
      expect((await read(device, from, length)).equals(part(from, length)), `${length} at ${from}`).toBe(true);
    }
    await expect(read(device, SIZE_BYTES - 1, 2)).rejects.toMatchObject({ code: "EIO" });
  });

  test("neighbouring reads are one request, and what came stays for a while", async () => {
    const { server } = await serve();
    const device = await HttpDevice.open(server.url);
    for (let at = 0; at < PIECE_BYTES; at += 4096) await read(device, at, 4096);
    expect(server.requests).toEqual(["0-0", `0-${PIECE_BYTES - 1}`]);
    await read(device, SIZE_BYTES - 10, 10);
    expect(server.requests.at(-1)).toBe(`${PIECE_BYTES * 80}-${SIZE_BYTES - 1}`);
    // Many pieces later the first has gone.
    for (let index = 1; index <= 64; index++) await read(device, index * PIECE_BYTES, 1);
    const before = server.requests.length;
    await read(device, 64 * PIECE_BYTES, 1);
    expect(server.requests).toHaveLength(before);
    await read(device, 0, 1);
    expect(server.requests).toHaveLength(before + 1);
  });

  test("reads of one piece at the same time share a request", async () => {
    const { server } = await serve();
    const device = await HttpDevice.open(server.url);
    const scheduler = new Scheduler();
    await Promise.all(Array.from({ length: 20 }, (_, index) => scheduler.runAsync(readBytes(device, index * 100, new Uint8Array(50)))));
    expect(server.requests).toHaveLength(2);
  });

  test("a read of many megabytes is one request of its own", async () => {
    const { server } = await serve();
    const device = await HttpDevice.open(server.url);
    expect((await read(device, 100, 15_000_000)).equals(part(100, 15_000_000))).toBe(true);
    expect(server.requests).toEqual(["0-0", "100-15000099"]);
  });

  test("the bytes are asked for as they are, not compressed", async () => {
    const headers: (string | undefined)[] = [];
    const { server } = await serve({ instead: (response) => { headers.push(response.req.headers["accept-encoding"] as string | undefined); return false; } });
    await read(await HttpDevice.open(server.url), 0, 10);
    expect(new Set(headers)).toEqual(new Set(["identity"]));
  });

  test("only promises read it", async () => {
    const { server } = await serve();
    const device = await HttpDevice.open(server.url);
    expect(() => runSync(readBytes(device, 0, new Uint8Array(1)))).toThrow(expect.objectContaining({ code: "EOPNOTSUPP", message: expect.stringContaining("only promise-based calls") }));
    await expect(runAsync(device.submit([{ op: "write", offsetBytes: 0, data: new Uint8Array(512) }]))).rejects.toMatchObject({ code: "EROFS" });
  });

  test("a volume: every path and content, in a few requests", async () => {
    const { server } = await serve({ bytes: fixtureImage("checksums") });
    const volume = await Ext4.open(server.url);
    const tree = fixtureTree("checksums");
    const paths = await volume.promises.readdir("/", { recursive: true });
    expect(paths.map((path) => `/${path}`).sort()).toEqual([...tree.keys()].filter((path) => path !== "/").sort());
    await Promise.all([...tree].filter(([path, { sha256 }]) => sha256 !== undefined && path !== "/sparse").map(async ([path, { sha256 }]) => {
      expect(createHash("sha256").update(await volume.promises.readFile(path)).digest("hex"), path).toBe(sha256);
    }));
    expect(server.requests.length).toBeLessThan(20);
    await volume.close();
  });
});

describe("a server that does not", () => {
  test("gives the whole image for a range: it is refused, and not downloaded", async () => {
    const { server } = await serve({ hasRanges: false });
    await expect(HttpDevice.open(server.url)).rejects.toMatchObject({ code: "EOPNOTSUPP", syscall: "open", path: server.url, message: expect.stringContaining("does not answer range requests (status 200, Content-Range absent)") });
  });

  test.each([404, 403, 500])("answers with status %d", async (status) => {
    const { server } = await serve({ instead: (response) => { response.writeHead(status).end("no"); return true; } });
    await expect(HttpDevice.open(server.url)).rejects.toMatchObject({ code: "EOPNOTSUPP", message: expect.stringContaining(`status ${status}`) });
  });

  test("says no size", async () => {
    const { server } = await serve({ instead: (response) => { response.writeHead(206, { "content-range": "bytes 0-0/*" }).end("x"); return true; } });
    await expect(HttpDevice.open(server.url)).rejects.toMatchObject({ code: "EOPNOTSUPP" });
  });

  test("is not there", async () => {
    const { server } = await serve();
    await server.close();
    await expect(HttpDevice.open(server.url)).rejects.toMatchObject({ code: "EIO", message: expect.stringContaining(`${server.url} cannot be reached`) });
  });
});

describe("an image or a server that changes while it is open", () => {
  test.each<[string, Partial<Served>, Partial<Served>]>([
    ["another ETag", {}, { etag: '"two"' }],
    ["no ETag any more", {}, { etag: undefined }],
    ["another time of change", { etag: undefined, lastModified: "Tue, 01 Jan 2030 00:00:00 GMT" }, { lastModified: "Wed, 02 Jan 2030 00:00:00 GMT" }],
    ["another size, where there is no other mark", { etag: undefined }, { bytes: IMAGE.subarray(0, SIZE_BYTES - 1000) }],
  ])("%s is an I/O error", async (_name, before, after) => {
    const { served, server } = await serve(before);
    const device = await HttpDevice.open(server.url);
    await read(device, 0, 10);
    Object.assign(served, after);
    expect((await read(device, 20, 10)).equals(part(20, 10))).toBe(true); // what is here is still what it was
    await expect(read(device, 5_000_000, 10)).rejects.toMatchObject({ code: "EIO", message: expect.stringContaining("changed on the server") });
  });

  test("what failed is asked for again", async () => {
    const { served, server } = await serve();
    const device = await HttpDevice.open(server.url);
    served.instead = (response) => { response.writeHead(503, { etag: '"one"' }).end(); return true; };
    await expect(read(device, 0, 10)).rejects.toMatchObject({ code: "EIO", message: expect.stringContaining("status 503") });
    delete served.instead;
    expect((await read(device, 0, 10)).equals(part(0, 10))).toBe(true);
  });

  test.each<[string, NonNullable<Served["instead"]>]>([
    ["too few bytes", (response, start, end) => { response.writeHead(206, { "content-range": `bytes ${start}-${end - 1}/${SIZE_BYTES}` }).end(IMAGE.subarray(start, end - 5)); return true; }],
    ["too many bytes", (response, start, end) => { response.writeHead(206, { "content-range": `bytes ${start}-${end - 1}/${SIZE_BYTES}` }).end(IMAGE.subarray(start, end + 5)); return true; }],
    ["another range", (response, start, end) => { response.writeHead(206, { "content-range": `bytes ${start + 1}-${end}/${SIZE_BYTES}` }).end(IMAGE.subarray(start + 1, end + 1)); return true; }],
    ["no range", (response, start, end) => { response.writeHead(206).end(IMAGE.subarray(start, end)); return true; }],
    ["the whole image", (response) => { response.writeHead(200).end(IMAGE); return true; }],
    ["a connection that breaks off", (response, start, end) => {
      response.writeHead(206, { "content-range": `bytes ${start}-${end - 1}/${SIZE_BYTES}`, "content-length": end - start });
      response.write(IMAGE.subarray(start, start + 1000), () => response.destroy());
      return true;
    }],
    ["no answer", (response) => { response.destroy(); return true; }],
  ])("%s is an I/O error", async (_name, instead) => {
    const { served, server } = await serve();
    const device = await HttpDevice.open(server.url);
    served.instead = instead;
    await expect(read(device, 1000, 10)).rejects.toMatchObject({ name: "FsError", code: "EIO", message: expect.stringContaining(server.url) });
    await expect(read(device, 0, 18_000_000)).rejects.toMatchObject({ name: "FsError", code: "EIO" });
  });
});

/** A web server on this machine that gives out images, as well or as badly as a test wants it. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Served {
  bytes: Uint8Array;
  etag?: string | undefined;
  lastModified?: string | undefined;
  /** False: every answer is the whole image, as of a server that does not know ranges. */
  hasRanges?: boolean;
  /** Gives another answer to a range request; returns whether it did. */
  instead?: (response: ServerResponse, start: number, end: number) => boolean;
}

export interface ImageServer {
  readonly url: string;
  /** What was asked for, in order: the ranges, "whole" where there was none. */
  readonly requests: string[];
  close(): Promise<void>;
}

function answer(served: Served, request: IncomingMessage, response: ServerResponse, requests: string[]): void {
  const { bytes } = served;
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  requests.push(range === null ? "whole" : `${range[1]}-${range[2]}`);
  // A page of another origin may read images, and see what it must of the answer.
  response.setHeader("access-control-allow-origin", "*");
  response.setHeader("access-control-allow-headers", "range");
  response.setHeader("access-control-expose-headers", "content-range, etag, last-modified");
  if (served.etag !== undefined) response.setHeader("etag", served.etag);
  if (served.lastModified !== undefined) response.setHeader("last-modified", served.lastModified);
  if (range === null || served.hasRanges === false) {
    response.writeHead(200, { "content-length": bytes.length }).end(bytes);
    return;
  }
  const start = Number(range[1]);
  const end = Math.min(Number(range[2]) + 1, bytes.length);
  if (served.instead?.(response, start, end) === true) return;
  if (start >= bytes.length) {
    response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
    return;
  }
  response.writeHead(206, { "content-range": `bytes ${start}-${end - 1}/${bytes.length}`, "content-length": end - start }).end(bytes.subarray(start, end));
}

/** `served` may be changed between requests. */
export async function serveImage(served: Served): Promise<ImageServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => answer(served, request, response, requests));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/disk.img`, requests,
    close: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };
}

/** The lab's HTML report in a real browser: it is complete in itself, points from bars to rows and back, and shows whatever stands in a story as text. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium, type Browser, type Locator, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { storyHtml } from "../../src/sim/report/html.js";
import type { Story, StoryEvent } from "../../src/sim/report/story.js";
import { notTestedHere, temporaryFolder } from "../support/host.js";

const executablePath = spawnSync("sh", ["-c", "command -v chromium || command -v chromium-browser || command -v google-chrome"], { encoding: "utf8" }).stdout.trim();
if (executablePath === "") notTestedHere("the lab's report in a browser", "needs chromium");

const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

type Told = readonly [step: number, task: number, kind: StoryEvent["kind"], text: string, more?: Partial<StoryEvent>];
const at = (call: string, functionName: string, more: Partial<StoryEvent> = {}): Partial<StoryEvent> => ({ call, function: functionName, ...more });

/** The unsafe switch against a fault, a commit on the way, and then the power fails. */
const TOLD: readonly Told[] = [
  [1, 0, "call", "ioctl(3, FS_IOC_SETFLAGS, EXT4_JOURNAL_DATA_FL)", at("ioctl", "setflags")],
  [1, 0, "acquire", "sb_writers (read)", at("ioctl", "startWrite", { lock: "sb_writers" })],
  [1, 0, "acquire", "i_rwsem of inode 12 (write)", at("ioctl", "setFlags", { lock: "i_rwsem of inode 12" })],
  [2, 1, "call", "store(0x7f0000000000, 0x42)", at("store", "store")],
  [2, 1, "acquire", "mmap_lock (read)", at("store", "faultFor", { lock: "mmap_lock" })],
  [2, 1, "event", "handle_mm_fault:enter address=0x7f0000000000 flags=0x55", at("store", "handleMmFault")],
  [3, 1, "acquire", "sb_pagefaults (read)", at("store", "daxHugeFault", { lock: "sb_pagefaults" })],
  [4, 0, "acquire", "invalidate_lock of inode 12 (write)", at("ioctl", "switchJournalMode", { lock: "invalidate_lock of inode 12" })],
  [4, 0, "io", "write 4096 at 12288", at("ioctl", "writeBack")],
  [5, 1, "wait", "invalidate_lock of inode 12 (read)", at("store", "daxHugeFault", { lock: "invalidate_lock of inode 12" })],
  [6, 0, "io", "write 4096 at 16384", at("ioctl", "writeBack")],
  [6, 0, "handle", "EXT4_HT_INODE credits=8", at("ioctl", "setFlags", { tid: 5 })],
  [6, 0, "acquire", "i_data_sem (write)", at("ioctl", "getBlocks", { lock: "i_data_sem" })],
  [7, 0, "release", "i_data_sem (write)", at("ioctl", "getBlocks", { lock: "i_data_sem" })],
  [7, 0, "release", "invalidate_lock of inode 12 (write)", at("ioctl", "switchJournalMode", { lock: "invalidate_lock of inode 12" })],
  [8, 1, "acquire", "invalidate_lock of inode 12 (read)", at("store", "daxHugeFault", { lock: "invalidate_lock of inode 12" })],
  [8, 1, "fault", "ext4_dax_huge_fault address=0x7f0000000000 order=9 code=FALLBACK", at("store", "daxHugeFault")],
  [9, 2, "commit", "the running transaction is locked", at("", "commit", { tid: 5 })],
  [9, 2, "wait", "handles of transaction 5", at("", "commit")],
  [10, 1, "handle", "EXT4_HT_MAP_BLOCKS credits=4", at("store", "daxFault", { tid: 6 })],
  [10, 1, "acquire", "i_data_sem (write)", at("store", "getBlocks", { lock: "i_data_sem" })],
  [10, 1, "release", "i_data_sem (write)", at("store", "getBlocks", { lock: "i_data_sem" })],
  [10, 1, "handle", "the handle ends", at("store", "daxFault", { tid: 6 })],
  [11, 1, "fault", "dax_insert_mapping address=0x7f0000000000 order=0 code=NOPAGE", at("store", "mapEntry")],
  [11, 1, "warning", "mm/filemap.c:262 __delete_from_page_cache", at("store", "insertMappingEntry")],
  [12, 0, "handle", "the handle ends", at("ioctl", "setFlags", { tid: 5 })],
  [12, 0, "release", "i_rwsem of inode 12 (write)", at("ioctl", "setFlags", { lock: "i_rwsem of inode 12" })],
  [12, 0, "release", "sb_writers (read)", at("ioctl", "startWrite", { lock: "sb_writers" })],
  [12, 0, "return", "= 0", at("ioctl", "setflags")],
  [13, 2, "io", "write 8192 at 1056768", at("", "writeRecord")],
  [13, 2, "io", "flush", at("", "flushRecord")],
  [14, 1, "release", "invalidate_lock of inode 12 (read)", at("store", "daxHugeFault", { lock: "invalidate_lock of inode 12" })],
  [14, 1, "release", "sb_pagefaults (read)", at("store", "daxHugeFault", { lock: "sb_pagefaults" })],
  [14, 1, "release", "mmap_lock (read)", at("store", "faultFor", { lock: "mmap_lock" })],
  [14, 1, "return", "= 0", at("store", "store")],
  [15, 2, "io", "write 4096 at 1064960", at("", "writeCommitBlock")],
  [15, 2, "commit", "jbd2_end_commit", at("", "commit", { tid: 5 })],
  [16, 1, "call", "fsync(3)", at("fsync", "fsync")],
  [16, 1, "acquire", "i_rwsem of inode 12 (read)", at("fsync", "fsync", { lock: "i_rwsem of inode 12" })],
  [17, 2, "commit", "the running transaction is locked", at("", "commit", { tid: 6 })],
  [17, 2, "io", "write 4096 at 1069056", at("", "writeRecord")],
  [18, -1, "power", "the power fails; of 3 writes in the cache, 1 is kept: write 4096 at 1069056"],
  [19, -1, "event", "recovery: transactions 1 to 5 are replayed"],
  [20, -1, "event", "/file is read: 4096 bytes"],
];

const eventsOf = (told: readonly Told[]): StoryEvent[] => told.map(([step, task, kind, text, more]) => ({ step, task, kind, text, ...more }));

const STORY: Story = {
  scenario: "history/journal-switch",
  description: "The journaling mode of a mapped DAX file is switched while another task stores into it; the power may fail.",
  strategy: "linux-4.13",
  replay: "history/journal-switch:linux-4.13:0.1.1.0.2.1.0.0.1.3", replayOptions: [],
  tasks: ["switcher", "faulter", "jbd2"],
  events: eventsOf(TOLD),
  failure: { kind: "lost write", message: "byte 0 of /file is 0x41 after recovery, and the store of 0x42 had been answered by fsync(3)", step: 20 },
  warnings: ["EIO: WARNING: at mm/filemap.c:262 __delete_from_page_cache\nCall Trace:\n dax_insert_mapping_entry\n dax_insert_mapping\n dax_iomap_pte_fault\n dax_iomap_fault\n ext4_dax_huge_fault\n do_shared_fault\n handle_mm_fault\n page_fault"],
  stacks: [
    { task: "switcher", state: "ended", stack: [] },
    { task: "faulter", state: "waits for the commit of transaction 6", stack: ["waitForCommit", "fsync", "Process.fsync"] },
    { task: "jbd2", state: "waits for write 4096 at 1069056", stack: ["writeRecord", "commit"] },
  ],
};

test("the same story gives the same bytes", () => {
  expect(storyHtml(structuredClone(STORY))).toBe(storyHtml(STORY));
});

describe.runIf(executablePath !== "")("in Chromium", () => {
  let browser: Browser;
  const folder = temporaryFolder();
  let fileCount = 0;

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ARGUMENTS, timeout: 120_000 });
  });

  afterAll(async () => {
    await browser?.close();
  });

  /** What the page did that it should not: messages, errors, requests for anything but itself. */
  interface Opened { readonly page: Page; readonly complaints: string[] }

  async function open(story: Story, { width = 1300, height = 900, colorScheme = "light" as "light" | "dark" } = {}): Promise<Opened> {
    const path = join(folder, `story-${++fileCount}.html`);
    writeFileSync(path, storyHtml(story));
    const context = await browser.newContext({ viewport: { width, height }, colorScheme });
    const page = await context.newPage();
    const complaints: string[] = [];
    const address = pathToFileURL(path).href;
    page.on("console", (message) => complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => { if (request.url() !== address && !request.url().startsWith("data:")) complaints.push(request.url()); });
    await page.goto(address);
    return { page, complaints };
  }

  const background = async (page: Page): Promise<string> => await page.evaluate("getComputedStyle(document.body).backgroundColor");
  const barOf = (page: Page, words: string): Locator => page.locator("#bars [data-events]").filter({ hasText: words }).first();
  const row = (page: Page, event: number): Locator => page.locator(`tr[data-event="${event}"]`);
  const eventNamed = (text: string): number => TOLD.findIndex((told) => told[3] === text);

  test.each(["light", "dark"] as const)("it is complete in itself, %s", async (colorScheme) => {
    const { page, complaints } = await open(STORY, { colorScheme });
    expect(await page.locator("h1").textContent()).toBe(STORY.scenario);
    expect(await page.locator(".failure").textContent()).toBe(`lost write at step 20 of 20${STORY.failure.message}`);
    expect(await page.locator("tr[data-event]").count()).toBe(TOLD.length);
    expect(await page.locator('[data-lane="task"]').count()).toBe(3);
    expect(await page.locator('[data-lane="transaction"]').count()).toBe(2);
    expect(await page.locator("pre").allTextContents()).toEqual([expect.stringMatching(/^------------\[ cut here \]------------\nWARNING: at mm\/filemap\.c:262/), ...STORY.stacks.map(({ task }) => expect.stringContaining(`task:${task}`) as string)]);
    const [red, green, blue] = (await background(page)).match(/\d+/g)!.map(Number);
    expect(red! + green! + blue! > 400).toBe(colorScheme === "light");
    expect(complaints).toEqual([]);
  });

  test("a bar lights its rows, and a row its bars", async () => {
    const { page } = await open(STORY);
    const wait = barOf(page, "waits for invalidate_lock of inode 12 (read), held by switcher");
    await wait.hover();
    expect(await page.locator("tr.on").evaluateAll((rows) => rows.map((lit) => Number(lit.getAttribute("data-event"))))).toEqual([9, 15]);
    expect(await page.locator("#detail").textContent()).toBe("faulter: waits for invalidate_lock of inode 12 (read), held by switcher, from step 5 to step 8");
    await row(page, eventNamed("jbd2_end_commit")).hover();
    expect(await page.locator("#bars .on title").allTextContents()).toEqual(["jbd2: jbd2_end_commit (transaction 5), step 15", "transaction 5 commits, from step 9 to step 15"]);
    expect(await wait.getAttribute("class")).toBe("bar");
    await page.locator("h1").hover();
    expect(await page.locator(".on").count()).toBe(0);
  });

  test("the keyboard goes from event to event", async () => {
    const { page } = await open(STORY);
    await row(page, 0).focus();
    await page.keyboard.press("ArrowDown");
    expect(await page.locator("tr.on").getAttribute("data-event")).toBe("1");
    await page.locator("#bars [tabindex='0']").focus();
    await page.keyboard.press("ArrowRight");
    expect(await page.locator("#bars .on").getAttribute("data-events")).toBe("1 27");
  });

  test("a click on a bar brings its row into view, and one on a row the bar", async () => {
    const { page } = await open({ ...STORY, events: Array.from({ length: 10 }, () => STORY.events).flat() });
    await row(page, 430).click();
    expect(await page.locator(".scroll").evaluate((scroll) => scroll.scrollLeft)).toBeGreaterThan(4000);
    await page.locator('#bars [data-events="432"]').click();
    await expect.poll(async () => (await row(page, 432).boundingBox())!.y).toBeGreaterThan(0);
    await page.locator("h1").hover();
    expect(await page.locator("tr.on").getAttribute("data-event")).toBe("432");
  });

  test("what is not wanted is hidden", async () => {
    const { page } = await open(STORY);
    const lockRow = row(page, eventNamed("mmap_lock (read)"));
    const lockBar = barOf(page, "holds mmap_lock (read)");
    const faultRow = row(page, eventNamed("ext4_dax_huge_fault address=0x7f0000000000 order=9 code=FALLBACK"));
    expect(await lockRow.isVisible()).toBe(true);
    await page.getByLabel("locks held").uncheck();
    expect([await lockRow.isVisible(), await lockBar.isVisible(), await faultRow.isVisible()]).toEqual([false, false, true]);
    await page.getByLabel("locks held").check();
    expect([await lockRow.isVisible(), await lockBar.isVisible()]).toEqual([true, true]);
    for (const box of await page.locator("[data-filter]").all()) await box.uncheck();
    expect(await page.locator("tr[data-event]:visible").count()).toBe(0);
    expect(await page.locator("tr.failed").isVisible()).toBe(true);
  });

  test("names and texts are only that", async () => {
    const evil = `<img src=x onerror="globalThis.isHacked=1">'"></title></style></script><script>globalThis.isHacked=1</script>\u202e\u0000`;
    const { page, complaints } = await open({
      scenario: evil, description: evil, strategy: evil, replay: evil, replayOptions: [evil], tasks: [evil, evil], failure: { kind: evil, message: `${evil}\n${evil}`, step: 1 }, warnings: [evil], stacks: [{ task: evil, state: evil, stack: [evil] }],
      events: (["call", "acquire", "wait", "release", "fault", "handle", "commit", "io", "warning", "event", "power", "return", "end"] as const).flatMap((kind, index) =>
        [0, 1].map((task) => ({ step: index, task, kind, text: evil, call: evil, function: evil, lock: evil, tid: task }))),
    });
    for (const place of await page.locator("tr[data-event], #bars [data-events]").all()) await place.dispatchEvent("mouseover");
    expect(await page.evaluate(() => "isHacked" in globalThis)).toBe(false);
    expect(await page.locator("img, script:not([nonce])").count()).toBe(0);
    const shown = evil.replace("\u202e\u0000", "\\u{202e}\\x00");
    expect(await page.locator("h1").textContent()).toBe(shown);
    expect(await row(page, 0).locator(".what").textContent()).toBe(shown);
    expect(complaints).toEqual([]);
  });

  test("a fault from outside, the request that fails, a second cut, and what is left out", async () => {
    const extra: readonly Told[] = [
      [17, 2, "io", "fails with EIO: write 4096 at 1069056", at("", "writeRecord", { error: "EIO" })],
      [17, -1, "gap", "1234 events are left out here, up to step 17", { count: 1234 }],
      [18, -1, "io", "recovery: write 4096 at 12288", at("", "recoverOntoDevice")],
      [18, -1, "power", "the power fails again, at a flush of the recovery: write 4096 at 12288 is lost"],
    ];
    const { page, complaints } = await open({ ...STORY, fault: "request 7 fails with EIO", events: [...STORY.events, ...eventsOf(extra)] });
    const place = TOLD.length;
    expect(await page.locator(".cause").textContent()).toBe("fault request 7 fails with EIO");
    expect(await page.locator(".size").textContent()).toBe(`3 tasks, 20 steps, ${place + 3 + 1234} events, of which ${place + 3} are told`);
    expect(await row(page, place).getAttribute("class")).toContain("error");
    expect(await page.locator(`#bars [data-events="${place}"] title`).textContent()).toBe("jbd2: fails with EIO: write 4096 at 1069056, step 17");
    expect(await row(page, place + 1).locator(".what").textContent()).toBe("1234 events are left out here, up to step 17");
    for (const box of await page.locator("[data-filter]").all()) await box.uncheck();
    expect(await page.locator("tr[data-event]:visible").count()).toBe(1); // the gap
    expect(await page.locator('#bars [data-kind="power"]').count()).toBe(2);
    expect(complaints).toEqual([]);
  });

  test("on a telephone only the timeline scrolls sideways", async () => {
    const { page } = await open({ ...STORY, tasks: ["a task with a very long name indeed", ...STORY.tasks.slice(1)], replay: "1.".repeat(300) }, { width: 400, height: 800 });
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(400);
    expect(await page.locator(".scroll").evaluate((scroll) => scroll.scrollWidth > scroll.clientWidth)).toBe(true);
    for (const element of await page.locator("h1, .failure, .replay, .filters label, .scroll, table, pre").all()) {
      const { x, width } = (await element.boundingBox())!;
      expect(x + width).toBeLessThanOrEqual(400);
    }
  });

  test("the line that replays it is copied", async () => {
    const { page } = await open(STORY);
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.locator("#copy").click();
    await expect.poll(async () => await page.locator("#copy").textContent()).toBe("Copied");
    expect(await page.evaluate("navigator.clipboard.readText()")).toBe(`ext4 lab replay '${STORY.replay}'`);
  });

  test("on paper the timeline is whole", async () => {
    const { page } = await open({ ...STORY, events: Array.from({ length: 5 }, () => STORY.events).flat() }, { width: 1050 });
    await page.emulateMedia({ media: "print" });
    expect([await page.locator(".sticky").isVisible(), await page.locator(".filters").isVisible(), await page.locator(".strips > svg").count()]).toEqual([false, false, 3]);
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(1050);
  });

  test("a story of nothing", async () => {
    const { page, complaints } = await open({ ...STORY, tasks: [], events: [], stacks: [], warnings: [], failure: { kind: "fsck", message: "", step: 0 } });
    expect(await page.locator("tr.failed .what").textContent()).toBe("failure: fsck: ");
    expect(complaints).toEqual([]);
  });
});

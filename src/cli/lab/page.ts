/** The page that --html asks for. Whether it can be written is known before the search begins, and it is there whole or not at all. */
import { accessSync, constants, existsSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { storyHtml } from "../../sim/report/html.js";
import type { Story } from "../../sim/report/story.js";
import { UsageError } from "../operand.js";
import type { Output } from "../output.js";
import { EXIT_FAULT } from "./endings.js";

export interface Page {
  /** As the user has it. */
  readonly path: string;
  /** Absolute, as a scenario may go to another folder; what a link leads to. */
  readonly file: string;
}

/** @throws UsageError it cannot be written. */
export function pageAt(path: string | undefined): Page | undefined {
  if (path === undefined) return undefined;
  try {
    const file = existsSync(path) ? realpathSync(path) : resolve(path);
    const folder = dirname(file);
    if (!statSync(folder).isDirectory()) throw new Error(`${folder} is no folder`);
    if (existsSync(file)) {
      if (statSync(file).isDirectory()) throw new Error("it is a folder");
      accessSync(file, constants.W_OK);
    }
    if (isReplaced(file)) accessSync(folder, constants.W_OK | constants.X_OK);
    return { path, file };
  } catch (error) {
    throw new UsageError(`--html ${path}: ${(error as Error).message}`);
  }
}

/** Called when everything else has been said: a page that cannot be written takes nothing with it. */
export function writePage(page: Page | undefined, story: Story | undefined, out: Output): void {
  if (page === undefined) return;
  if (story === undefined) {
    if (!out.isJson) out.line(`no page is written to ${page.path}, as there is no story`);
    return;
  }
  out.flush();
  try {
    writeWhole(page.file, storyHtml(story));
  } catch (error) {
    out.note(`the page could not be written to ${page.path}: ${(error as Error).message}`);
    process.exitCode = EXIT_FAULT;
  }
}

function writeWhole(file: string, text: string): void {
  if (!isReplaced(file)) return writeFileSync(file, text);
  const aside = join(dirname(file), `.ext4-lab-${process.pid}.html`);
  try {
    writeFileSync(aside, text);
    renameSync(aside, file);
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  }
}

/** A pipe or a device is written to. */
const isReplaced = (file: string): boolean => !existsSync(file) || statSync(file).isFile();

/** Runs in every file of tests: what they mounted and made is undone after them. */
import { afterAll } from "vitest";
import { cleanUp } from "./host.js";

afterAll(cleanUp);

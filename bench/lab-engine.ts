/** What bench/lab.ts uses of the engine, to be built in one piece. */
export { footprint } from "../src/sched/footprint.js";
export { racePoint } from "../src/sched/scheduler.js";
export { scenarioNamed } from "../src/sim/catalogue.js";
export { CRASH_BUDGET } from "../src/sim/crash/cutter.js";
export { ExploringDriver } from "../src/sim/driver.js";
export { Prng } from "../src/lib/prng.js";
export { searchBySampling } from "../src/sim/search/sampling.js";

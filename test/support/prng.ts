export { Prng } from "../../src/lib/prng.js";

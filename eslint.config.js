import tseslint from "typescript-eslint";

const core = ["src/lib", "src/format", "src/sched", "src/block", "src/nvdimm", "src/jbd2", "src/vfs", "src/ext4", "src/mkfs", "src/api", "src/sim"];
const bannedGlobals = ["setTimeout", "setInterval", "setImmediate", "performance", "process", "Buffer", "console", "fetch"];

export default tseslint.config(
  { ignores: ["dist/", "node_modules/", "coverage/"] },
  ...tseslint.configs.recommended,
  {
    rules: {
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "@typescript-eslint/consistent-type-imports": "error",
      "require-yield": "off", // a task that happens not to wait is still a task
      eqeqeq: "error",
      "no-restricted-syntax": ["error", {
        selector: ":function[generator=true][async=false] YieldExpression[delegate=false]",
        message: "Only sched/ and block/ yield. Did you mean yield* ?",
      }],
    },
  },
  {
    // What makes a run repeatable: clock, randomness and devices are parameters below platform/ (DESIGN.md, three drivers).
    files: core.map((room) => `${room}/**/*.ts`),
    rules: {
      "no-restricted-globals": ["error", ...bannedGlobals.map((name) => ({ name, message: "The core gets clock, devices and output as parameters." }))],
      "no-restricted-properties": ["error",
        { object: "Math", property: "random", message: "Take a prng as a parameter." },
        { object: "Date", property: "now", message: "Take a clock as a parameter." }],
    },
  },
  { files: ["src/lib/bitmap.ts", "src/sched/**/*.ts", "src/block/**/*.ts", "src/platform/**/*.ts", "test/**/*.ts"], rules: { "no-restricted-syntax": "off" } },
);

/** Words with one dash that are no short options, put as commander reads them: find's conditions, and what chmod and chattr take away. */

interface Rule { readonly word: RegExp; rewrite(word: string): string }

const RULES: Readonly<Record<string, Rule>> = {
  find: { word: /^-[a-z]{2,}\d?$/, rewrite: (word) => `-${word}` },
  chmod: { word: /^-[rwxXstugo]+(?:[,+=-].*)?$/, rewrite: (word) => `--mode=${word}` },
  chattr: { word: /^-[aAcCdDeEFijmNPsStTuVx]+$/, rewrite: (word) => `--remove=${word.slice(1)}` },
};

/** @param argv as process.argv: the verb is the first word that is no option. */
export function withDashes(argv: readonly string[]): string[] {
  const verbAt = argv.findIndex((word, index) => index >= 2 && !word.startsWith("-"));
  const rule = RULES[argv[verbAt] ?? ""];
  if (rule === undefined) return [...argv];
  return argv.map((word, index) => (index > verbAt && rule.word.test(word) ? rule.rewrite(word) : word));
}

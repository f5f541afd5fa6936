/**
 * A call trace as Linux prints it, from where the engine stands: a task's generators are on the stack from the access that faulted down to the place of the warning. Functions that have another name
 * here, or that are several functions of Linux's, are named as Linux (4.13 to 4.15, where the reports come from) named them.
 */
const KERNEL_NAMES: Readonly<Record<string, readonly string[]>> = {
  insertMappingEntry: ["dax_insert_mapping_entry"],
  mapEntry: ["dax_insert_mapping"],
  pageFault: ["dax_iomap_pte_fault"],
  daxFault: ["dax_iomap_fault"],
  daxHugeFault: ["ext4_dax_huge_fault", "ext4_dax_fault"],
  sharedFault: ["do_shared_fault"],
  readFault: ["do_read_fault"],
  cowFault: ["do_cow_fault"],
  missingPage: ["do_fault"],
  writeProtectedShared: ["wp_pfn_shared"],
  presentPage: ["do_wp_page"],
  descend: ["handle_pte_fault", "__handle_mm_fault"],
  handleMmFault: ["handle_mm_fault"],
  faultFor: ["__do_page_fault", "do_page_fault", "page_fault"],
};

/** Names of ours that end in a digit. */
const NUMBERED = /(?:Ext4|Md4|Tag3|renameat2|\d\d)$/;

/** A function's name without the digit that a bundler puts behind it where two files have the same. */
export function unbundled(name: string): string {
  return NUMBERED.test(name) ? name : name.replace(/(?<=[a-z])[2-9]$/, "");
}

/** Innermost first, without those that are nothing to Linux. */
export function kernelTrace(stack: string): string[] {
  const names: string[] = [];
  for (const line of stack.split("\n")) {
    // "at pageFault.next (<anonymous>)" is the resumption of the generator whose own line stands above.
    const name = /^\s+at (?:Object\.|\w+\.)?\*?(\w+) \((?!<anonymous>)/.exec(line)?.[1];
    for (const kernelName of (name === undefined ? undefined : KERNEL_NAMES[unbundled(name)]) ?? []) if (names.at(-1) !== kernelName) names.push(kernelName);
  }
  return names;
}

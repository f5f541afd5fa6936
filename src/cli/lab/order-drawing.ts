/**
 * The order of locks as a drawing: classes from the outermost down, by rank; for each that was seen to be taken under another an arc to its right. Arcs that follow from others are pale. What hovers
 * over an arc tells the reasons.
 */
import { declaredPath, lockRanks, type LockClass } from "../../sched/lock-classes.js";
import type { ObservedEdge } from "../../sched/lockdep.js";

const ROW = 34;
const LEFT = 210;
const TOP = 60;
const BOX = { width: 180, height: 24 };

const escaped = (text: string): string => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

export function reasonsFor({ from, to }: ObservedEdge): string[] {
  return (declaredPath(from, to) ?? []).map(({ outer, inner, why }) => `${outer.name} before ${inner.name}: ${why}`);
}

/** Edges that no chain of others makes superfluous. */
export function directEdges(edges: readonly ObservedEdge[]): Set<ObservedEdge> {
  const successors = new Map<LockClass, LockClass[]>();
  for (const { from, to } of edges) successors.set(from, [...(successors.get(from) ?? []), to]);
  const leads = (from: LockClass, to: LockClass, avoided: LockClass): boolean =>
    (successors.get(from) ?? []).some((next) => (next === to ? from !== avoided : leads(next, to, avoided)));
  return new Set(edges.filter(({ from, to }) => !leads(from, to, from)));
}

export function drawOrder(edges: readonly ObservedEdge[]): string {
  const ranks = lockRanks();
  const seen = new Set(edges.flatMap(({ from, to }) => [from, to]));
  const rows = [...ranks.keys()].filter((lockClass) => seen.has(lockClass));
  const y = (lockClass: LockClass): number => TOP + rows.indexOf(lockClass) * ROW;
  const direct = directEdges(edges);
  const reach = (edge: ObservedEdge): number => 30 + Math.abs(y(edge.to) - y(edge.from)) * 0.75;
  const width = LEFT + Math.max(100, ...edges.map(reach)) + 40;
  const arcs = [...edges].sort((a, b) => Number(direct.has(a)) - Number(direct.has(b))).map((edge) => {
    const [start, end, bend] = [y(edge.from) + 4, y(edge.to) - 4, LEFT + reach(edge)];
    const title = `${edge.to.name} under ${edge.from.name}\n${reasonsFor(edge).join("\n")}`;
    return `<path class="${direct.has(edge) ? "direct" : "implied"}" d="M${LEFT} ${start}C${bend} ${start} ${bend} ${end} ${LEFT} ${end}" marker-end="url(#tip)"><title>${escaped(title)}</title></path>`;
  });
  const boxes = rows.map((lockClass) => {
    const top = y(lockClass) - BOX.height / 2;
    const [left, middle] = [LEFT - BOX.width, LEFT - BOX.width / 2];
    return `<g><rect x="${left}" y="${top}" width="${BOX.width}" height="${BOX.height}" rx="4"/><text x="${middle}" y="${y(lockClass) + 4}">${escaped(lockClass.name)}</text>` +
      `<text class="rank" x="${left - 8}" y="${y(lockClass) + 4}">${ranks.get(lockClass)}</text></g>`;
  });
  const height = TOP + rows.length * ROW;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.ceil(width)}" height="${height}" viewBox="0 0 ${Math.ceil(width)} ${height}" font-family="sans-serif" font-size="13">
<style>
rect { fill: #f4f4f4; stroke: #444 } text { text-anchor: middle; fill: #111 } .rank { text-anchor: end; fill: #888; font-size: 11px }
path { fill: none; stroke-width: 1.5 } path:hover { stroke: #c00; stroke-width: 3 } .direct { stroke: #234 } .implied { stroke: #ccd; stroke-width: .8 }
.title { text-anchor: start }
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" style="fill: context-stroke; stroke: none"/></marker></defs>
<rect width="100%" height="100%" style="fill: #fff; stroke: none"/>
<text class="title" x="${LEFT - BOX.width}" y="24">Locks as they were taken: outer above inner, ${edges.length} pairs, ${direct.size} of them direct</text>
${arcs.join("\n")}
${boxes.join("\n")}
</svg>
`;
}

// Columns of text: widths, what is cut, and colour laid on last so that it never counts as width.
import { printable } from "./words.ts";

export type Cell = { readonly text: string; readonly paint?: (text: string) => string };
export type Row = readonly Cell[];

const GAP = "  ";
const ELLIPSIS = "…";

/** Lines of a table. With `columns`, the last cell of a line is cut where the terminal ends. */
export function tableLines(header: readonly string[], rows: readonly Row[], columns?: number): readonly string[] {
  const shown: Row[] = [
    header.map((text) => ({ text })),
    ...rows.map((row) => row.map((cell) => ({ ...cell, text: printable(cell.text) }))),
  ];
  const widths = header.map((_, index) => Math.max(...shown.map((row) => widthOf(row[index]?.text ?? ""))));
  return shown.map((row) => {
    let left = columns ?? Number.POSITIVE_INFINITY;
    const cells = row.map((cell, index) => {
      const isLast = index === row.length - 1;
      const text = isLast ? cut(cell.text, left) : cell.text;
      left -= (widths[index] ?? 0) + GAP.length;
      const padding = isLast ? "" : " ".repeat((widths[index] ?? 0) - widthOf(text));
      return `${cell.paint?.(text) ?? text}${padding}`;
    });
    return cells.join(GAP).trimEnd();
  });
}

/** Letters, not bytes. Double-width letters are not told apart: a name in them shifts its line. */
const widthOf = (text: string): number => Array.from(text).length;

function cut(text: string, width: number): string {
  if (widthOf(text) <= width || width < 1) return text;
  return `${Array.from(text)
    .slice(0, width - 1)
    .join("")}${ELLIPSIS}`;
}

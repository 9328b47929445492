// Durations, sizes and foreign text as people read them.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

const twoDigits = (value: number): string => String(value).padStart(2, "0");

/** Two units at most: 59s, 3m12s, 2h05m, 4d03h. */
export function durationWords(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < MINUTE) return `${seconds}s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)}m${twoDigits(seconds % MINUTE)}s`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)}h${twoDigits(Math.floor((seconds % HOUR) / MINUTE))}m`;
  return `${Math.floor(seconds / DAY)}d${twoDigits(Math.floor((seconds % DAY) / HOUR))}h`;
}

const SIZES = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** 999 B, 1.2 KiB, 14 MiB: three digits at most. */
export function bytesWords(bytes: number): string {
  let value = bytes;
  let unit = "B";
  for (const larger of SIZES) {
    // What would be rounded to four digits belongs to the next unit.
    if (value < 999.5) break;
    value /= 1024;
    unit = larger;
  }
  const isWhole = unit === "B" || value >= 9.95;
  return `${isWhole ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

export const countWords = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Names and reasons come from elsewhere: what would move the cursor or colour the terminal becomes a question mark. */
export const printable = (text: string | number | boolean): string =>
  String(text).replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, "?");

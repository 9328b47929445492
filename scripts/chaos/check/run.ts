// Other programs' answers. One that fails or hangs is an answer too: undefined.
import { execFile } from "node:child_process";
import { request } from "node:http";

const DEADLINE_MS = 4_000;
const MOST_BYTES = 16 * 1024 * 1024;

export const run = (file: string, ...args: readonly string[]): Promise<string | undefined> =>
  new Promise((resolve) => {
    const options = { timeout: DEADLINE_MS, killSignal: "SIGKILL", maxBuffer: MOST_BYTES } as const;
    execFile(file, args, options, (error, stdout) => resolve(error === null ? stdout : undefined));
  });

export async function runJson(file: string, ...args: readonly string[]): Promise<unknown> {
  const text = await run(file, ...args);
  if (text === undefined) return undefined;
  return text.trim() === "" ? [] : (JSON.parse(text) as unknown);
}

/** GET over a unix socket. */
export const askSocket = (socketPath: string, path: string): Promise<unknown> =>
  new Promise((resolve) => {
    const asked = request({ socketPath, path, timeout: DEADLINE_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", () => resolve(undefined));
      response.on("end", () => {
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString()) as unknown);
        } catch {
          resolve(undefined); // cut off: the program ended
        }
      });
    });
    asked.on("timeout", () => asked.destroy());
    asked.on("error", () => resolve(undefined));
    asked.end();
  });

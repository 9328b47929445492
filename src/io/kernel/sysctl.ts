// Kernel settings below /proc/sys. Those of the network are of the namespace of the thread that opens the file.
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { KernelError } from "../../core/errors.ts";
import type { Sysctl } from "../../core/network.ts";
import { codeOf, inNamespace } from "./netns.ts";

/** The settings that exist; `sysctls` are all of one namespace, so that it is entered once. */
export function readSysctls(namespace: string, sysctls: readonly Sysctl[]): readonly Sysctl[] {
  return inNamespace(namespace, () =>
    sysctls.flatMap((sysctl) => {
      try {
        return [{ ...sysctl, value: readValue(sysctl.name) }];
      } catch (error) {
        if (codeOf(error) === "ENOENT") return [];
        throw error;
      }
    }),
  );
}

// Numbers; and a pass reads dozens for each router, so there is one buffer and no question about the file's size.
const buffer = Buffer.alloc(64);

function readValue(name: string): string {
  const fd = openSync(`/proc/sys/${name}`, "r");
  try {
    return buffer.toString("latin1", 0, readSync(fd, buffer)).trim();
  } finally {
    closeSync(fd);
  }
}

export function writeSysctl({ namespace, name, value }: Sysctl): void {
  inNamespace(namespace, () => {
    try {
      writeFileSync(`/proc/sys/${name}`, value);
    } catch (error) {
      throw new KernelError(`set ${name} to ${value} in ${namespace}`, codeOf(error) ?? "EIO", { cause: error });
    }
  });
}

// Kernel settings below /proc/sys. Those of the network are of the namespace of the thread that opens the file.
import { readFileSync, writeFileSync } from "node:fs";
import { KernelError } from "../../core/errors.ts";
import type { Sysctl } from "../../core/network.ts";
import { codeOf, inNamespace } from "./netns.ts";

/** The settings that exist; `sysctls` are all of one namespace, so that it is entered once. */
export function readSysctls(namespace: string, sysctls: readonly Sysctl[]): readonly Sysctl[] {
  return inNamespace(namespace, () =>
    sysctls.flatMap((sysctl) => {
      try {
        return [{ ...sysctl, value: readFileSync(`/proc/sys/${sysctl.name}`, "latin1").trim() }];
      } catch (error) {
        if (codeOf(error) === "ENOENT") return [];
        throw error;
      }
    }),
  );
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

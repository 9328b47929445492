// Whether tests of ESP in the kernel can run here.
import type { EspBackEnd } from "../../src/core/guard.ts";
import { probeKernelEsp } from "../../src/io/kernel/probe.ts";

/** Why they cannot; undefined when they can. Whoever asks for kernel ESP gets no excuse. */
export async function whyNoKernelEsp(): Promise<string | undefined> {
  switch (process.env["SWANHERD_LAB_ESP"]) {
    case "kernel":
      return undefined;
    case "userland":
      return "SWANHERD_LAB_ESP is userland";
    default:
      return (await probeKernelEsp()) === undefined ? "this kernel has no ESP" : undefined;
  }
}

/** The kernel's where it has ESP, unless told otherwise. */
export const espBackEndHere = async (): Promise<EspBackEnd> =>
  (await whyNoKernelEsp()) === undefined ? "kernel" : "userland";

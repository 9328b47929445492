// Whether tests of ESP in the kernel can run here.
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

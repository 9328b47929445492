// Exit status 0 when this kernel does ESP, as the agent finds it out; needs root.
import { probeKernelEsp } from "../src/io/kernel/probe.ts";

process.exitCode = (await probeKernelEsp()) === undefined ? 1 : 0;

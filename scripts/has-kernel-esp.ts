// Exit status 0 when this kernel does ESP, as the agent finds it out; needs root.
import { probeEspBackEnd } from "../src/io/kernel/probe.ts";

process.exitCode = (await probeEspBackEnd()) === "kernel" ? 0 : 1;

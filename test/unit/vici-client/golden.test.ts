// What a real charon said, and what its own client asked (see the head of each file in test/golden/vici).
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { listConns, listSas } from "../../../src/vici-client/commands.ts";
import { stats, version } from "../../../src/vici-client/daemon.ts";
import { decodeEvent, type ViciEvent } from "../../../src/vici-client/events.ts";
import { encodeFrame } from "../../../src/vici-client/framing.ts";
import { decodeMessage, encodeMessage } from "../../../src/vici-client/message.ts";
import { decodeCharonPacket, encodeClientPacket } from "../../../src/vici-client/packet.ts";
import { frames, golden, recorded, replyPackets } from "./requesters.ts";

const recordings = readdirSync(new URL("../../golden/vici", import.meta.url)).map((file) => file.replace(/\.hex$/, ""));
const CMD_REQUEST = 0;

describe("everything charon sent", () => {
  // charon names the counters of all connections with no bytes, which we read and do not write.
  const writable = recordings.filter((name) => name.endsWith("-reply") && name !== "get-counters-reply");
  test.each(writable)("as %s can be decoded and is encoded to the same bytes", (name) => {
    for (const [at, frame] of frames(name).entries()) {
      const packet = decodeCharonPacket(frame);
      if (packet.kind !== "event" && packet.kind !== "commandResponse") continue;
      const message = encodeMessage(packet.message);
      expect(frame.subarray(frame.length - message.length), `frame ${at}`).toEqual(message);
    }
  });

  test("as counters has a section whose name has no bytes", () => {
    const [answer] = replyPackets("get-counters");
    const counters = answer?.kind === "commandResponse" ? answer.message.get("counters") : undefined;
    expect(counters).toEqual(new Map([["", expect.any(Map)]]));
    expect(() => encodeMessage(new Map([["", {}]]))).toThrow(/key is 0 bytes/);
  });
});

describe("everything swanctl asked", () => {
  test.each(recordings.filter((name) => name.endsWith("-request")))("as %s is encoded to the same bytes", (name) => {
    for (const frame of frames(name)) {
      if (frame[0] !== CMD_REQUEST) continue;
      const nameEnd = 2 + (frame[1] ?? 0);
      const command = frame.toString("latin1", 2, nameEnd);
      const message = decodeMessage(frame.subarray(nameEnd));
      expect(encodeClientPacket({ kind: "commandRequest", name: command, message })).toEqual(frame);
    }
  });
});

describe("requests are the bytes that swanctl sends", () => {
  test("version", () => {
    const request = encodeFrame(encodeClientPacket({ kind: "commandRequest", name: "version", message: {} }));
    expect(request).toEqual(golden("version-request"));
  });

  test("list-sas: registration, command, unregistration", () => {
    const sent = [
      encodeClientPacket({ kind: "eventRegister", name: "list-sa" }),
      encodeClientPacket({ kind: "commandRequest", name: "list-sas", message: {} }),
      encodeClientPacket({ kind: "eventUnregister", name: "list-sa" }),
    ];
    // swanctl leaves without unregistering when it is done.
    expect(Buffer.concat(sent.map(encodeFrame)).subarray(0, golden("list-sas-request").length)).toEqual(
      golden("list-sas-request"),
    );
  });

  test("initiate", () => {
    const asked = frames("initiate-request");
    const args = { child: "net", ike: "peer-1", loglevel: "1" };
    expect(asked).toContainEqual(encodeClientPacket({ kind: "eventRegister", name: "control-log" }));
    expect(asked).toContainEqual(encodeClientPacket({ kind: "commandRequest", name: "initiate", message: args }));
  });
});

describe("charon 5.9.8 is read", () => {
  test("version", async () => {
    expect(await version(recorded("version"))).toMatchObject({ daemon: "charon-systemd", version: "5.9.8" });
  });

  test("stats", async () => {
    expect(await stats(recorded("stats"))).toEqual({
      uptime: { running: "0 seconds", since: "Nov 21 06:46:08 2026" },
      workers: { total: 16, idle: 7, active: { critical: 4, high: 0, medium: 5, low: 0 } },
      queues: { critical: 0, high: 0, medium: 0, low: 0 },
      scheduledCount: 0,
      ikeSas: { total: 0, halfOpen: 0 },
      plugins: expect.arrayContaining(["vici", "kernel-libipsec"]) as unknown,
      heap: { sbrkBytes: 2433024, mmapBytes: 0, usedBytes: 384496, freeBytes: 2048528 },
      leakDetective: undefined,
    });
  });

  test("an IKE SA and its child in list-sas", async () => {
    const [ikeSa, ...others] = await listSas(recorded("list-sas"));
    expect(others).toEqual([]);
    expect(ikeSa).toMatchObject({
      name: "peer-1",
      uniqueId: 1,
      ikeVersion: 2,
      state: "ESTABLISHED",
      localHost: "192.0.2.1",
      localPort: 4500,
      remoteHost: "192.0.2.2",
      remoteId: "192.0.2.2",
      isInitiator: true,
      initiatorSpi: "e112a4b03fe5ca64",
      rekeySeconds: 13429,
      algorithms: { encryption: "AES_CBC", encryptionKeyBits: 256, prf: "PRF_HMAC_SHA2_256", dhGroup: "MODP_2048" },
    });
    expect(ikeSa?.childSas).toMatchObject([
      {
        name: "net",
        uniqueId: 1,
        reqId: 1,
        state: "INSTALLED",
        mode: "TUNNEL",
        protocol: "ESP",
        isEncapsulated: true,
        spiIn: "12d10a81",
        spiOut: "d5095da5",
        bytesIn: 0,
        packetsOut: 0,
        usedInSeconds: undefined,
        rekeySeconds: 3325,
        lifeSeconds: 3960,
        installSeconds: 0,
        localTs: ["10.1.0.0/24"],
        remoteTs: ["10.2.0.0/24"],
        // The first child takes its keys from the IKE SA: no group of its own.
        algorithms: { encryption: "AES_CBC", integrity: "HMAC_SHA2_256_128", dhGroup: undefined },
      },
    ]);
  });

  test("a connection in list-conns", async () => {
    expect(await listConns(recorded("list-conns"))).toMatchObject([
      {
        name: "peer-1",
        version: "IKEv2",
        localAddrs: ["192.0.2.1"],
        remoteAddrs: ["192.0.2.2"],
        rekeySeconds: 14400,
        uniquePolicy: "UNIQUE_NO",
        localAuth: [{ class: "pre-shared key", id: "192.0.2.1" }],
        remoteAuth: [{ class: "pre-shared key", id: "192.0.2.2" }],
        children: [{ name: "net", mode: "TUNNEL", rekeySeconds: 3600, localTs: ["10.1.0.0/24"] }],
      },
    ]);
  });

  test("the events of an SA from its first child to its end", () => {
    const events = replyPackets("events").flatMap((packet) =>
      packet.kind === "event" ? [decodeEvent(packet.name, packet.message)] : [],
    );
    expect(events.filter((event) => event.kind !== "log").map(summary)).toEqual([
      "ikeUpdown up peer-1 #1 ESTABLISHED",
      "childUpdown up net #1 INSTALLED",
      "childRekey net #1 REKEYED -> #2 INSTALLED",
      "ikeRekey peer-1 #1 REKEYING -> #2 ESTABLISHED",
      "ikeUpdown down peer-1 #2 DELETING",
      "childUpdown down net #2 INSTALLED",
    ]);
  });

  test("alert is an event that 5.9.8 does not have", () => {
    const answers = replyPackets("events").filter((packet) => packet.kind !== "event");
    expect(answers.map((packet) => packet.kind)).toEqual([
      "eventConfirm",
      "eventConfirm",
      "eventConfirm",
      "eventConfirm",
      "eventUnknown",
      "eventConfirm",
    ]);
  });

  test("a log line, whose key ikesa-uniqueid the README spells ikesa-uniqued", () => {
    const lines = replyPackets("events").flatMap((packet) =>
      packet.kind === "event" && packet.name === "log" ? [decodeEvent(packet.name, packet.message)] : [],
    );
    expect(lines).toContainEqual(
      expect.objectContaining({ kind: "log", group: "IKE", ikeSaUniqueId: 1, text: "peer supports MOBIKE" }),
    );
  });

  test("the log of a waiting command", () => {
    const lines = replyPackets("initiate").flatMap((packet) =>
      packet.kind === "event" ? [decodeEvent(packet.name, packet.message)] : [],
    );
    expect(lines[0]).toEqual({
      kind: "controlLog",
      group: "IKE",
      level: 0,
      threadId: undefined,
      ikeSaName: "peer-1",
      ikeSaUniqueId: 1,
      text: "initiating IKE_SA peer-1[1] to 192.0.2.2",
    });
  });
});

function summary(event: ViciEvent): string {
  const sa = (of: { name: string; uniqueId: number; state: string }) => `${of.name} #${of.uniqueId} ${of.state}`;
  const next = (of: { uniqueId: number; state: string }) => `#${of.uniqueId} ${of.state}`;
  switch (event.kind) {
    case "ikeUpdown":
      return `ikeUpdown ${event.isUp ? "up" : "down"} ${sa(event.ikeSa)}`;
    case "childUpdown":
      return `childUpdown ${event.isUp ? "up" : "down"} ${sa(event.childSa)}`;
    case "childRekey":
    case "ikeRekey":
      return `${event.kind} ${sa(event.old)} -> ${next(event.new)}`;
    default:
      return event.kind;
  }
}

// Documents without a problem: what they give, and what is worth a note. What is refused is in refusals.test.ts.
import { describe, expect, test } from "vitest";
import { readCatalogue } from "../../../../src/wire/documents/build.ts";
import type { Catalogue } from "../../../../src/wire/documents/catalogue.ts";
import { formatProblem } from "../../../../src/wire/documents/problem.ts";
import { BASE, CONNECTION, OLDER_FORM, SERVICE } from "../../../support/documents.ts";

function catalogueOf(...texts: string[]): Catalogue {
  const result = readCatalogue(texts.map((text, at) => ({ path: `${at}.yaml`, text })));
  if (result.kind === "invalid") throw new Error(result.problems.map(formatProblem).join("\n"));
  return result.catalogue;
}

const notesOf = (...texts: string[]): string[] => {
  const result = readCatalogue(texts.map((text, at) => ({ path: `${at}.yaml`, text })));
  if (result.kind === "invalid") throw new Error(result.problems.map(formatProblem).join("\n"));
  return result.notes.map(formatProblem);
};

describe("documents without a problem", () => {
  test("give the service with everything that it names", () => {
    const [service] = catalogueOf(BASE, SERVICE, CONNECTION).services;
    expect(service).toMatchObject({
      name: "left",
      project: "acme",
      host: "gw-left",
      routerId: "7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01",
      external: {
        network: { name: "internet", mtuBytes: 1500 },
        addresses: [
          { address: "203.0.113.10", family: 4, subnet: { cidr: "203.0.113.0/24" } },
          { address: "2001:db8:ff::10", family: 6, subnet: { cidr: "2001:db8:ff::/64" } },
        ],
      },
      connections: [
        {
          name: "to-right",
          localCidrs: ["10.1.0.0/24"],
          peerCidrs: ["10.2.0.0/24"],
          dpd: { action: "restart", intervalSeconds: 30, timeoutSeconds: 120 },
          ikePolicy: { ikeVersion: "v2", encryption: "aes-256", lifetimeSeconds: 3600 },
        },
      ],
    });
  });

  test("give the place of every key beside it", () => {
    const result = readCatalogue([
      { path: "a.yaml", text: BASE + SERVICE },
      { path: "b.yaml", text: CONNECTION },
    ]);
    expect(result.psks).toMatchObject([
      {
        connectionName: "to-right",
        reference: { kind: "file", path: "psk/to-right" },
        origin: { file: "b.yaml", line: 11 },
      },
    ]);
  });

  test("may be in the older form, with a subnet and the peer's CIDRs", () => {
    const [service] = catalogueOf(BASE, OLDER_FORM).services;
    expect(service?.subnet).toMatchObject({ cidr: "10.1.0.0/24", gatewayAddress: "10.1.0.1" });
    expect(service?.connections[0]).toMatchObject({
      localGroupId: null,
      peerGroupId: null,
      localCidrs: ["10.1.0.0/24"],
      peerCidrs: ["10.2.0.0/24"],
    });
  });

  test("have Neutron's defaults where they say nothing", () => {
    const policies =
      "- {kind: IkePolicy, project: acme, name: plain}\n- {kind: IpsecPolicy, project: acme, name: plain}";
    const connection = `{kind: IpsecSiteConnection, project: acme, name: c, vpnservice: left, ikepolicy: plain,
      ipsecpolicy: plain, local_ep_group: left-local, peer_ep_group: right, peer_address: 203.0.113.20, peer_id: x, psk: k}`;
    expect(catalogueOf(BASE, SERVICE, policies, connection).services[0]?.connections[0]).toMatchObject({
      enabled: true,
      initiator: "bi-directional",
      mtuBytes: 1500,
      localId: "",
      dpd: { action: "hold", intervalSeconds: 30, timeoutSeconds: 120 },
      ikePolicy: {
        ikeVersion: "v1",
        mode: "main",
        encryption: "aes-128",
        authentication: "sha1",
        dhGroup: "group5",
        lifetimeSeconds: 3600,
      },
      ipsecPolicy: { protocol: "esp", encapsulation: "tunnel" },
    });
  });

  test("give the same ids whatever file and order they are in, and others under another name", () => {
    const ids = (catalogue: Catalogue): unknown =>
      catalogue.services.map(({ id, connections }) => [id, connections.map((connection) => connection.id)]);
    const once = ids(catalogueOf(BASE, SERVICE, CONNECTION));
    expect(ids(catalogueOf([CONNECTION, BASE, SERVICE].join("\n---\n")))).toEqual(once);
    expect(ids(catalogueOf(BASE, SERVICE, CONNECTION.replace("name: to-right", "name: other")))).not.toEqual(once);
  });

  test("keep projects apart: the same names in another one are others", () => {
    const other = (text: string): string =>
      text
        .replaceAll("acme", "other")
        .replace(/id: 7d3c[^}]*/, "")
        .replaceAll("name: left-router, ", "name: left-router")
        .replace("203.0.113.10, ", "203.0.113.11, ")
        .replace("ff::10]", "ff::11]");
    const network = /^- \{kind: Network.*\n/m;
    expect(
      catalogueOf(BASE, SERVICE, CONNECTION, other(BASE).replace(network, ""), other(SERVICE), other(CONNECTION))
        .services,
    ).toHaveLength(2);
  });
});

describe("noted, but taken, is", () => {
  const older = OLDER_FORM.replace("fixed_ips: [203.0.113.10]", "fixed_ips: [203.0.113.10, 2001:db8:ff::10]");
  const [olderService = ""] = older.trim().split("\n");

  test("a subnet of the service beside endpoint groups, once a service; the groups win", () => {
    const second = CONNECTION.replace("name: to-right", "name: again").replace(
      "peer_ep_group: right",
      "peer_ep_group: far",
    );
    const far = "- {kind: EndpointGroup, project: acme, name: far, type: cidr, endpoints: [10.9.0.0/24]}";
    const other = BASE.replace("endpoints: [left-net]", "endpoints: [other-net]");
    const net = "- {kind: Subnet, project: acme, name: other-net, cidr: 10.7.0.0/24}";
    const texts = [other, olderService, CONNECTION, second, [far, net].join("\n")];
    expect(notesOf(...texts)).toEqual([
      "1.yaml:1: VpnService left: subnet left-net does not count for to-right, again: endpoint groups are given, and they win",
    ]);
    const [service] = catalogueOf(...texts).services;
    expect(service?.connections.map(({ localCidrs }) => localCidrs)).toEqual([["10.7.0.0/24"], ["10.7.0.0/24"]]);
    expect(service?.connections[0]?.localGroupId).not.toBeNull();
  });

  test("a lifetime of more than a day", () => {
    expect(notesOf(BASE.replace("value: 3600", "value: 86400"), SERVICE, CONNECTION)).toEqual([]);
    expect(notesOf(BASE.replace("value: 3600", "value: 86401"), SERVICE, CONNECTION)).toEqual([
      "0.yaml:6: IkePolicy strong: lifetime.value 86401 is more than a day (86400 seconds): Neutron sets no limit, but many peers do",
    ]);
  });

  test("a peer's network that contains ours, but not one that is everything, on either side", () => {
    expect(notesOf(BASE.replace("[10.2.0.0/24]", "[0.0.0.0/0]"), SERVICE, CONNECTION)).toEqual([]);
    expect(notesOf(BASE.replace("10.1.0.0/24, gateway_ip: 10.1.0.1", "0.0.0.0/0"), SERVICE, CONNECTION)).toEqual([]);
    expect(notesOf(BASE.replace("[10.2.0.0/24]", "[10.0.0.0/8]"), SERVICE, CONNECTION)).toEqual([
      "2.yaml:8: IpsecSiteConnection to-right: the peer's network 10.0.0.0/8 contains our own 10.1.0.0/24: that part of it stays here",
    ]);
  });

  test("a pair of networks that two connections of one router have, as long as both are on", () => {
    const second = CONNECTION.replace("name: to-right", "name: spare").replace(".20", ".21");
    expect(notesOf(BASE, SERVICE, CONNECTION, second)).toEqual([
      "3.yaml:1: IpsecSiteConnection spare: 10.1.0.0/24 to 10.2.0.0/24 is IpsecSiteConnection to-right's on the same router, too: one of them will be ERROR conflicts-with-connection",
    ]);
    expect(notesOf(BASE, SERVICE, CONNECTION, second.replace("psk:", "admin_state_up: false\npsk:"))).toEqual([]);
    // Neutron takes overlapping ones, and the agent can use them.
    const wider = [BASE.replace("[10.2.0.0/24]", "[10.2.0.0/16]"), SERVICE, CONNECTION, second];
    const narrow = "- {kind: EndpointGroup, project: acme, name: narrow, type: cidr, endpoints: [10.2.3.0/24]}";
    const overlapping = wider.map((text) =>
      text === second ? second.replace("peer_ep_group: right", "peer_ep_group: narrow") : text,
    );
    expect(notesOf(...overlapping, narrow)).toEqual([]);
  });

  test("told beside problems, too", () => {
    const texts = [BASE.replace("value: 3600", "value: 86401"), SERVICE, CONNECTION, "kind: Nonsense"];
    const result = readCatalogue(texts.map((text, at) => ({ path: `${at}.yaml`, text })));
    expect(result).toMatchObject({ kind: "invalid", problems: [{ file: "3.yaml" }], notes: [{ file: "0.yaml" }] });
  });
});

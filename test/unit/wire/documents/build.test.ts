// Documents without a problem, and what is said of every problem: file, line, what to do.
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

function problemsOf(...texts: string[]): string[] {
  const result = readCatalogue(texts.map((text, at) => ({ path: `${at}.yaml`, text })));
  return result.kind === "invalid" ? result.problems.map(formatProblem) : [];
}

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
          psk: { kind: "file", path: "psk/to-right" },
          localCidrs: ["10.1.0.0/24"],
          peerCidrs: ["10.2.0.0/24"],
          dpd: { action: "restart", intervalSeconds: 30, timeoutSeconds: 120 },
          ikePolicy: { ikeVersion: "v2", encryption: "aes-256", lifetimeSeconds: 3600 },
        },
      ],
    });
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

describe("a problem is told with file, line and what to do", () => {
  const withConnection = (find: string, replacement: string): string[] =>
    problemsOf(BASE, SERVICE, CONNECTION.replace(find, replacement));

  test.each<[string, string[], string]>([
    ["an unknown kind", [`\n- {kind: VpnServce, name: x}`], '0.yaml:2: kind is "VpnServce": did you mean VpnService?'],
    ["no kind", [`- {name: x}`], "0.yaml:1: kind is missing: allowed Router, "],
    ["a scalar", [`- 5`], "0.yaml:1: is no map"],
    ["broken YAML", [`a: [`], "0.yaml:1: not readable as YAML"],
    ["an unknown key", [`- kind: Router\n  name: x\n  hots: y`], "0.yaml:3: Router x: hots is not a known key"],
    [
      "a name that YAML takes for a number",
      [`{kind: Router, name: 12}`],
      "Router: name is 12: expected a text, put it in quotes",
    ],
    [
      "an unknown algorithm",
      [`{kind: IkePolicy, name: a, encryption_algorithm: des}`],
      'encryption_algorithm is "des": allowed 3des, aes-128',
    ],
    [
      "a lifetime that is too short",
      [`kind: IkePolicy\nname: a\nlifetime:\n  value: 59`],
      "0.yaml:4: IkePolicy a: lifetime.value is 59: at least 60",
    ],
    [
      "host bits in a CIDR",
      [`{kind: Subnet, name: a, cidr: 10.1.0.5/24}`],
      'cidr is "10.1.0.5/24", which has host bits set: write 10.1.0.0/24',
    ],
    [
      "a gateway elsewhere",
      [`{kind: Subnet, name: a, cidr: 10.1.0.0/24, gateway_ip: 10.2.0.1}`],
      "gateway_ip 10.2.0.1 is not in 10.1.0.0/24",
    ],
    [
      "a name given twice",
      [`{kind: Router, name: a}`, `\n\n- {kind: Router, name: a}`],
      '1.yaml:3: Router a: name "a" is taken in project default by 0.yaml:1',
    ],
    [
      "an id given twice",
      [
        `- {kind: Router, name: a, id: 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01}\n- {kind: Router, name: b, id: 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01}`,
      ],
      "0.yaml:2: Router b: id 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01 is taken by 0.yaml:1",
    ],
    [
      "a group of an unknown subnet",
      [`{kind: EndpointGroup, name: g, type: subnet, endpoints: [nowhere]}`],
      'endpoints.0 names Subnet "nowhere"',
    ],
    [
      "a group with a bad CIDR",
      [`{kind: EndpointGroup, name: g, type: cidr, endpoints: [10.0.0.0]}`],
      'endpoints has "10.0.0.0", expected a CIDR',
    ],
  ])("%s", (_what, texts, expected) => {
    const problems = problemsOf(...texts);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });

  test.each<[string, string, string, string]>([
    [
      "an unknown policy",
      "ikepolicy: strong",
      "ikepolicy: strnog",
      '2.yaml:5: ikepolicy names IkePolicy "strnog", which project acme does not have; did you mean strong?',
    ],
    ["an unknown service", "vpnservice: left", "vpnservice: lift", "did you mean left?"],
    ["an empty key", "psk: {file: psk/to-right}", 'psk: ""', "psk is empty: give the connection a pre-shared key"],
    [
      "a key of another shape",
      "psk: {file: psk/to-right}",
      "psk: {path: x}",
      "psk is not usable: expected a text, {file: PATH}",
    ],
    [
      "DPD that ends before it begins",
      "timeout: 120",
      "timeout: 30",
      "2.yaml:12: IpsecSiteConnection to-right: dpd.timeout 30 is not above dpd.interval 30",
    ],
    [
      "a peer address that is a name",
      "peer_address: 203.0.113.20",
      "peer_address: vpn.example",
      'peer_address is "vpn.example": expected an IP address',
    ],
    ["an MTU below the minimum", "psk:", "mtu: 67\npsk:", "mtu is 67: at least 68"],
    [
      "both forms at once",
      "psk:",
      "peer_cidrs: [10.2.0.0/24]\npsk:",
      "peer_cidrs and endpoint groups are both given: keep one form",
    ],
    ["half of a form", "local_ep_group: left-local\n", "", "local_ep_group missing"],
    [
      "a peer group of subnets",
      "peer_ep_group: right",
      "peer_ep_group: left-local",
      "peer_ep_group left-local is of type subnet",
    ],
    [
      "networks of both families",
      "peer_ep_group: right",
      "peer_ep_group: right6",
      "local and peer networks mix IPv4 and IPv6",
    ],
  ])("a connection with %s", (_what, find, replacement, expected) => {
    const problems = withConnection(find, replacement);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(expected);
  });

  test("a peer that no external address can reach", () => {
    const service = SERVICE.replace(", 2001:db8:ff::10", "");
    const connection = CONNECTION.replace("peer_address: 203.0.113.20", "peer_address: 2001:db8::1");
    expect(problemsOf(BASE, service, connection)).toEqual([
      "2.yaml:9: IpsecSiteConnection to-right: peer_address 2001:db8::1 is IPv6, but VpnService left has no IPv6 address in external.fixed_ips: add one",
    ]);
  });

  test("an IPv6 connection with an MTU below 1280", () => {
    const connection = CONNECTION.replace("left-local", "left6").replace(
      "peer_ep_group: right",
      "peer_ep_group: right6",
    );
    expect(problemsOf(BASE, SERVICE, connection.replace("psk:", "mtu: 1279\npsk:"))[0]).toContain(
      "below IPv6's minimum of 1280",
    );
    expect(problemsOf(BASE, SERVICE, connection)).toEqual([]);
  });

  test("the older form without a subnet, and groups with one", () => {
    expect(problemsOf(BASE, OLDER_FORM.replace("subnet: left-net, ", ""))[0]).toContain(
      "VpnService left has no subnet",
    );
    expect(problemsOf(BASE, SERVICE.replace("router:", "subnet: left-net, router:"), CONNECTION)[0]).toContain(
      "are both given: keep one form",
    );
  });

  test("an external address outside the network, the gateway's, or another router's", () => {
    expect(problemsOf(BASE, SERVICE.replace("203.0.113.10", "198.51.100.1"))[0]).toContain(
      "which is in no subnet of network internet",
    );
    expect(problemsOf(BASE, SERVICE.replace("203.0.113.10", "203.0.113.1"))[0]).toContain(
      "which is the network's gateway",
    );
    const second = SERVICE.replace("name: left,", "name: second,").replace(
      "router: left-router",
      "router: other-router",
    );
    expect(problemsOf(BASE, SERVICE, `${second}\n- {kind: Router, project: acme, name: other-router}`)[0]).toContain(
      "which VpnService left has on another router",
    );
  });

  test("services of one router that disagree on where it is", () => {
    const second = SERVICE.replace("name: left,", "name: second,").replace("gw-left", "gw-other");
    expect(problemsOf(BASE, SERVICE, second)[0]).toContain("but host is gw-other here and gw-left there");
    expect(problemsOf(BASE, SERVICE, SERVICE.replace("name: left,", "name: second,"))).toEqual([]);
  });

  test("all of them at once, and nothing about references to a spoilt document", () => {
    const spoilt = BASE.replace("ike_version: v2", "ike_version: v3").replace("type: cidr", "type: cdr");
    const problems = problemsOf(spoilt, SERVICE, CONNECTION);
    expect(problems).toHaveLength(2);
    expect(problems[0]).toContain('ike_version is "v3": allowed v1, v2');
    expect(problems[1]).toContain('type is "cdr": allowed subnet, cidr');
  });

  test("never with the key in it", () => {
    const secret = "do-not-print";
    for (const psk of [`{fil: ${secret}}`, `[${secret}]`, `{file: ${secret}, env: ${secret}}`]) {
      expect(problemsOf(BASE, SERVICE, CONNECTION.replace("{file: psk/to-right}", psk)).join()).not.toContain(secret);
    }
  });
});

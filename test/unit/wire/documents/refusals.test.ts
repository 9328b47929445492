// What is said of every mistake: file, line, value and what to do; and never a pre-shared key.
import { describe, expect, test } from "vitest";
import { readCatalogue } from "../../../../src/wire/documents/build.ts";
import { formatProblem } from "../../../../src/wire/documents/problem.ts";
import { BASE, CONNECTION, SERVICE } from "../../../support/documents.ts";
import { filesOf, REFUSALS } from "../../../support/refusals.ts";

function problemsOf(files: ReadonlyMap<string, string>): string[] {
  const result = readCatalogue([...files].map(([path, text]) => ({ path, text })));
  return result.kind === "invalid" ? result.problems.map(formatProblem) : [];
}

const withConnection = (connection: string): string[] =>
  problemsOf(
    new Map([
      ["base.yaml", BASE],
      ["service.yaml", SERVICE],
      ["connection.yaml", connection],
    ]),
  );

describe("refused is", () => {
  test.each(REFUSALS)("%s", (...refusal) => {
    const { good, bad } = filesOf(refusal);
    expect(problemsOf(good)).toEqual([]);
    expect(problemsOf(bad)).toEqual(refusal[4]);
  });

  test("nothing with a pre-shared key in what is said", () => {
    const withSecret = REFUSALS.filter((refusal) => refusal[3].includes("hunter2"));
    expect(withSecret.length).toBeGreaterThan(4);
    expect(withSecret.flatMap((refusal) => problemsOf(filesOf(refusal).bad)).join()).not.toContain("hunter");
    for (const psk of ["[hunter2]", "{file: hunter2, env: hunter2}", '"hunter\\q2"', "|hunter2\n x", "hunter2: x"]) {
      const problems = withConnection(CONNECTION.replace("{file: psk/to-right}", psk));
      expect(problems).not.toEqual([]);
      expect(problems.join()).not.toContain("hunter");
    }
  });
});

describe("every problem is told at once", () => {
  test("of one document: its own mistakes, its references, and what its networks have to do with each other", () => {
    const spoilt = CONNECTION.replace("ikepolicy: strong", "ikepolicy: strnog")
      .replace("peer_ep_group: right", "peer_ep_group: right6")
      .replace("interval: 30", "interval: 130")
      .replace("psk: {file: psk/to-right}", 'psk: ""\nmtu: 67\ncolour: red');
    expect(withConnection(spoilt).map((line) => line.replace("IpsecSiteConnection to-right: ", ""))).toEqual([
      'connection.yaml:5: ikepolicy names IkePolicy "strnog", which project acme does not have; did you mean strong?',
      "connection.yaml:8: local_ep_group left-local is IPv4, but peer_ep_group right6 is IPv6 (10.1.0.0/24, 2001:db8:2::/48): make one connection for each",
      "connection.yaml:11: psk is empty: give the connection a pre-shared key",
      "connection.yaml:12: mtu is 67: at least 68 for IPv4, 1280 for IPv6",
      "connection.yaml:13: colour is not a known key",
      "connection.yaml:14: dpd.timeout 120 is not above dpd.interval 130: raise it",
    ]);
  });

  test("of a document that cannot be judged on: its references all the same", () => {
    const spoilt = CONNECTION.replace("peer_address: 203.0.113.20", "peer_address: vpn.example")
      .replace("vpnservice: left", "vpnservice: lift")
      .replace("local_ep_group: left-local", "local_ep_group: 7");
    expect(withConnection(spoilt).map((line) => line.replace("IpsecSiteConnection to-right: ", ""))).toEqual([
      'connection.yaml:4: vpnservice names VpnService "lift", which project acme does not have; did you mean left?',
      "connection.yaml:7: local_ep_group is 7: expected a text, put it in quotes",
      'connection.yaml:9: peer_address is "vpn.example": expected an IP address',
    ]);
    expect(
      problemsOf(new Map([["a.yaml", "kind: EndpointGroup\nname: g\ntype: subnet\nendpoints: [nowhere]\nid: 7"]])),
    ).toEqual([
      'a.yaml:4: EndpointGroup g: endpoints.0 names Subnet "nowhere", which project default does not have: correct the name, or add it',
      "a.yaml:5: EndpointGroup g: id is 7: expected a text, put it in quotes",
    ]);
  });

  test("of several documents in order of file and line, a name twice among them", () => {
    const twice = "- {kind: Router, name: a, colour: red}\n- {kind: Router, name: a, colour: red}\n";
    const files = new Map([
      ["b.yaml", "kind: Ruter"],
      ["a.yaml", twice],
    ]);
    expect(problemsOf(files)).toEqual([
      "a.yaml:1: Router a: colour is not a known key; known: kind, name, description, id, project",
      "a.yaml:2: Router a: colour is not a known key; known: kind, name, description, id, project",
      'a.yaml:2: Router a: name "a" is taken in project default by a.yaml:1: rename one',
      'b.yaml:1: kind is "Ruter": did you mean Router?',
    ]);
  });
});

describe("nothing is told of references to", () => {
  test.each<[string, string, string]>([
    ["a document with mistakes of its own", "type: cidr", "type: cdr"],
    ["a document of an unknown kind", "kind: IpsecPolicy", "kind: IpsecPolcy"],
    ["a document that could not be read", "kind: IpsecPolicy, project: acme", "kind: IpsecPolicy, project: *acme"],
  ])("%s", (_what, find, put) => {
    const files = new Map([
      ["base.yaml", BASE.replace(find, put)],
      ["service.yaml", SERVICE],
      ["connection.yaml", CONNECTION],
    ]);
    expect(problemsOf(files)).toHaveLength(1);
    expect(problemsOf(files)[0]).toMatch(/^base.yaml:/);
  });
});

// Documents that are refused: one mistake each, put into documents without one, and all that is said of it.
import { BASE, CONNECTION, OLDER_FORM, SERVICE } from "./documents.ts";

/** `find` is replaced by `put` in `file`; `says` is `file:line: text`, in order. */
export type Refusal = readonly [what: string, file: string, find: string, put: string, says: readonly string[]];

const GROUPS: ReadonlyMap<string, string> = new Map([
  ["base.yaml", BASE],
  ["service.yaml", SERVICE],
  ["connection.yaml", CONNECTION],
]);
const OLDER: ReadonlyMap<string, string> = new Map([
  ["base.yaml", BASE],
  ["older.yaml", OLDER_FORM],
]);

/** The files with the mistake and without it. */
export function filesOf([what, file, find, put]: Refusal): {
  readonly good: ReadonlyMap<string, string>;
  readonly bad: ReadonlyMap<string, string>;
} {
  const good = file === "older.yaml" ? OLDER : GROUPS;
  const text = good.get(file);
  if (text?.includes(find) !== true) throw new Error(`${what}: ${file} has no ${find}`);
  return { good, bad: new Map([...good, [file, text.replace(find, put)]]) };
}

export const REFUSALS: readonly Refusal[] = [
  [
    "a tab as indentation",
    "connection.yaml",
    "project: acme",
    "project:\n\tacme",
    ["connection.yaml:3: not readable as YAML: a tab is no indentation: use blanks"],
  ],
  [
    "a key that is given twice in one map",
    "connection.yaml",
    "name: to-right",
    "name: to-right\nname: to-left",
    ["connection.yaml:4: not readable as YAML: a key is given twice: remove one"],
  ],
  [
    "a quote that is not closed",
    "connection.yaml",
    "name: to-right",
    'name: "to-right',
    [
      "connection.yaml:3: not readable as YAML: something is missing: a closing quote or bracket, or the colon after a key",
    ],
  ],
  [
    "an alias without an anchor, which could be a key",
    "connection.yaml",
    "psk: {file: psk/to-right}",
    "psk: *hunter2",
    [
      "connection.yaml:11: not readable as YAML: an alias (*name) has no anchor (&name) before it: put a text that begins with * in quotes",
    ],
  ],
  [
    "text behind a closed quote, which could be a key's end",
    "connection.yaml",
    "psk: {file: psk/to-right}",
    'psk: "hunter"2',
    [
      "connection.yaml:11: not readable as YAML: something stands where nothing may: look at quotes, brackets and indentation",
    ],
  ],
  [
    "a tag that nobody knows",
    "connection.yaml",
    "psk: {file: psk/to-right}",
    "psk: !hunter2 x",
    [
      "connection.yaml:11: not readable as YAML: a tag (!name) is not known here: put a text that begins with ! in quotes",
    ],
  ],
  [
    "a document that is no map",
    "service.yaml",
    "\n- {kind: VpnService",
    "\n- 5\n- {kind: VpnService",
    ["service.yaml:2: is no map: a document starts with `kind:`"],
  ],
  [
    "no kind",
    "base.yaml",
    "kind: Router, ",
    "",
    [
      "base.yaml:2: kind is missing: allowed Router, Network, Subnet, IkePolicy, IpsecPolicy, EndpointGroup, VpnService, IpsecSiteConnection",
    ],
  ],
  [
    "an unknown kind",
    "base.yaml",
    "kind: Router",
    "kind: Ruter",
    ['base.yaml:2: kind is "Ruter": did you mean Router?'],
  ],
  [
    "a kind in another spelling",
    "service.yaml",
    "kind: VpnService",
    "kind: vpn_service",
    ['service.yaml:2: kind is "vpn_service": did you mean VpnService?'],
  ],
  [
    "a kind that resembles nothing",
    "service.yaml",
    "kind: VpnService",
    "kind: Firewall",
    [
      'service.yaml:2: kind is "Firewall": known: Router, Network, Subnet, IkePolicy, IpsecPolicy, EndpointGroup, VpnService, IpsecSiteConnection',
    ],
  ],
  [
    "no name",
    "base.yaml",
    "name: left-router, ",
    "",
    [
      "base.yaml:2: Router: name is missing: expected a text",
      'service.yaml:2: VpnService left: router names Router "left-router", which project acme does not have: correct the name, or add it',
    ],
  ],
  [
    "a name that YAML takes for a number",
    "base.yaml",
    "name: left-router,",
    "name: 12,",
    [
      "base.yaml:2: Router: name is 12: expected a text, put it in quotes",
      'service.yaml:2: VpnService left: router names Router "left-router", which project acme does not have: correct the name, or add it',
    ],
  ],
  [
    "a control character in a name",
    "base.yaml",
    "name: left-router,",
    'name: "left\\u0007router",',
    [
      "base.yaml:2: Router left\u0007router: name contains a control character: take it out",
      'service.yaml:2: VpnService left: router names Router "left-router", which project acme does not have; did you mean left\u0007router?',
    ],
  ],
  [
    "an unknown key",
    "connection.yaml",
    "peer_id:",
    "peerid:",
    [
      "connection.yaml:1: IpsecSiteConnection to-right: peer_id is missing: expected a text",
      "connection.yaml:10: IpsecSiteConnection to-right: peerid is not a known key; did you mean peer_id?",
    ],
  ],
  [
    "an unknown key with swapped letters",
    "service.yaml",
    "host:",
    "hots:",
    [
      "service.yaml:2: VpnService left: host is missing: expected a text",
      "service.yaml:2: VpnService left: hots is not a known key; did you mean host?",
    ],
  ],
  [
    "an unknown key inside another",
    "connection.yaml",
    "interval: 30",
    "intervall: 30",
    ["connection.yaml:12: IpsecSiteConnection to-right: dpd.intervall is not a known key; did you mean interval?"],
  ],
  [
    "a name twice in one project",
    "base.yaml",
    "name: left-net6",
    "name: left-net",
    [
      'base.yaml:5: Subnet left-net: name "left-net" is taken in project acme by base.yaml:4: rename one',
      'base.yaml:9: EndpointGroup left6: endpoints.0 names Subnet "left-net6", which project acme does not have; did you mean left-net?',
    ],
  ],
  [
    "an id twice",
    "base.yaml",
    "name: left-net,",
    "name: left-net, id: 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01,",
    [
      "base.yaml:4: Subnet left-net: id 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01 is taken by base.yaml:2: every document has its own",
    ],
  ],
  [
    "an id that is no UUID",
    "base.yaml",
    "id: 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01",
    "id: left-router",
    ['base.yaml:2: Router left-router: id is "left-router": expected a lower-case UUID'],
  ],
  [
    "a text where true or false belongs",
    "connection.yaml",
    "psk:",
    'admin_state_up: "yes"\npsk:',
    ['connection.yaml:11: IpsecSiteConnection to-right: admin_state_up is "yes": expected true or false'],
  ],
  [
    "an unknown router",
    "service.yaml",
    "router: left-router",
    "router: lef-router",
    [
      'service.yaml:2: VpnService left: router names Router "lef-router", which project acme does not have; did you mean left-router?',
    ],
  ],
  [
    "an unknown network",
    "service.yaml",
    "network: internet",
    "network: inet",
    [
      'service.yaml:2: VpnService left: external.network names Network "inet", which project acme does not have; known: internet',
    ],
  ],
  [
    "an unknown subnet",
    "service.yaml",
    "router:",
    "subnet: left-lan, router:",
    [
      'service.yaml:2: VpnService left: subnet names Subnet "left-lan", which project acme does not have; known: left-net, left-net6',
    ],
  ],
  [
    "an unknown service",
    "connection.yaml",
    "vpnservice: left",
    "vpnservice: lift",
    [
      'connection.yaml:4: IpsecSiteConnection to-right: vpnservice names VpnService "lift", which project acme does not have; did you mean left?',
    ],
  ],
  [
    "an unknown IKE policy",
    "connection.yaml",
    "ikepolicy: strong",
    "ikepolicy: strnog",
    [
      'connection.yaml:5: IpsecSiteConnection to-right: ikepolicy names IkePolicy "strnog", which project acme does not have; did you mean strong?',
    ],
  ],
  [
    "an unknown IPsec policy",
    "connection.yaml",
    "ipsecpolicy: strong",
    "ipsecpolicy: weak",
    [
      'connection.yaml:6: IpsecSiteConnection to-right: ipsecpolicy names IpsecPolicy "weak", which project acme does not have; known: strong',
    ],
  ],
  [
    "an unknown endpoint group",
    "connection.yaml",
    "peer_ep_group: right",
    "peer_ep_group: rigth",
    [
      'connection.yaml:8: IpsecSiteConnection to-right: peer_ep_group names EndpointGroup "rigth", which project acme does not have; did you mean right?',
    ],
  ],
  [
    "a group of an unknown subnet",
    "base.yaml",
    "endpoints: [left-net]",
    "endpoints: [left-net, nowhere]",
    [
      'base.yaml:8: EndpointGroup left-local: endpoints.1 names Subnet "nowhere", which project acme does not have; known: left-net, left-net6',
    ],
  ],
  [
    "a reference into another project",
    "connection.yaml",
    "project: acme",
    "project: emca",
    [
      'connection.yaml:4: IpsecSiteConnection to-right: vpnservice names VpnService "left", which project emca does not have: correct the name, or add it',
      'connection.yaml:5: IpsecSiteConnection to-right: ikepolicy names IkePolicy "strong", which project emca does not have: correct the name, or add it',
      'connection.yaml:6: IpsecSiteConnection to-right: ipsecpolicy names IpsecPolicy "strong", which project emca does not have: correct the name, or add it',
      'connection.yaml:7: IpsecSiteConnection to-right: local_ep_group names EndpointGroup "left-local", which project emca does not have: correct the name, or add it',
      'connection.yaml:8: IpsecSiteConnection to-right: peer_ep_group names EndpointGroup "right", which project emca does not have: correct the name, or add it',
    ],
  ],
  [
    "an unknown encryption algorithm",
    "base.yaml",
    "version: v2, encryption_algorithm: aes-256",
    "version: v2, encryption_algorithm: aes256",
    [
      'base.yaml:6: IkePolicy strong: encryption_algorithm is "aes256": did you mean aes-256? allowed 3des, aes-128, aes-128-ctr, aes-128-ccm-8, aes-128-ccm-12, aes-128-ccm-16, aes-128-gcm-8, aes-128-gcm-12, aes-128-gcm-16, aes-192, aes-192-ctr, aes-192-ccm-8, aes-192-ccm-12, aes-192-ccm-16, aes-192-gcm-8, aes-192-gcm-12, aes-192-gcm-16, aes-256, aes-256-ctr, aes-256-ccm-8, aes-256-ccm-12, aes-256-ccm-16, aes-256-gcm-8, aes-256-gcm-12, aes-256-gcm-16',
    ],
  ],
  [
    "an unknown authentication algorithm",
    "base.yaml",
    "{kind: IpsecPolicy, project: acme, name: strong, encryption_algorithm: aes-256, auth_algorithm: sha256",
    "{kind: IpsecPolicy, project: acme, name: strong, encryption_algorithm: aes-256, auth_algorithm: sha-265",
    [
      'base.yaml:7: IpsecPolicy strong: auth_algorithm is "sha-265": did you mean sha256? allowed sha1, sha256, sha384, sha512, aes-xcbc, aes-cmac',
    ],
  ],
  [
    "an unknown DH group",
    "base.yaml",
    "pfs: group14, lifetime",
    "pfs: modp2048, lifetime",
    [
      'base.yaml:6: IkePolicy strong: pfs is "modp2048": allowed group2, group5, group14, group15, group16, group17, group18, group19, group20, group21, group22, group23, group24, group25, group26, group27, group28, group29, group30, group31',
    ],
  ],
  [
    "an unknown IKE version",
    "base.yaml",
    "ike_version: v2",
    "ike_version: v3",
    ['base.yaml:6: IkePolicy strong: ike_version is "v3": allowed v1, v2'],
  ],
  [
    "an unknown negotiation mode",
    "base.yaml",
    "ike_version: v2",
    "ike_version: v1, phase1_negotiation_mode: quick",
    ['base.yaml:6: IkePolicy strong: phase1_negotiation_mode is "quick": allowed main, aggressive'],
  ],
  [
    "both transform protocols at once",
    "base.yaml",
    "{kind: IpsecPolicy, ",
    "{kind: IpsecPolicy, transform_protocol: ah-esp, ",
    ['base.yaml:7: IpsecPolicy strong: transform_protocol is "ah-esp": allowed esp, ah'],
  ],
  [
    "an unknown encapsulation",
    "base.yaml",
    "{kind: IpsecPolicy, ",
    "{kind: IpsecPolicy, encapsulation_mode: tunel, ",
    ['base.yaml:7: IpsecPolicy strong: encapsulation_mode is "tunel": allowed tunnel, transport'],
  ],
  [
    "a lifetime of 59 seconds",
    "base.yaml",
    "value: 3600",
    "value: 59",
    ["base.yaml:6: IkePolicy strong: lifetime.value is 59: at least 60"],
  ],
  [
    "a lifetime that no column of Neutron holds",
    "base.yaml",
    "value: 3600",
    "value: 2147483648",
    ["base.yaml:6: IkePolicy strong: lifetime.value is 2147483648: at most 2147483647"],
  ],
  [
    "a lifetime in bytes",
    "base.yaml",
    "units: seconds",
    "units: kilobytes",
    ['base.yaml:6: IkePolicy strong: lifetime.units is "kilobytes": allowed seconds'],
  ],
  [
    "a lifetime that is no number",
    "base.yaml",
    "value: 3600",
    "value: 1h",
    ['base.yaml:6: IkePolicy strong: lifetime.value is "1h": expected a whole number'],
  ],
  [
    "host bits in a CIDR",
    "base.yaml",
    "cidr: 10.1.0.0/24",
    "cidr: 10.1.0.5/24",
    ['base.yaml:4: Subnet left-net: cidr is "10.1.0.5/24", which has host bits set: write 10.1.0.0/24'],
  ],
  [
    "a CIDR without a length",
    "base.yaml",
    "cidr: 10.1.0.0/24",
    "cidr: 10.1.0.0",
    ['base.yaml:4: Subnet left-net: cidr is "10.1.0.0": expected a CIDR such as 10.1.0.0/24'],
  ],
  [
    "a gateway outside its subnet",
    "base.yaml",
    "gateway_ip: 10.1.0.1",
    "gateway_ip: 10.2.0.1",
    [
      "base.yaml:4: Subnet left-net: gateway_ip 10.2.0.1 is not in 10.1.0.0/24: correct one of them, or write null for none",
    ],
  ],
  [
    "a gateway of the network outside its subnet",
    "base.yaml",
    "gateway_ip: 203.0.113.1",
    "gateway_ip: 203.0.114.1",
    [
      "base.yaml:3: Network internet: gateway_ip 203.0.114.1 is not in 203.0.113.0/24: correct one of them, or write null for none",
    ],
  ],
  [
    "subnets of one network that overlap",
    "base.yaml",
    "{cidr: 2001:db8:ff::/64,",
    "{cidr: 203.0.113.128/25, gateway_ip: null}, {cidr: 2001:db8:ff::/64,",
    ["base.yaml:3: Network internet: cidr 203.0.113.128/25 overlaps 203.0.113.0/24 of the same network: remove one"],
  ],
  [
    "a network's MTU of 67",
    "base.yaml",
    "mtu: 1500",
    "mtu: 67",
    ["base.yaml:3: Network internet: mtu is 67: at least 68"],
  ],
  [
    "a network's MTU of 1279 with IPv6",
    "base.yaml",
    "mtu: 1500",
    "mtu: 1279",
    ["base.yaml:3: Network internet: mtu 1279 is below IPv6's minimum of 1280: raise it"],
  ],
  [
    "a group of a type that no connection can use",
    "base.yaml",
    "type: cidr, endpoints: [10.2",
    "type: router, endpoints: [10.2",
    ['base.yaml:10: EndpointGroup right: type is "router": allowed subnet, cidr'],
  ],
  [
    "a group without an endpoint",
    "base.yaml",
    "endpoints: [10.2.0.0/24]",
    "endpoints: []",
    ["base.yaml:10: EndpointGroup right: endpoints is an empty list: give at least one"],
  ],
  [
    "a group with an endpoint twice",
    "base.yaml",
    "endpoints: [10.2.0.0/24]",
    "endpoints: [10.2.0.0/24, 10.2.0.0/24]",
    ["base.yaml:10: EndpointGroup right: endpoints has 10.2.0.0/24 twice: remove one"],
  ],
  [
    "a group with a CIDR that is none",
    "base.yaml",
    "endpoints: [10.2.0.0/24]",
    "endpoints: [10.2.0.0/33]",
    ['base.yaml:10: EndpointGroup right: endpoints has "10.2.0.0/33", expected a CIDR such as 10.1.0.0/24'],
  ],
  [
    "a group with host bits in a CIDR",
    "base.yaml",
    "endpoints: [10.2.0.0/24]",
    "endpoints: [10.2.0.1/24]",
    ['base.yaml:10: EndpointGroup right: endpoints has "10.2.0.1/24", which has host bits set: write 10.2.0.0/24'],
  ],
  [
    "an external address outside the network",
    "service.yaml",
    "203.0.113.10",
    "198.51.100.1",
    [
      "service.yaml:2: VpnService left: fixed_ips has 198.51.100.1, which is in no subnet of network internet (203.0.113.0/24, 2001:db8:ff::/64): take an address of one",
    ],
  ],
  [
    "the gateway's address as external one",
    "service.yaml",
    "203.0.113.10",
    "203.0.113.1",
    ["service.yaml:2: VpnService left: fixed_ips has 203.0.113.1, which is the network's gateway: take another"],
  ],
  [
    "the network's own address as external one",
    "service.yaml",
    "203.0.113.10",
    "203.0.113.0",
    [
      "service.yaml:2: VpnService left: fixed_ips has 203.0.113.0, which is the address of the network 203.0.113.0/24 itself: take another",
    ],
  ],
  [
    "the broadcast address as external one",
    "service.yaml",
    "203.0.113.10",
    "203.0.113.255",
    [
      "service.yaml:2: VpnService left: fixed_ips has 203.0.113.255, which is the broadcast address of 203.0.113.0/24: take another",
    ],
  ],
  [
    "an external address twice",
    "service.yaml",
    "203.0.113.10",
    "203.0.113.10, 203.0.113.10",
    ["service.yaml:2: VpnService left: external.fixed_ips.1 203.0.113.10 is given twice: remove one"],
  ],
  [
    "no external address",
    "service.yaml",
    "[203.0.113.10, 2001:db8:ff::10]",
    "[]",
    ["service.yaml:2: VpnService left: external.fixed_ips is an empty list: give at least one"],
  ],
  [
    "an external address of another router",
    "service.yaml",
    "\n- ",
    "\n- {kind: Router, project: acme, name: other}\n- {kind: VpnService, project: acme, name: other, host: gw-left, router: other, external: {network: internet, fixed_ips: [203.0.113.10]}}\n- ",
    [
      "service.yaml:4: VpnService left: fixed_ips has 203.0.113.10, which VpnService other has on another router: take another",
    ],
  ],
  [
    "services of one router on two hosts",
    "service.yaml",
    "\n- ",
    "\n- {kind: VpnService, project: acme, name: other, host: gw-other, router: left-router, external: {network: internet, fixed_ips: [203.0.113.10, 2001:db8:ff::10]}}\n- ",
    [
      "service.yaml:3: VpnService left: it shares its router with VpnService other, but host is gw-left here and gw-other there: name the same host",
    ],
  ],
  [
    "services of one router with other external addresses",
    "service.yaml",
    "\n- ",
    "\n- {kind: VpnService, project: acme, name: other, host: gw-left, router: left-router, external: {network: internet, fixed_ips: [203.0.113.10]}}\n- ",
    [
      "service.yaml:3: VpnService left: it shares its router with VpnService other, but external differs: both need the same network and fixed_ips",
    ],
  ],
  [
    "a host that no routing key holds",
    "service.yaml",
    "host: gw-left",
    "host: gggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg",
    ["service.yaml:2: VpnService left: host is longer than the 243 bytes that a routing key has room for: shorten it"],
  ],
  [
    "a peer address that is a name",
    "connection.yaml",
    "peer_address: 203.0.113.20",
    "peer_address: vpn.example",
    ['connection.yaml:9: IpsecSiteConnection to-right: peer_address is "vpn.example": expected an IP address'],
  ],
  [
    "external addresses of another family than the peer's",
    "service.yaml",
    "203.0.113.10, ",
    "",
    [
      "connection.yaml:9: IpsecSiteConnection to-right: peer_address 203.0.113.20 is IPv4, but VpnService left has no IPv4 address in external.fixed_ips: add one",
    ],
  ],
  [
    "the service's own address as the peer's",
    "connection.yaml",
    "peer_address: 203.0.113.20",
    "peer_address: 203.0.113.10",
    [
      "connection.yaml:9: IpsecSiteConnection to-right: peer_address 203.0.113.10 is an external address of VpnService left itself: name the peer's",
    ],
  ],
  [
    "an empty peer id",
    "connection.yaml",
    "peer_id: 203.0.113.20",
    'peer_id: ""',
    ["connection.yaml:10: IpsecSiteConnection to-right: peer_id is empty: name the peer"],
  ],
  [
    "a peer id that stands for many",
    "connection.yaml",
    "peer_id: 203.0.113.20",
    'peer_id: "*.example.org"',
    [
      'connection.yaml:10: IpsecSiteConnection to-right: peer_id is "*.example.org", which would stand for other peers too: write it without * and ^…$',
    ],
  ],
  [
    "a control character in a local id",
    "connection.yaml",
    "peer_id: 203.0.113.20",
    'peer_id: 203.0.113.20\nlocal_id: "a\\nb"',
    ["connection.yaml:11: IpsecSiteConnection to-right: local_id contains a control character: take it out"],
  ],
  [
    "an empty key",
    "connection.yaml",
    "psk: {file: psk/to-right}",
    'psk: ""',
    ["connection.yaml:11: IpsecSiteConnection to-right: psk is empty: give the connection a pre-shared key"],
  ],
  [
    "a key of another shape",
    "connection.yaml",
    "psk: {file: psk/to-right}",
    "psk: {path: hunter2}",
    [
      "connection.yaml:11: IpsecSiteConnection to-right: psk is not usable: expected a text, {file: PATH}, {env: NAME} or {credential: NAME}",
    ],
  ],
  [
    "a key longer than Neutron's column",
    "connection.yaml",
    "psk: {file: psk/to-right}",
    "psk: hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2hunter2",
    ["connection.yaml:11: IpsecSiteConnection to-right: psk has 280 characters: at most 255, as in Neutron"],
  ],
  [
    "a key under a misspelt key",
    "connection.yaml",
    "psk: {file: psk/to-right}",
    "pks: hunter2",
    [
      "connection.yaml:1: IpsecSiteConnection to-right: psk is missing: expected a text, {file: PATH}, {env: NAME} or {credential: NAME}",
      "connection.yaml:11: IpsecSiteConnection to-right: pks is not a known key; did you mean psk?",
    ],
  ],
  [
    "no key",
    "connection.yaml",
    "psk: {file: psk/to-right}\n",
    "",
    [
      "connection.yaml:1: IpsecSiteConnection to-right: psk is missing: expected a text, {file: PATH}, {env: NAME} or {credential: NAME}",
    ],
  ],
  [
    "an MTU of 67",
    "connection.yaml",
    "psk:",
    "mtu: 67\npsk:",
    ["connection.yaml:11: IpsecSiteConnection to-right: mtu is 67: at least 68 for IPv4, 1280 for IPv6"],
  ],
  [
    "an MTU of 1279 with IPv6",
    "connection.yaml",
    "local_ep_group: left-local\npeer_ep_group: right\n",
    "local_ep_group: left6\npeer_ep_group: right6\nmtu: 1279\n",
    ["connection.yaml:9: IpsecSiteConnection to-right: mtu 1279 is below IPv6's minimum of 1280: raise it"],
  ],
  [
    "an MTU above what a packet has",
    "connection.yaml",
    "psk:",
    "mtu: 65536\npsk:",
    ["connection.yaml:11: IpsecSiteConnection to-right: mtu is 65536: at most 65535"],
  ],
  [
    "a DPD timeout that equals the interval",
    "connection.yaml",
    "timeout: 120",
    "timeout: 30",
    ["connection.yaml:12: IpsecSiteConnection to-right: dpd.timeout 30 is not above dpd.interval 30: raise it"],
  ],
  [
    "a DPD timeout below the default interval",
    "connection.yaml",
    "interval: 30, timeout: 120",
    "timeout: 29",
    ["connection.yaml:12: IpsecSiteConnection to-right: dpd.timeout 29 is not above dpd.interval 30: raise it"],
  ],
  [
    "a negative DPD interval",
    "connection.yaml",
    "interval: 30",
    "interval: -1",
    ["connection.yaml:12: IpsecSiteConnection to-right: dpd.interval is -1: at least 0"],
  ],
  [
    "an unknown DPD action",
    "connection.yaml",
    "action: restart",
    "action: reboot",
    [
      'connection.yaml:12: IpsecSiteConnection to-right: dpd.action is "reboot": allowed hold, clear, restart, disabled, restart-by-peer',
    ],
  ],
  [
    "an unknown initiator",
    "connection.yaml",
    "psk:",
    "initiator: both\npsk:",
    ['connection.yaml:11: IpsecSiteConnection to-right: initiator is "both": allowed bi-directional, response-only'],
  ],
  [
    "certificates",
    "connection.yaml",
    "psk:",
    "auth_mode: cert\npsk:",
    ['connection.yaml:11: IpsecSiteConnection to-right: auth_mode is "cert": allowed psk'],
  ],
  [
    "both forms at once",
    "connection.yaml",
    "psk:",
    "peer_cidrs: [10.2.0.0/24]\npsk:",
    ["connection.yaml:11: IpsecSiteConnection to-right: peer_cidrs and endpoint groups are both given: keep one form"],
  ],
  [
    "no local group",
    "connection.yaml",
    "local_ep_group: left-local\n",
    "",
    [
      "connection.yaml:7: IpsecSiteConnection to-right: local_ep_group is missing: it belongs to peer_ep_group, give both",
    ],
  ],
  [
    "no peer group",
    "connection.yaml",
    "peer_ep_group: right\n",
    "",
    [
      "connection.yaml:7: IpsecSiteConnection to-right: peer_ep_group is missing: it belongs to local_ep_group, give both",
    ],
  ],
  [
    "no endpoints at all",
    "connection.yaml",
    "local_ep_group: left-local\npeer_ep_group: right\n",
    "",
    ["connection.yaml:1: IpsecSiteConnection to-right: local_ep_group and peer_ep_group are missing: give both"],
  ],
  [
    "a local group of type cidr",
    "connection.yaml",
    "local_ep_group: left-local",
    "local_ep_group: right",
    [
      "connection.yaml:7: IpsecSiteConnection to-right: local_ep_group right is of type cidr: what is behind us are subnets of ours, use a group of type subnet",
    ],
  ],
  [
    "a peer group of type subnet",
    "connection.yaml",
    "peer_ep_group: right",
    "peer_ep_group: left-local",
    [
      "connection.yaml:8: IpsecSiteConnection to-right: peer_ep_group left-local is of type subnet: a peer's networks are no subnets of ours, use a group of type cidr",
    ],
  ],
  [
    "both groups of the wrong type",
    "connection.yaml",
    "local_ep_group: left-local\npeer_ep_group: right\n",
    "local_ep_group: right\npeer_ep_group: left-local\n",
    [
      "connection.yaml:7: IpsecSiteConnection to-right: local_ep_group right is of type cidr: what is behind us are subnets of ours, use a group of type subnet",
      "connection.yaml:8: IpsecSiteConnection to-right: peer_ep_group left-local is of type subnet: a peer's networks are no subnets of ours, use a group of type cidr",
    ],
  ],
  [
    "a local group of both families",
    "base.yaml",
    "endpoints: [left-net]",
    "endpoints: [left-net, left-net6]",
    [
      "connection.yaml:7: IpsecSiteConnection to-right: local_ep_group left-local mixes IPv4 and IPv6 (10.1.0.0/24, 2001:db8:1::/64): make one connection for each",
    ],
  ],
  [
    "a peer group of both families",
    "base.yaml",
    "endpoints: [10.2.0.0/24]",
    'endpoints: [10.2.0.0/24, "2001:db8:2::/48"]',
    [
      "connection.yaml:8: IpsecSiteConnection to-right: peer_ep_group right mixes IPv4 and IPv6 (10.2.0.0/24, 2001:db8:2::/48): make one connection for each",
    ],
  ],
  [
    "a local IPv4 network and a peer's IPv6 network",
    "connection.yaml",
    "peer_ep_group: right",
    "peer_ep_group: right6",
    [
      "connection.yaml:8: IpsecSiteConnection to-right: local_ep_group left-local is IPv4, but peer_ep_group right6 is IPv6 (10.1.0.0/24, 2001:db8:2::/48): make one connection for each",
    ],
  ],
  [
    "a peer's network that is our own",
    "base.yaml",
    "endpoints: [10.2.0.0/24]",
    "endpoints: [10.1.0.0/24]",
    [
      "connection.yaml:8: IpsecSiteConnection to-right: the peer's network 10.1.0.0/24 is our own 10.1.0.0/24 (local_ep_group left-local): what is for it would never leave; correct one of them",
    ],
  ],
  [
    "a peer's network inside our own",
    "base.yaml",
    "endpoints: [10.2.0.0/24]",
    "endpoints: [10.2.0.0/24, 10.1.0.128/25]",
    [
      "connection.yaml:8: IpsecSiteConnection to-right: the peer's network 10.1.0.128/25 lies in our own 10.1.0.0/24 (local_ep_group left-local): what is for it would never leave; correct one of them",
    ],
  ],
  [
    "peer CIDRs without a local subnet",
    "connection.yaml",
    "local_ep_group: left-local\npeer_ep_group: right\n",
    "peer_cidrs: [10.2.0.0/24]\n",
    [
      "connection.yaml:7: IpsecSiteConnection to-right: peer_cidrs need a local subnet, but VpnService left has none: give it one, or use local_ep_group and peer_ep_group",
    ],
  ],
  [
    "no peer CIDRs",
    "older.yaml",
    "peer_cidrs: [10.2.0.0/24], ",
    "",
    [
      "older.yaml:3: IpsecSiteConnection to-right: peer_cidrs is missing: VpnService left has subnet left-net, so name the peer's networks, or give local_ep_group and peer_ep_group",
    ],
  ],
  [
    "an empty list of peer CIDRs",
    "older.yaml",
    "[10.2.0.0/24]",
    "[]",
    ["older.yaml:3: IpsecSiteConnection to-right: peer_cidrs is an empty list: give at least one"],
  ],
  [
    "a peer CIDR twice",
    "older.yaml",
    "[10.2.0.0/24]",
    "[10.2.0.0/24, 10.2.0.0/24]",
    ["older.yaml:3: IpsecSiteConnection to-right: peer_cidrs.1 10.2.0.0/24 is given twice: remove one"],
  ],
  [
    "a peer CIDR with host bits",
    "older.yaml",
    "[10.2.0.0/24]",
    "[10.2.0.9/24]",
    [
      'older.yaml:3: IpsecSiteConnection to-right: peer_cidrs.0 is "10.2.0.9/24", which has host bits set: write 10.2.0.0/24',
    ],
  ],
  [
    "peer CIDRs of both families",
    "older.yaml",
    "[10.2.0.0/24]",
    '[10.2.0.0/24, "2001:db8:2::/48"]',
    [
      "older.yaml:3: IpsecSiteConnection to-right: peer_cidrs mixes IPv4 and IPv6 (10.2.0.0/24, 2001:db8:2::/48): make one connection for each",
    ],
  ],
  [
    "peer CIDRs of the other family than the subnet",
    "older.yaml",
    "[10.2.0.0/24]",
    '["2001:db8:2::/48"]',
    [
      "older.yaml:3: IpsecSiteConnection to-right: subnet left-net of VpnService left is IPv4, but peer_cidrs is IPv6 (10.1.0.0/24, 2001:db8:2::/48): make one connection for each",
    ],
  ],
  [
    "a peer CIDR inside the subnet",
    "older.yaml",
    "[10.2.0.0/24]",
    "[10.1.0.0/26]",
    [
      "older.yaml:3: IpsecSiteConnection to-right: the peer's network 10.1.0.0/26 lies in our own 10.1.0.0/24 (subnet left-net of VpnService left): what is for it would never leave; correct one of them",
    ],
  ],
];

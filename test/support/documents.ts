// Documents without a problem, to be spoilt by replacing text.
export const BASE = `
- {kind: Router, project: acme, name: left-router, id: 7d3c2a52-4a55-4c1c-9a3b-0d1f6f1a2b01}
- {kind: Network, name: internet, mtu: 1500, subnets: [{cidr: 203.0.113.0/24, gateway_ip: 203.0.113.1}, {cidr: 2001:db8:ff::/64, gateway_ip: 2001:db8:ff::1}]}
- {kind: Subnet, project: acme, name: left-net, cidr: 10.1.0.0/24, gateway_ip: 10.1.0.1}
- {kind: Subnet, project: acme, name: left-net6, cidr: 2001:db8:1::/64}
- {kind: IkePolicy, project: acme, name: strong, ike_version: v2, encryption_algorithm: aes-256, auth_algorithm: sha256, pfs: group14, lifetime: {units: seconds, value: 3600}}
- {kind: IpsecPolicy, project: acme, name: strong, encryption_algorithm: aes-256, auth_algorithm: sha256, pfs: group14}
- {kind: EndpointGroup, project: acme, name: left-local, type: subnet, endpoints: [left-net]}
- {kind: EndpointGroup, project: acme, name: left6, type: subnet, endpoints: [left-net6]}
- {kind: EndpointGroup, project: acme, name: right, type: cidr, endpoints: [10.2.0.0/24]}
- {kind: EndpointGroup, project: acme, name: right6, type: cidr, endpoints: ["2001:db8:2::/48"]}
`;

export const SERVICE = `
- {kind: VpnService, project: acme, name: left, host: gw-left, router: left-router, external: {network: internet, fixed_ips: [203.0.113.10, 2001:db8:ff::10]}}
`;

export const CONNECTION = `kind: IpsecSiteConnection
project: acme
name: to-right
vpnservice: left
ikepolicy: strong
ipsecpolicy: strong
local_ep_group: left-local
peer_ep_group: right
peer_address: 203.0.113.20
peer_id: 203.0.113.20
psk: {file: psk/to-right}
dpd: {action: restart, interval: 30, timeout: 120}
`;

export const OLDER_FORM = `
- {kind: VpnService, project: acme, name: left, host: gw-left, router: left-router, subnet: left-net, external: {network: internet, fixed_ips: [203.0.113.10]}}
- {kind: IpsecSiteConnection, project: acme, name: to-right, vpnservice: left, ikepolicy: strong, ipsecpolicy: strong, peer_cidrs: [10.2.0.0/24], peer_address: 203.0.113.20, peer_id: 203.0.113.20, psk: {file: psk/to-right}}
`;

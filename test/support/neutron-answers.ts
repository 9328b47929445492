// What a Neutron server would answer for one site of the lab: the recorded answers with ids and addresses of the lab.
import { fixtureResult } from "./neutron-fixtures.ts";

export type NeutronSite = {
  readonly host: string;
  readonly router: string;
  readonly service: string;
  readonly connection: string;
  readonly address: string;
  readonly address6: string;
  readonly subnet: string;
  readonly peerAddress: string;
  readonly peerSubnet: string;
  readonly psk: string;
  readonly status: string;
  /** Name of the external network. */
  readonly network: string;
  readonly ports: { readonly gateway: string; readonly transit: string };
  readonly macs: { readonly gateway: string; readonly transit: string };
};

const SERVICES = "017";
const DETAILS = "019";
const SUBNETS = ["021", "023"];
const SUBNET_V4 = "023";
// The stock agent never asks for the transit subnet; its id stands in the recorded details.
const TRANSIT_SUBNET = "2160803c-80fc-49a4-94fc-a6622b07349a";

function adapted(recorded: string, replacements: Readonly<Record<string, string>>): unknown {
  let text = JSON.stringify(fixtureResult("ovn", recorded));
  // In one go, so that what one replacement brings is not found by the next.
  const found = new RegExp(
    Object.keys(replacements)
      .map((key) => key.replaceAll(/[.]/g, "\\."))
      .join("|"),
    "g",
  );
  text = text.replaceAll(found, (key) => replacements[key] ?? key);
  return JSON.parse(text);
}

const replacementsOf = (site: NeutronSite): Readonly<Record<string, string>> => ({
  "gw-host1": site.host,
  "f045ce96-7f2f-44ac-bec1-a7c888514e92": site.router,
  "764a65aa-113a-4dba-bd58-f6812b98b3b1": site.service,
  "66156e04-c1d5-49ce-b211-7e108a890dcd": site.connection,
  "3a6f05b0-ecd3-4d25-97e5-cca674aa23ba": site.ports.gateway,
  "426a5f41-bd43-4caa-bc7d-e634cda3e13b": site.ports.transit,
  "fa:16:3e:b4:ea:d2": site.macs.gateway,
  "fa:16:3e:7c:aa:ce": site.macs.transit,
  "203.0.113.148": site.address,
  "2001:db8:ff::1280": site.address6,
  "203.0.113.200": site.peerAddress,
  "10.10.1.0/24": site.subnet,
  "10.20.1.0/24": site.peerSubnet,
  "secret-fx1": site.psk,
  PENDING_CREATE: site.status,
  '"name":"public"': `"name":${JSON.stringify(site.network)}`,
});

/** In the words of python/neutron_server.py. */
export function neutronAnswers(sites: readonly NeutronSite[]): unknown {
  const byHost = sites.map((site) => [site.host, adapted(SERVICES, replacementsOf(site))]);
  const byRouter = sites.map((site) => [site.router, adapted(DETAILS, replacementsOf(site))]);
  const recorded = SUBNETS.map((number) => fixtureResult("ovn", number) as { readonly id: string });
  const transit = { ...(fixtureResult("ovn", SUBNET_V4) as object), id: TRANSIT_SUBNET, name: "transit" };
  const subnets = [...recorded, { ...transit, id: TRANSIT_SUBNET, cidr: "169.254.0.0/28", gateway_ip: null }];
  return {
    get_vpn_services_on_host: { results: Object.fromEntries(byHost) as unknown },
    get_vpn_transit_network_details: { results: Object.fromEntries(byRouter) as unknown },
    get_subnet_info: { results: Object.fromEntries(subnets.map((subnet) => [subnet.id, subnet])) },
  };
}

// The packet filter and NAT that Neutron's L3 agent writes into the namespace of a centralized router, by the tools it uses.
import { execa } from "execa";
import { QG_LINK, QR_LINK } from "../../scripts/world.ts";

export type Iptables = "nft" | "legacy";

export type NeutronRouter = {
  readonly namespace: string;
  /** Its address on the external network, which everything is translated to. */
  readonly external: string;
  readonly floating?: { readonly fixed: string; readonly external: string };
  readonly iptables?: Iptables;
};

/** Replaces all of the agent's chains, as it does with every change of a router. */
export async function writeNeutronChains(router: NeutronRouter): Promise<void> {
  const { namespace, iptables = "nft" } = router;
  const restore = (program: string, rules: string): Promise<unknown> =>
    execa("ip", ["netns", "exec", namespace, `${program}-${iptables}-restore`, "-n"], { input: rules });
  const isFirst = !(await savedRules(router)).includes("neutron-l3-agent-snat");
  await restore("iptables", [mangle(isFirst), nat(router, isFirst), filter(isFirst)].join(""));
  await restore("ip6tables", [mangle(isFirst), filter(isFirst)].join(""));
}

export async function savedRules({ namespace, iptables = "nft" }: NeutronRouter): Promise<string> {
  const { stdout } = await execa("ip", ["netns", "exec", namespace, `iptables-${iptables}-save`]);
  return stdout.replaceAll(/^#.*\n?/gm, "").replaceAll(/\[\d+:\d+\]/g, "[0:0]");
}

const WRAP = "neutron-l3-agent";
const table = (name: string, chains: readonly string[], rules: readonly string[]): string =>
  [`*${name}`, ...chains.map((chain) => `:${chain} - [0:0]`), ...rules, "COMMIT", ""].join("\n");

/** The jumps of the built-in chains are made once. */
const jumps = (isFirst: boolean, from: readonly string[], more: readonly string[] = []): readonly string[] =>
  isFirst ? [...more, ...from.map((chain) => `-A ${chain} -j ${WRAP}-${chain}`)] : [];

function nat({ external, floating }: NeutronRouter, isFirst: boolean): string {
  const ofFloating =
    floating === undefined
      ? []
      : [
          `-A ${WRAP}-OUTPUT -d ${floating.external}/32 -j DNAT --to-destination ${floating.fixed}`,
          `-A ${WRAP}-PREROUTING -d ${floating.external}/32 -j DNAT --to-destination ${floating.fixed}`,
          `-A ${WRAP}-float-snat -s ${floating.fixed}/32 -j SNAT --to-source ${floating.external} --random-fully`,
        ];
  return table(
    "nat",
    [
      ...["OUTPUT", "POSTROUTING", "PREROUTING", "float-snat", "snat"].map((name) => `${WRAP}-${name}`),
      "neutron-postrouting-bottom",
    ],
    [
      ...jumps(isFirst, ["PREROUTING", "OUTPUT", "POSTROUTING"]),
      ...(isFirst ? ["-A POSTROUTING -j neutron-postrouting-bottom"] : []),
      `-A ${WRAP}-POSTROUTING ! -o ${QG_LINK} -m conntrack ! --ctstate DNAT -j ACCEPT`,
      `-A ${WRAP}-PREROUTING -d 169.254.169.254/32 -i qr-+ -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 9697`,
      ...ofFloating,
      `-A ${WRAP}-snat -j ${WRAP}-float-snat`,
      `-A ${WRAP}-snat -o ${QG_LINK} -j SNAT --to-source ${external} --random-fully`,
      `-A ${WRAP}-snat -m mark ! --mark 0x2/0xffff -m conntrack --ctstate DNAT -j SNAT --to-source ${external} --random-fully`,
      `-A neutron-postrouting-bottom -m comment --comment "Perform source NAT on outgoing traffic." -j ${WRAP}-snat`,
    ],
  );
}

const mangle = (isFirst: boolean): string =>
  table(
    "mangle",
    ["PREROUTING", "mark", "scope"].map((name) => `${WRAP}-${name}`),
    [
      ...jumps(isFirst, ["PREROUTING"]),
      `-A ${WRAP}-PREROUTING -j ${WRAP}-mark`,
      `-A ${WRAP}-PREROUTING -j ${WRAP}-scope`,
      `-A ${WRAP}-PREROUTING -m connmark ! --mark 0x0/0xffff0000 -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffff0000`,
      `-A ${WRAP}-mark -i ${QG_LINK} -j MARK --set-xmark 0x2/0xffff`,
      ...[QR_LINK, QG_LINK].map((link) => `-A ${WRAP}-scope -i ${link} -j MARK --set-xmark 0x4000000/0xffff0000`),
    ],
  );

const filter = (isFirst: boolean): string =>
  table(
    "filter",
    [...["FORWARD", "INPUT", "OUTPUT", "local", "scope"].map((name) => `${WRAP}-${name}`), "neutron-filter-top"],
    [
      ...jumps(
        isFirst,
        ["INPUT", "FORWARD", "OUTPUT"],
        ["-A FORWARD -j neutron-filter-top", "-A OUTPUT -j neutron-filter-top"],
      ),
      `-A ${WRAP}-FORWARD -j ${WRAP}-scope`,
      `-A ${WRAP}-INPUT -m mark --mark 0x1/0xffff -j ACCEPT`,
      `-A ${WRAP}-INPUT -p tcp -m tcp --dport 9697 -j DROP`,
      `-A ${WRAP}-scope -o ${QR_LINK} -m mark ! --mark 0x4000000/0xffff0000 -j DROP`,
      `-A ${WRAP}-scope -o ${QG_LINK} -m mark ! --mark 0x4000000/0xffff0000 -j DROP`,
      `-A neutron-filter-top -j ${WRAP}-local`,
    ],
  );

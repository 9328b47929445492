// The id under which Neutron lists this chassis' VPN agent (neutron_vpnaas/agent/ovn/vpn/agent.py, OvnVpnAgent).
import { uuidOfName } from "../../core/names.ts";

/** OVN_VPNAGENT_UUID_NAMESPACE there, for a chassis whose name is no UUID. */
const CHASSIS_NAMESPACE = "e1ce3b12-b1e0-4c81-ba27-07c0fec9c12b";
const AGENT = "vpn_agent";

/** The same for ever: a stock agent that ran here before, or runs here after us, is the same agent to Neutron. */
export const agentIdOf = (chassis: string): string =>
  uuidOfName(uuidIn(chassis) ?? uuidOfName(CHASSIS_NAMESPACE, chassis), AGENT);

/** In every form that Python's `uuid.UUID` reads: hyphens anywhere, capitals, in braces, as a URN. */
function uuidIn(text: string): string | undefined {
  const hex = text
    .replace("urn:", "")
    .replace("uuid:", "")
    .replace(/^[{}]+|[{}]+$/g, "")
    .replaceAll("-", "");
  return /^[0-9a-fA-F]{32}$/.test(hex) ? hex.toLowerCase() : undefined;
}

"""The agent's side of the VPN RPC: listens as `ipsec_agent` of one host and tells what it hears.

usage: vpn_agent.py URL HOST [EXCHANGE]

Standard output, one JSON object a line:
  {"event": "ready"}
  {"event": "cast", "method", "args"}
The end of standard input ends the program.
"""
import sys

import oslo_messaging

import peer


class IpsecAgent:
    target = oslo_messaging.Target(version="1.0")

    def vpnservice_updated(self, context, **args):
        peer.emit({"event": "cast", "method": "vpnservice_updated", "args": args})

    def vpnservice_removed_from_agent(self, context, **args):
        peer.emit({"event": "cast", "method": "vpnservice_removed_from_agent", "args": args})

    def vpnservice_added_to_agent(self, context, **args):
        peer.emit({"event": "cast", "method": "vpnservice_added_to_agent", "args": args})


def main():
    url, host = sys.argv[1:3]
    transport = peer.transport(url, sys.argv[3] if len(sys.argv) > 3 else "neutron")
    target = oslo_messaging.Target(topic="ipsec_agent", server=host)
    server = oslo_messaging.get_rpc_server(transport, target, [IpsecAgent()], executor="threading")
    server.start()
    peer.emit({"event": "ready"})
    for _ in sys.stdin:
        pass
    peer.leave()


main()

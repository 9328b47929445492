"""The server side of the VPN RPC: serves `ipsec_driver` and `q-reports-plugin` with canned answers and speaks to agents.

usage: neutron_server.py URL ANSWERS [EXCHANGE]

ANSWERS is a JSON file {method: answer}; an answer is one of
  {"result": value}
  {"results": {value of the method's only argument: value}}
  {"raise": {"class": name of a builtin exception, "message": text}}
each with an optional "delaySeconds". A method without an answer returns null.

Standard output, one JSON object a line:
  {"event": "ready"}
  {"event": "call", "method", "args", "context"}   every call that came in
  {"event": "status", "status"}                    what update_status brought
  {"event": "answer", "id", "result" | "error"}    the answer to a command, see peer.py
  {"event": "error", "message"}                    a command that could not be understood

Standard input, one command a line; its end ends the program:
  cast {"host", "method", "args"}
  call {"id", "host", "method", "args", "timeoutSeconds", "monitorTimeoutSeconds"}
  answers FILE
"""
import builtins
import datetime
import json
import sys
import threading
import time

import oslo_messaging

import peer

answers = {}


def load(path):
    global answers
    with open(path) as file:
        answers = json.load(file)


def answer(context, method, args, key):
    peer.emit({"event": "call", "method": method, "args": args, "context": context})
    canned = answers.get(method, {})
    time.sleep(canned.get("delaySeconds", 0))
    if "raise" in canned:
        raise getattr(builtins, canned["raise"]["class"])(canned["raise"]["message"])
    if "results" in canned:
        return canned["results"].get(key)
    return canned.get("result")


class IpsecDriver:
    target = oslo_messaging.Target(version="1.0")

    def get_vpn_services_on_host(self, context, host=None):
        return answer(context, "get_vpn_services_on_host", {"host": host}, host)

    def update_status(self, context, status):
        peer.emit({"event": "status", "status": status})
        return answer(context, "update_status", {"status": status}, None)

    def get_vpn_transit_network_details(self, context, router_id):
        return answer(context, "get_vpn_transit_network_details", {"router_id": router_id}, router_id)

    def get_subnet_info(self, context, subnet_id=None):
        return answer(context, "get_subnet_info", {"subnet_id": subnet_id}, subnet_id)


class Reports:
    # neutron's AgentExtRpcCallback: the time is read with a fraction of a second, and no other way.
    target = oslo_messaging.Target(version="1.2")

    def report_state(self, context, agent_state, time):
        datetime.datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f")
        return answer(context, "report_state", agent_state["agent_state"], None)


def obey(transport, line):
    command, _, rest = line.strip().partition(" ")
    if command == "answers":
        load(rest)
    elif command in ("cast", "call"):
        order = json.loads(rest)
        # Neutron's agent API: topic ipsec_agent, server = host.
        target = oslo_messaging.Target(topic="ipsec_agent", server=order["host"], version="1.0")
        # A call waits for its answer and must not keep later commands waiting.
        threading.Thread(target=peer.perform, args=(transport, target, dict(order, kind=command)), daemon=True).start()
    else:
        raise ValueError("unknown command " + command)


def main():
    url, path = sys.argv[1:3]
    load(path)
    transport = peer.transport(url, sys.argv[3] if len(sys.argv) > 3 else "neutron")
    target = oslo_messaging.Target(topic="ipsec_driver", server="neutron-server")
    server = oslo_messaging.get_rpc_server(transport, target, [IpsecDriver()], executor="threading")
    server.start()
    reports = oslo_messaging.Target(topic="q-reports-plugin", server="neutron-server")
    oslo_messaging.get_rpc_server(transport, reports, [Reports()], executor="threading").start()
    peer.emit({"event": "ready"})
    for line in sys.stdin:
        try:
            obey(transport, line)
        except Exception as error:
            peer.emit({"event": "error", "message": repr(error)})
    peer.leave()


main()

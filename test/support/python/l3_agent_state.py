"""Stands for L3 agents towards a Neutron server, by that server's own libraries: reports that they are alive, and takes in
what the server tells them of routers. It realises none.

usage: l3_agent_state.py NEUTRON_CONF HOST...

Standard output: "reported" after every round, every REPORT_INTERVAL_SECONDS. It runs until it is killed.
"""
import sys
import time

import oslo_messaging
from neutron.agent import rpc as agent_rpc
from neutron.common import config
from neutron.conf.agent import common as agent_conf
from neutron_lib import context, rpc
from neutron_lib.agent import topics
from oslo_config import cfg

REPORT_INTERVAL_SECONDS = 5
AGENT_TYPE = "L3 agent"


class L3Agent:
    """Some of these are calls: the server waits for an answer."""

    target = oslo_messaging.Target(version="1.6")

    def router_added_to_agent(self, context, **args):
        return None

    def router_removed_from_agent(self, context, **args):
        return None

    def routers_updated(self, context, **args):
        return None

    def router_deleted(self, context, **args):
        return None

    def agent_updated(self, context, **args):
        return None


def state_of(host, is_start):
    state = {
        "binary": "neutron-l3-agent",
        "host": host,
        "topic": topics.L3_AGENT,
        "agent_type": AGENT_TYPE,
        "configurations": {
            "agent_mode": "legacy",
            "handle_internal_only_routers": True,
            "interface_driver": "openvswitch",
            "log_agent_heartbeats": False,
            "extensions": [],
            "routers": 0,
            "ex_gw_ports": 0,
            "interfaces": 0,
            "floating_ips": 0,
        },
    }
    if is_start:
        state["start_flag"] = True
    return state


def main():
    conf, *hosts = sys.argv[1:]
    config.register_common_config_options()
    agent_conf.register_agent_state_opts_helper(cfg.CONF)
    config.init(["--config-file", conf])
    # It is also how long an answer is waited for, and at first the server may not listen yet.
    cfg.CONF.set_override("report_interval", REPORT_INTERVAL_SECONDS, "AGENT")
    for host in hosts:
        target = oslo_messaging.Target(topic=topics.L3_AGENT, server=host)
        oslo_messaging.get_rpc_server(rpc.TRANSPORT, target, [L3Agent()], executor="threading").start()
    server = agent_rpc.PluginReportStateAPI(topics.REPORTS)
    starting = set(hosts)
    while True:
        for host in hosts:
            try:
                server.report_state(context.get_admin_context_without_session(), state_of(host, host in starting), True)
                starting.discard(host)
            except oslo_messaging.MessagingException as error:
                print("not reported:", type(error).__name__, flush=True)
        if not starting:
            print("reported", flush=True)
        time.sleep(REPORT_INTERVAL_SECONDS if not starting else 0.2)


main()

"""A client of oslo.messaging: any method of any topic.

usage: oslo_client.py URL TOPIC [SERVER [EXCHANGE]]

Standard input, one request a line; its end ends the program:
  {"id", "kind": "call" or "cast", "method", "args", "version", "namespace", "timeoutSeconds", "monitorTimeoutSeconds", "context"}
all but "method" optional. Standard output: {"event": "ready"}, then one answer a request, see peer.py.
"""
import json
import sys
import threading

import oslo_messaging

import peer


def main():
    url, topic = sys.argv[1:3]
    server = sys.argv[3] if len(sys.argv) > 3 and sys.argv[3] else None
    transport = peer.transport(url, sys.argv[4] if len(sys.argv) > 4 else "neutron")
    peer.emit({"event": "ready"})
    for line in sys.stdin:
        order = json.loads(line)
        target = oslo_messaging.Target(
            topic=topic, server=server, version=order.get("version", "1.0"), namespace=order.get("namespace")
        )
        threading.Thread(target=peer.perform, args=(transport, target, order), daemon=True).start()
    peer.leave()


main()

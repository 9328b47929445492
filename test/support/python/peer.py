"""What the scripts beside this file share: the transport, JSON lines, and one request with its answer.

An answer is {"event": "answer", "id", "result"} or
{"event": "answer", "id", "error": {"class", "remoteClass", "message", "traceback"}}.
"""
import json
import os
import sys
import threading

from oslo_config import cfg
import oslo_messaging

_lock = threading.Lock()


def emit(value):
    with _lock:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def transport(url, exchange):
    # The global one: oslo.messaging registers its metrics options nowhere else.
    conf = cfg.CONF
    conf([], default_config_files=[], default_config_dirs=[])
    oslo_messaging.set_transport_defaults(control_exchange=exchange)
    return oslo_messaging.get_rpc_transport(conf, url=url)


def perform(transport, target, order):
    answer = {"event": "answer", "id": order.get("id")}
    try:
        client = oslo_messaging.get_rpc_client(
            transport,
            target,
            timeout=order.get("timeoutSeconds", 10),
            call_monitor_timeout=order.get("monitorTimeoutSeconds"),
        )
        send = client.cast if order.get("kind") == "cast" else client.call
        answer["result"] = send(order.get("context", {"is_admin": True}), order["method"], **order.get("args", {}))
    except Exception as error:
        answer["error"] = {
            "class": type(error).__name__,
            "remoteClass": getattr(error, "exc_type", None),
            "message": str(getattr(error, "value", error)),
            "traceback": getattr(error, "traceback", None),
        }
    emit(answer)


def leave():
    """Ends without waiting for the driver's threads: the broker drops what a closed socket leaves."""
    sys.stdout.flush()
    os._exit(0)

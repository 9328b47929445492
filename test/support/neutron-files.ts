// Configuration files of Neutron as devstack, kolla and Debian leave them on a machine, with made-up names and passwords.

export const PASSWORDS = ["stack-secret", "kolla-hunter2", "debian-correct-horse", "keystone-secret", "db-secret"];

export const DEVSTACK_NEUTRON = `
[DEFAULT]
l3_ha = False
debug = True
core_plugin = ml2
service_plugins = ovn-router,ovn-vpnaas
state_path = /opt/stack/data/neutron
host = $hostname_prefix-1
hostname_prefix = devstack
logging_exception_prefix = ERROR %(name)s %(instance)s
logging_context_format_string = %(color)s%(levelname)s %(name)s [%(global_request_id)s]%(color)s %(message)s
bind_host = 0.0.0.0
use_syslog = False
transport_url = rabbit://stackrabbit:stack-secret@127.0.0.1:5672/
notify_nova_on_port_status_changes = True

[oslo_concurrency]
lock_path = $state_path/lock

[database]
connection = mysql+pymysql://root:db-secret@127.0.0.1/neutron?charset=utf8

[keystone_authtoken]
memcached_servers = localhost:11211
auth_type = password
password = keystone-secret

[oslo_messaging_rabbit]
rabbit_userid = stackrabbit
`;

export const DEVSTACK_OVN_VPN_AGENT = `
[DEFAULT]
interface_driver = openvswitch

[AGENT]
root_helper_daemon = sudo /usr/local/bin/neutron-rootwrap-daemon /etc/neutron/rootwrap.conf
root_helper = sudo /usr/local/bin/neutron-rootwrap /etc/neutron/rootwrap.conf
report_interval = 30

[vpnagent]
vpn_device_driver = neutron_vpnaas.services.vpn.device_drivers.ovn_ipsec.OvnStrongSwanDriver

[ovs]
ovsdb_connection = unix:/var/run/openvswitch/db.sock

[ovn]
ovn_nb_connection = tcp:10.0.2.15:6641
ovn_sb_connection = tcp:10.0.2.15:6642
`;

export const KOLLA_NEUTRON = `[DEFAULT]
debug = False

log_dir = /var/log/kolla/neutron

use_stderr = False
bind_host = 10.0.0.11
bind_port = 9696

api_paste_config = /etc/neutron/api-paste.ini

api_workers = 5
rpc_workers = 3

state_path = /var/lib/neutron/kolla

core_plugin = ml2
service_plugins = ovn-vpnaas,flow_classifier,qos,segments,port_forwarding,log,ovn-router

transport_url = rabbit://openstack:kolla-hunter2@10.0.0.11:5671,openstack:kolla-hunter2@10.0.0.12:5671,openstack:kolla-hunter2@10.0.0.13:5671//
rpc_response_timeout = 300
host = net-1

[nova]
auth_url = https://10.0.0.10:5000
password = keystone-secret

[oslo_middleware]
enable_proxy_headers_parsing = True

[oslo_messaging_notifications]
transport_url = rabbit://openstack:kolla-hunter2@10.0.0.11:5671//
driver = noop

[oslo_messaging_rabbit]
use_queue_manager = true
heartbeat_in_pthread = false
rabbit_quorum_queue = true
rabbit_transient_quorum_queue = true
rabbit_stream_fanout = true
rabbit_qos_prefetch_count = 1
ssl = true
ssl_ca_file = /etc/ssl/certs/ca-certificates.crt

[agent]
report_interval = 60
`;

export const KOLLA_L3_AGENT = `[DEFAULT]
agent_mode = legacy

[agent]
extensions = vpnaas

[vpnagent]
vpn_device_driver = neutron_vpnaas.services.vpn.device_drivers.strongswan_ipsec.StrongSwanDriver
vpn_device_driver = neutron_vpnaas.services.vpn.device_drivers.libreswan_ipsec.LibreSwanDriver

[ipsec]
enable_detailed_logging = True
ipsec_status_check_interval = 45

[strongswan]
default_config_area = /etc/strongswan/strongswan.d
`;

/** Debian's files are the samples of oslo-config-generator, with some options taken out of their comments. */
export const DEBIAN_NEUTRON = `[DEFAULT]

#
# From neutron
#

# Where to store Neutron state files. (string value)
#state_path = /var/lib/neutron

# The service plugins Neutron will use (list value)
service_plugins =
  router,
  vpnaas

; Hostname to be used by the Neutron server, agents and services. (string value)
host : "gw-debian"

#
# From oslo.messaging
#

# The network address and optional user credentials for connecting to the
# messaging backend, in URL format. (string value)
#transport_url = rabbit://
transport_url = rabbit://openstack:debian-correct-horse@localhost:5672/openstack?heartbeat_timeout_threshold=30&kombu_compression=gzip

# The default exchange under which topics are scoped. (string value)
control_exchange = neutron-region-one

[oslo_messaging_rabbit]
# Deprecated group/name - [DEFAULT]/amqp_durable_queues
amqp_durable_queues = on
#rabbit_retry_interval = 1
rabbit_retry_interval = 2
rabbit_interval_max = 10
heartbeat_timeout_threshold = 90
rabbit_login_method = AMQPLAIN
kombu_failover_strategy = shuffle
`;

export const DEBIAN_L3_AGENT = `[DEFAULT]
interface_driver = linuxbridge
external_network_bridge = br-ex
gateway_external_network_id = 5c2a4f2e-1a61-4b6f-9d55-3a4e5b8f2c10
`;

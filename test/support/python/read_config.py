"""Prints as JSON what oslo.config makes of options in files: read_config.py FILE…, [[group, option, is_multi], …] on stdin."""
import json
import sys

from oslo_config import cfg

conf = cfg.ConfigOpts()
wanted = json.load(sys.stdin)
for group, option, is_multi in wanted:
    kind = cfg.MultiStrOpt if is_multi else cfg.StrOpt
    conf.register_opt(kind(option), group=None if group == "DEFAULT" else group)
conf([], project="none", default_config_files=sys.argv[1:], default_config_dirs=[])
values = []
for group, option, _ in wanted:
    values.append(getattr(conf if group == "DEFAULT" else getattr(conf, group), option.replace("-", "_")))
json.dump(values, sys.stdout)

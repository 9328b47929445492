// oslo.config itself reads the same files: what we take for the value of an option is what it takes.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { parseIni } from "../../../src/wire/oslo/ini.ts";
import { readSettings, sectionKey } from "../../../src/wire/oslo/settings.ts";
import {
  DEBIAN_L3_AGENT,
  DEBIAN_NEUTRON,
  DEVSTACK_NEUTRON,
  DEVSTACK_OVN_VPN_AGENT,
  KOLLA_L3_AGENT,
  KOLLA_NEUTRON,
} from "../../support/neutron-files.ts";

const SCRIPT = fileURLToPath(new URL("../../support/python/read_config.py", import.meta.url));
const directory = mkdtempSync(join(tmpdir(), "swanherd-test-oslo-config-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const isMulti = (option: string): boolean => option === "vpn_device_driver" || option.startsWith("multi_");

function bothRead(texts: readonly string[]) {
  const files = texts.map((text, index) => {
    const file = join(directory, `${String(index)}.conf`);
    writeFileSync(file, text);
    return { file, ...parseIni(text) };
  });
  expect(files.flatMap(({ problems }) => problems)).toEqual([]);
  const settings = readSettings(files);
  const keys = new Set(settings.all.map(({ section, option }) => `${sectionKey(section)}\n${option}`));
  const wanted = [...keys].map((key) => key.split("\n") as [string, string]);
  const ours = wanted.map(([section, option]) =>
    isMulti(option) ? settings.getAll(section, option).map(({ value }) => value) : settings.get(section, option)?.value,
  );
  const { stdout, stderr, status } = spawnSync("/usr/bin/python3", ["-B", SCRIPT, ...files.map(({ file }) => file)], {
    input: JSON.stringify(wanted.map(([section, option]) => [section, option, isMulti(option)])),
    encoding: "utf8",
    env: { PATH: "/usr/bin:/bin", LANG: "C.UTF-8" },
    timeout: 30_000,
  });
  if (status !== 0) throw new Error(stderr);
  const named = (values: readonly unknown[]) =>
    Object.fromEntries(wanted.map((key, at) => [key.join("."), values[at]]));
  return { ours: named(ours), oslos: named(JSON.parse(stdout) as unknown[]) };
}

const CORNERS = String.raw`[DEFAULT]
name = base
plain = $name-${"${name}"}-$$name-\$name-100$
chain = <$plain>
other = $grp.inner and ${"${grp.inner}"}
empty =
quoted = " kept "
half = "no
apostrophes = 'it''s'
colon: a = b
equals = a : b
lines = one
  two
	three
  # four

; said
tail = value # not a comment
multi_thing = 1
multi_thing = 2
twice = first
twice = second
[Grp]
inner = $name
name = own
[DEFAULT]
late = yes
`;

test.each([
  ["devstack", [DEVSTACK_NEUTRON, DEVSTACK_OVN_VPN_AGENT]],
  ["kolla", [KOLLA_NEUTRON, KOLLA_L3_AGENT]],
  ["Debian", [DEBIAN_NEUTRON, DEBIAN_L3_AGENT]],
  ["corners", [CORNERS, "[grp]\nname = later\n[DEFAULT]\nmulti_thing = 3\ntwice = third\n"]],
])("the files of %s", (_whose, texts) => {
  const { ours, oslos } = bothRead(texts);
  expect(Object.keys(ours).length).toBeGreaterThan(10);
  expect(ours).toEqual(oslos);
});

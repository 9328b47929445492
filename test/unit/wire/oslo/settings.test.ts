// Several files of oslo.config read together: which value is in force, and what $names in it stand for.
import { expect, test } from "vitest";
import { parseIni } from "../../../../src/wire/oslo/ini.ts";
import { readSettings } from "../../../../src/wire/oslo/settings.ts";

function settingsOf(...texts: readonly string[]) {
  const files = texts.map((text, index) => ({ file: `${String(index + 1)}.conf`, ...parseIni(text) }));
  return readSettings(files, new Map([["state_path", "/var/lib/neutron"]]));
}

const valueOf = (text: string, section = "DEFAULT", option = "a") => settingsOf(text).get(section, option)?.value;

test("the last value of the last file counts", () => {
  const settings = settingsOf("[DEFAULT]\na = 1\na = 2\nb = 3\n", "[DEFAULT]\na = 4\n");
  expect(settings.get("DEFAULT", "a")).toMatchObject({ file: "2.conf", line: 2, value: "4" });
  expect(settings.get("DEFAULT", "b")).toMatchObject({ file: "1.conf", line: 4, value: "3" });
  expect(settings.get("DEFAULT", "c")).toBeUndefined();
});

test("all values of an option are kept in their order, for those that may be given several times", () => {
  const settings = settingsOf("[vpnagent]\nd = 1\nd = 2\n", "[VPNAgent]\nd = 3\n");
  expect(settings.getAll("vpnagent", "d").map(({ value }) => value)).toEqual(["1", "2", "3"]);
});

test("a name stands for an option of the same section, else of [DEFAULT], or of the section it names", () => {
  expect(valueOf("[DEFAULT]\nx = d\n[s]\nx = s\na = $x\n", "s")).toBe("s");
  expect(valueOf("[DEFAULT]\nx = d\n[s]\na = <${x}>\n", "s")).toBe("<d>");
  expect(valueOf("[s]\nx = s\n[DEFAULT]\na = ${s.x}-$s.x\n")).toBe("s-s");
  expect(valueOf("[DEFAULT]\nx = $y\ny = $z\nz = 1\na = $x$x\n")).toBe("11");
});

test("what Neutron takes for an option that no file sets is known for some", () => {
  expect(valueOf("[DEFAULT]\na = $state_path/lock\n")).toBe("/var/lib/neutron/lock");
  expect(valueOf("[DEFAULT]\nstate_path = /srv\na = $state_path/lock\n")).toBe("/srv/lock");
});

test("$$ and \\$ are a dollar, and a $ before what is no name is one", () => {
  expect(valueOf("[DEFAULT]\nx = 1\na = $$x \\$x $ $1 100$\n")).toBe("$x $x $ $1 100$");
});

test("an unknown name stays as it stands, and is told", () => {
  expect(settingsOf("[DEFAULT]\na = pa$word-${my_ip}\n").get("DEFAULT", "a")).toMatchObject({
    value: "pa$word-${my_ip}",
    unresolved: ["word", "my_ip"],
  });
});

test("what refers to itself ends, and is told as unknown", () => {
  expect(settingsOf("[DEFAULT]\na = x$b\nb = y$a\n").get("DEFAULT", "a")?.unresolved).not.toEqual([]);
});

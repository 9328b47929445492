// systemd's words about units. Outputs are those of systemd 257.
import { describe, expect, test } from "vitest";
import {
  decodeProperties,
  startFailure,
  unitName,
  unitOfCgroup,
  unitProblems,
  variableOf,
} from "../../../../src/io/charon/unit.ts";

const NAMESPACE = "qvpn-aaaaaaaa-0000-4000-8000-000000000001";
const UNIT = `swanherd-charon@${NAMESPACE}.service`;

test("an instance of a template is named after the namespace", () => {
  expect(unitName("swanherd-charon@.service", NAMESPACE)).toBe(UNIT);
});

describe("the unit of a charon", () => {
  test.each([
    ["cgroup 2", `0::/system.slice/system-swanherd\\x2dcharon.slice/${UNIT}\n`, UNIT],
    ["cgroup 1", `12:devices:/x\n1:name=systemd:/system.slice/${UNIT}\n0::/system.slice/${UNIT}\n`, UNIT],
    ["another template", `0::/system.slice/old@${NAMESPACE}.service\n`, `old@${NAMESPACE}.service`],
  ])("is read from its control group: %s", (_, cgroup, unit) => {
    expect(unitOfCgroup(cgroup, NAMESPACE)).toBe(unit);
  });

  test.each([
    ["started by an agent that is a service", "0::/system.slice/swanherd.service\n"],
    ["of an agent that is an instance itself", "0::/system.slice/system-swanherd.slice/swanherd@gw-1.service\n"],
    ["in a session", "0::/user.slice/user-0.slice/session-3.scope\n"],
    ["below the unit of another namespace", "0::/swanherd-charon@qvpn-other.service\n"],
    ["in the root", "0::/\n"],
    ["not told", ""],
  ])("is none when it is %s", (_, cgroup) => {
    expect(unitOfCgroup(cgroup, NAMESPACE)).toBeUndefined();
  });
});

test("what systemctl show prints is taken apart at the first equals sign of each line", () => {
  const shown = "MainPID=0\nResult=exit-code\nEnvironment=A=1 B=2\nDocumentation=\n";
  expect(Object.fromEntries(decodeProperties(shown))).toEqual({
    MainPID: "0",
    Result: "exit-code",
    Environment: "A=1 B=2",
    Documentation: "",
  });
});

test.each([
  ["STRONGSWAN_CONF=/run/swanherd/x/strongswan.conf", "/run/swanherd/x/strongswan.conf"],
  ['A=1 "STRONGSWAN_CONF=/run/two words/\\"x" B=2', '/run/two words/"x'],
  ["STRONGSWAN_CONF=/first STRONGSWAN_CONF=/last", "/last"],
  ["MY_STRONGSWAN_CONF=/x", undefined],
  ["", undefined],
])("in the environment %j the variable is %j", (environment, value) => {
  expect(variableOf(environment, "STRONGSWAN_CONF")).toBe(value);
});

describe("a unit", () => {
  const expected = {
    strongswanConf: `/run/swanherd/${NAMESPACE}/strongswan.conf`,
    namespacePath: `/run/netns/${NAMESPACE}`,
  };
  const problems = (shown: string) => unitProblems(UNIT, "swanherd-charon@.service", decodeProperties(shown), expected);

  test("that fits has no problems", () => {
    const shown = `LoadState=loaded\nEnvironment=STRONGSWAN_CONF=${expected.strongswanConf}\nNetworkNamespacePath=${expected.namespacePath}\n`;
    expect(problems(shown)).toEqual([]);
  });

  test("that fits not is told with both values and the way to change it", () => {
    expect(problems(`Environment=STRONGSWAN_CONF=/run/other/x\nNetworkNamespacePath=\n`)).toEqual([
      `charonUnit: ${UNIT} has Environment=STRONGSWAN_CONF=/run/other/x, and this agent needs ${expected.strongswanConf}; change it with systemctl edit swanherd-charon@.service, or runDirectory here`,
      `charonUnit: ${UNIT} has NetworkNamespacePath=, and this agent needs ${expected.namespacePath}; change it with systemctl edit swanherd-charon@.service`,
    ]);
  });
});

test("why a unit did not start is what systemd keeps of its run, else what systemctl said", () => {
  const failed = decodeProperties("Result=exit-code\nExecMainStatus=225\n");
  expect(startFailure(UNIT, failed, "Job failed.")).toBe(
    `${UNIT} did not start (Result=exit-code, ExecMainStatus=225): see journalctl -u ${UNIT}`,
  );
  const refused = decodeProperties("Result=success\nExecMainStatus=0\n");
  expect(startFailure(UNIT, refused, "Assertion failed on job.")).toBe(
    `${UNIT} did not start (Assertion failed on job.): see journalctl -u ${UNIT}`,
  );
});

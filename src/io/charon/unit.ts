// What systemd says about the units of charons, and how they are called: names, `systemctl show` and cgroups as values.
// Pure; it asks nobody.

/** The instance of a template (`name@.service`) for one namespace. Nothing in our names wants escaping (systemd.unit(5)). */
export const unitName = (template: string, namespace: string): string =>
  template.replace("@.service", () => `@${namespace}.service`);

/**
 * The unit in whose control group a charon of this namespace runs, by /proc/<pid>/cgroup; undefined when it is no unit of
 * its own. Whatever the template was called: the setting may have been changed since.
 */
export function unitOfCgroup(cgroup: string, namespace: string): string | undefined {
  for (const line of cgroup.split("\n")) {
    // cgroups(7): `0::<path>` of version 2, `<n>:name=systemd:<path>` of version 1.
    const [, path] = /^(?:0:|\d+:name=systemd):(\/.*)$/.exec(line) ?? [];
    const unit = path?.slice(path.lastIndexOf("/") + 1);
    if (unit !== undefined && /^[^@]+@/.test(unit) && unit.endsWith(`@${namespace}.service`)) return unit;
  }
  return undefined;
}

export type UnitProperties = ReadonlyMap<string, string>;

/** The output of `systemctl show`: a line a property, the value up to the end of it. */
export const decodeProperties = (text: string): UnitProperties =>
  new Map(
    text.split("\n").flatMap((line) => {
      const at = line.indexOf("=");
      return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const];
    }),
  );

/** The value of a variable in the property Environment; an assignment with blanks in it stands in quotes. */
export function variableOf(environment: string, name: string): string | undefined {
  let value: string | undefined;
  for (const [word, quoted] of environment.matchAll(/"((?:[^"\\]|\\.)*)"|\S+/g)) {
    const assignment = quoted?.replaceAll(/\\(.)/g, "$1") ?? word;
    // The last one is in force (systemd.exec(5)).
    if (assignment.startsWith(`${name}=`)) value = assignment.slice(name.length + 1);
  }
  return value;
}

/** What `unitProblems` wants to see of a unit. */
export const CHECKED_PROPERTIES = ["LoadState", "Environment", "NetworkNamespacePath"] as const;

/** What keeps a loaded unit from running the charons of this agent, one sentence each. */
export function unitProblems(
  unit: string,
  template: string,
  properties: UnitProperties,
  expected: { readonly strongswanConf: string; readonly namespacePath: string },
): readonly string[] {
  const found = [
    {
      setting: "Environment=STRONGSWAN_CONF",
      is: variableOf(properties.get("Environment") ?? "", "STRONGSWAN_CONF"),
      wants: expected.strongswanConf,
      or: ", or runDirectory here",
    },
    {
      setting: "NetworkNamespacePath",
      is: properties.get("NetworkNamespacePath"),
      wants: expected.namespacePath,
      or: "",
    },
  ];
  return found
    .filter(({ is, wants }) => is !== wants)
    .map(
      ({ setting, is, wants, or }) =>
        `charonUnit: ${unit} has ${setting}=${is ?? ""}, and this agent needs ${wants}; ` +
        `change it with systemctl edit ${template}${or}`,
    );
}

/** Why a unit did not start, for people: by what systemd keeps of its last run, else by what systemctl said. */
export function startFailure(unit: string, properties: UnitProperties, said: string): string {
  const [result, status] = [properties.get("Result"), properties.get("ExecMainStatus")];
  const why = result === undefined || result === "success" ? said : `Result=${result}, ExecMainStatus=${status ?? ""}`;
  return `${unit} did not start (${why}): see journalctl -u ${unit}`;
}

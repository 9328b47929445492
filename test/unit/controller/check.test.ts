// What `swanherd controller --check` finds in a directory.
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkDocuments } from "../../../src/controller/check.ts";

const SAMPLE = fileURLToPath(new URL("../../../etc/documents", import.meta.url));

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "swanherd-check-"));
  await cp(SAMPLE, directory, { recursive: true });
});
afterEach(() => rm(directory, { recursive: true }));

async function edit(name: string, find: string, put: string): Promise<void> {
  const file = path.join(directory, name);
  const text = await readFile(file, "utf8");
  expect(text).toContain(find);
  await writeFile(file, text.replace(find, put));
}

test("the sample documents are fine", async () => {
  expect(await checkDocuments(directory, {})).toEqual({ directory, problems: [], notes: [] });
});

test("every problem is one line, with a path that can be opened from here, and never a key", async () => {
  await edit("acme/site-left.yaml", "peer_ep_group: right", "peer_ep_group: rigth");
  await edit("acme/branch.yaml", "psk: { file: psk/branch-to-right }", "psk: { value: hunter2 }\n  mtu: 67");
  expect((await checkDocuments(directory, {})).problems).toEqual([
    `${directory}/acme/branch.yaml:24: IpsecSiteConnection branch-to-right: psk is not usable: expected a text, {file: PATH}, {env: NAME} or {credential: NAME}`,
    `${directory}/acme/branch.yaml:25: IpsecSiteConnection branch-to-right: mtu is 67: at least 68 for IPv4, 1280 for IPv6`,
    `${directory}/acme/site-left.yaml:44: IpsecSiteConnection to-right: peer_ep_group names EndpointGroup "rigth", which project acme does not have; did you mean right?`,
  ]);
});

test("a key that only the controller's environment has is a note; one that is here is judged", async () => {
  await edit("acme/site-left.yaml", "{ file: psk/to-right }", "{ env: KEY }");
  await edit("acme/branch.yaml", "{ file: psk/branch-to-right }", "{ credential: key }");
  const { problems, notes } = await checkDocuments(directory, {});
  expect(problems).toEqual([]);
  expect(notes).toEqual([
    `${directory}/acme/branch.yaml:24: IpsecSiteConnection branch-to-right: psk names credential key, which is not here: the controller's unit has to have it in LoadCredential=`,
    `${directory}/acme/site-left.yaml:49: IpsecSiteConnection to-right: psk names environment variable KEY, which is not set here: the controller has to have it`,
  ]);
  expect((await checkDocuments(directory, { KEY: "" })).problems).toHaveLength(1);
});

test("a key's file that is missing is a problem", async () => {
  await rm(path.join(directory, "psk/to-right"));
  expect((await checkDocuments(directory, {})).problems).toEqual([
    `${directory}/acme/site-left.yaml:49: IpsecSiteConnection to-right: psk names file ${directory}/psk/to-right, which cannot be read (ENOENT)`,
  ]);
});

test("a directory that is not there, or empty, is a problem", async () => {
  const nowhere = path.join(directory, "nowhere");
  expect((await checkDocuments(nowhere, {})).problems).toEqual([
    `${nowhere}:1: the documents' directory cannot be read (ENOENT)`,
  ]);
  expect((await checkDocuments(path.join(directory, "psk"), {})).problems).toEqual([
    `${directory}/psk:1: the directory holds no *.yaml: if nothing is wanted any more, leave a file with \`[]\` in it`,
  ]);
});

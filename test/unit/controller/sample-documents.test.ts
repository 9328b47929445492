// The documents of etc/ are documents: read as the controller does, and taken as an agent does.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { readDocuments, readSecrets } from "../../../src/controller/directory.ts";
import { buildPayloads, servicesOnHost } from "../../../src/controller/payload.ts";
import { readCatalogue } from "../../../src/wire/documents/build.ts";
import { decodeServiceList } from "../../../src/wire/neutron/decode.ts";

const directory = fileURLToPath(new URL("../../../etc/documents", import.meta.url));

test("the sample documents have no problem, and an agent can use what they give", async () => {
  const { files, problems } = await readDocuments(directory);
  const result = readCatalogue(files);
  if (result.kind === "invalid") throw new Error(JSON.stringify(result.problems));
  const secrets = await readSecrets(result.psks, directory, {});
  expect([problems, secrets.problems, result.notes]).toEqual([[], [], []]);
  const payloads = buildPayloads(result.catalogue, secrets.secrets);
  for (const host of ["gw-left", "gw-branch"]) {
    const listed = decodeServiceList(servicesOnHost(payloads, host, () => "PENDING_CREATE"));
    const connections = [...listed.routers.values()].flatMap((router) => router.connections);
    expect(connections.map(({ kind }) => kind)).toEqual(["usable"]);
  }
});

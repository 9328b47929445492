// Ids are compared with what Python's `uuid.uuid5` gives for the same names.
import { expect, test } from "vitest";
import { agentIdOf } from "../../../../src/wire/ovn/agent-id.ts";

const BY_UUID = "14600321-7f6f-586e-94c8-1c62343c1b69";

test.each([
  ["8d3dd6d1-6c0c-4a1f-9b0e-3f9f7c1f2a10", BY_UUID],
  ["{8D3DD6D1-6C0C-4A1F-9B0E-3F9F7C1F2A10}", BY_UUID],
  ["urn:uuid:8d3dd6d16c0c4a1f9b0e3f9f7c1f2a10", BY_UUID],
  ["gw-left.example", "a912e17d-1f65-573a-a93b-edeef4fb9e2f"],
  ["größe", "fab846c1-4387-5ef6-9d5f-377a68e50a93"],
])("the agent of the chassis %s is %s", (chassis, id) => {
  expect(agentIdOf(chassis)).toBe(id);
});

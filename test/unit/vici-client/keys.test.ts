// Private keys with made-up answers.
import { expect, test } from "vitest";
import { getKeys, loadKey, loadToken, unloadKey } from "../../../src/vici-client/keys.ts";
import { aCharon } from "./requesters.ts";

const id = "04ae53c072ae83ce191d944c0b94760c6485a1c8";

test("a key is sent whole and never told in an error", async () => {
  const { vici, sent } = aCharon({ success: "no", errmsg: "parsing ANY private key failed" });
  const failure: unknown = await loadKey(vici, { type: "any", data: "MIGHsecret" }).catch((error: unknown) => error);
  expect(Object.fromEntries(sent[0]?.args ?? [])).toEqual({ type: "any", data: "MIGHsecret" });
  expect(JSON.stringify(failure) + String(failure)).not.toContain("secret");
});

test("an answer without the key's id is refused", async () => {
  await expect(loadKey(aCharon({ success: "yes" }).vici, { type: "rsa", data: "x" })).rejects.toThrow(/id is missing/);
});

test("a key on a token is found by its handle, slot and module", async () => {
  const { vici, sent } = aCharon({ success: "yes", id });
  expect(await loadToken(vici, { handle: "0a", slot: 3, module: "softhsm", pin: "1234" })).toBe(id);
  expect(await loadToken(vici, { handle: "0A" })).toBe(id);
  expect(sent.map(({ args }) => Object.fromEntries(args))).toEqual([
    { handle: "0a", slot: "3", module: "softhsm", pin: "1234" },
    { handle: "0A" },
  ]);
});

test("a PIN that charon would read as none is refused without being told", async () => {
  const { vici, sent } = aCharon({ success: "yes", id });
  const failure: unknown = await loadToken(vici, { handle: "0a", pin: "geheimniß" }).catch((error: unknown) => error);
  expect(String(failure)).toMatch(/pin is not printable ASCII/);
  expect(String(failure)).not.toContain("geheim");
  expect(sent).toEqual([]);
});

test.each(["", "0", "zz", "0a 0b", "0x0a"])(
  "an id of %j is refused, because charon would read another",
  async (wrong) => {
    const { vici, sent } = aCharon({ success: "yes", id });
    await expect(unloadKey(vici, wrong)).rejects.toThrow(/is not hex/);
    await expect(loadToken(vici, { handle: wrong })).rejects.toThrow(/is not hex/);
    expect(sent).toEqual([]);
  },
);

test("no list is an empty list", async () => {
  expect(await getKeys(aCharon({}).vici)).toEqual([]);
});

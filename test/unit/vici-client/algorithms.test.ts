// Algorithms with made-up answers.
import { expect, test } from "vitest";
import { getAlgorithms } from "../../../src/vici-client/algorithms.ts";
import { aCharon } from "./requesters.ts";

test("types that charon does not tell are empty", async () => {
  const has = await getAlgorithms(aCharon({ encryption: { AES_CBC: "aes" } }).vici);
  expect(has.encryption).toEqual(new Map([["AES_CBC", "aes"]]));
  expect([has.keyExchange.size, has.keyDerivation.size]).toEqual([0, 0]);
});

test("an algorithm that charon has no name for has its number in brackets", async () => {
  const has = await getAlgorithms(aCharon({ ke: { "(1053)": "ml" } }).vici);
  expect(has.keyExchange).toEqual(new Map([["(1053)", "ml"]]));
});

test("an algorithm without a plugin's name is refused", async () => {
  await expect(getAlgorithms(aCharon({ prf: { PRF_HMAC_SHA1: [] } }).vici)).rejects.toThrow(
    /PRF_HMAC_SHA1 is not a value/,
  );
});

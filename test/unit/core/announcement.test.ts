// What is written into the chassis' row, from what stands in it.
import { expect, test } from "vitest";
import { planAnnouncement, type Announcement } from "../../../src/core/announcement.ts";

const row = (agentId?: string, answer?: string): Announcement => ({ agentId, answer });

test("a row that knows nothing of us gets the id and the answer in one write", () => {
  expect(planAnnouncement(row(), 7)).toEqual({ kind: "introduce", answer: "7" });
});

test("an empty id is none", () => {
  expect(planAnnouncement(row("", "6"), 7)).toEqual({ kind: "introduce", answer: "7" });
});

test("an id that joins the right answer would be heard of by nobody, so the answer goes first", () => {
  expect(planAnnouncement(row(undefined, "7"), 7)).toEqual({ kind: "introduce", answer: undefined });
  expect(planAnnouncement(row("id"), 7)).toEqual({ kind: "answer", answer: "7" });
});

test("a new generation is answered, and a row that has the answer needs nothing", () => {
  expect(planAnnouncement(row("id", "7"), 8)).toEqual({ kind: "answer", answer: "8" });
  expect(planAnnouncement(row("id", "8"), 8)).toEqual({ kind: "none" });
});

test("a generation that went back, as that of a new database, is answered as well", () => {
  expect(planAnnouncement(row("id", "1000"), 0)).toEqual({ kind: "answer", answer: "0" });
});

test("an id that another one wrote stays", () => {
  expect(planAnnouncement(row("another", "7"), 7)).toEqual({ kind: "none" });
});

test("an answer that is no number is replaced", () => {
  expect(planAnnouncement(row("id", "07"), 7)).toEqual({ kind: "answer", answer: "7" });
});

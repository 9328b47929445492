// The grammar of oslo.config's files, with its corners; what is wrong is told by line and never quoted.
import { expect, test } from "vitest";
import { parseIni } from "../../../../src/wire/oslo/ini.ts";

const read = (text: string) =>
  parseIni(text).assignments.map(({ section, option, value, line }) => [`${section}.${option}`, value, line]);

test("options have = or :, whichever comes first, and blanks around it do not matter", () => {
  expect(read("[DEFAULT]\na=1\nb : 2\nc: x=y\nd = x:y\n  \ne =\n")).toEqual([
    ["DEFAULT.a", "1", 2],
    ["DEFAULT.b", "2", 3],
    ["DEFAULT.c", "x=y", 4],
    ["DEFAULT.d", "x:y", 5],
    ["DEFAULT.e", "", 7],
  ]);
});

test("indented lines go on with the value, until an empty line, a comment or something that is not indented", () => {
  const text = "[s]\nlist =\n  one,\n\ttwo  \n\nb = 1\n# said\nc = 2\n  3\n[t]\nd = 4\n";
  expect(read(text)).toEqual([
    ["s.list", "\none,\ntwo", 2],
    ["s.b", "1", 6],
    ["s.c", "2\n3", 8],
    ["t.d", "4", 11],
  ]);
});

test("an indented comment is a part of the value, as it is for oslo.config", () => {
  expect(read("[s]\na = 1\n  # not a comment\n")).toEqual([["s.a", "1\n# not a comment", 2]]);
});

test("a # or ; after a value is a part of it", () => {
  expect(read("[s]\na = 1 # one\nb = p;w\n")).toEqual([
    ["s.a", "1 # one", 2],
    ["s.b", "p;w", 3],
  ]);
});

test("one pair of quotes around a value is taken off", () => {
  expect(read(`[s]\na = "x y"\nb = 'z'\nc = "half\nd = "\ne = ''q''\n`).map(([, value]) => value)).toEqual([
    "x y",
    "z",
    '"half',
    "",
    "'q'",
  ]);
});

test("an option given several times is there several times", () => {
  expect(read("[s]\na = 1\na = 2\n[s]\na = 3\n").map(([, value]) => value)).toEqual(["1", "2", "3"]);
});

test("line ends of every system are taken, and a byte order mark", () => {
  expect(read("\uFEFF[s]\r\na = 1\r\nb = 2\rc = 3")).toEqual([
    ["s.a", "1", 2],
    ["s.b", "2", 3],
    ["s.c", "3", 4],
  ]);
});

test("every mistake is told with its line, and no line is quoted", () => {
  const { problems } = parseIni("hunter2 = 1\n[hunter2\n[]\nhunter2\n= hunter2\n\n  hunter2\n[s]\n  hunter2\n");
  expect(problems).toEqual([
    { line: 1, says: "is an option before the first section; [DEFAULT] may be missing" },
    { line: 2, says: "begins a section, but does not end with ]" },
    { line: 3, says: "is a section without a name" },
    { line: 4, says: "is neither a section nor a comment, and has no = or : after an option" },
    { line: 5, says: "has a value without an option" },
    { line: 7, says: "is indented, but there is no value that it could continue" },
    { line: 9, says: "is indented, but there is no value that it could continue" },
  ]);
});

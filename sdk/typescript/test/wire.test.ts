import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { repository, vectors } from "./node.js";

interface Vector {
  id?: string;
  content: unknown;
  expected: "valid" | "invalid";
  errors?: { type: string }[];
  /** The content with every member that it may have. */
  normalised?: unknown;
}

const config = { extends: "../../tsconfig.json", compilerOptions: { rootDir: "../..", noEmit: true, noUnusedLocals: false }, include: ["."], exclude: [] };

const types = ["POST", "AGGREGATE", "STORE", "FORGET", "PROGRAM", "INSTANCE", "V-PROGRAM"];

/** Words of the vectors for values that are wrong though their types are right. */
const byValue = /^(value_error|(greater|less)_than(_equal)?|(string_)?too_(long|short)|int_from_float|string_pattern_mismatch)$/;

/** What compiles although nodes refuse it: unions of objects and lists of words that may grow are not that strict, and 10.0 is 10 here. */
const lenient = [
  "STORE payment-bad-chain",
  "PROGRAM vol-immutable-extra",
  "PROGRAM vol-persistent-float",
  "PROGRAM code-encoding",
  "INSTANCE vol-immutable-extra",
  "INSTANCE vol-persistent-float",
  "INSTANCE rootfs-size-float",
];

/** What nodes take although it is not the form to write. */
const otherwise = ["PROGRAM env-hypervisor", "PROGRAM env-tee"];

test("contents have the types of their kind exactly where the network takes them, but for what types cannot say", async () => {
  const folder = join(repository, "sdk/typescript");
  const dir = join(folder, "build/contents");
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "tsconfig.json"), JSON.stringify(config));
  const files: { name: string; valid: boolean; errors: string[] }[][] = [];
  for (const type of types) {
    const { fixtures = [], own } = await vectors<{ fixtures?: Vector[]; own: Vector[] }>(`content_${type.toLowerCase()}.json`);
    const all = [...own, ...fixtures];
    const lines = all.map((v, n) => `const c${n}: C = ${JSON.stringify(v.expected === "valid" ? v.normalised : v.content)};`);
    await writeFile(join(dir, `${files.length}.ts`), [`import type { AnyContent } from "../../src/wire.ts"; type C = AnyContent["${type}"];`, ...lines].join("\n"));
    files.push(all.map((v, n) => ({ name: `${type} ${v.id ?? n}`, valid: v.expected === "valid", errors: (v.errors ?? []).map((e) => e.type) })));
  }
  const { stdout } = spawnSync(process.execPath, [join(folder, "node_modules/typescript/bin/tsc"), "-p", dir], { encoding: "utf8" });
  const wrong = new Set<object>();
  for (const [, file, line] of stdout.matchAll(/^\S*?(\d+)\.ts\((\d+),/gm)) wrong.add(files[Number(file)]![Number(line) - 2]!);
  const all = files.flat();
  assert.deepEqual(all.filter((v) => v.valid && wrong.has(v)).map((v) => v.name), otherwise);
  assert.deepEqual(all.filter((v) => !v.valid && !wrong.has(v) && !v.errors.some((e) => byValue.test(e))).map((v) => v.name), lenient);
  assert.ok(all.length > 600 && wrong.size > 150, `${wrong.size} of ${all.length} contents did not compile`);
});

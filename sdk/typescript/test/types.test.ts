import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { repository } from "./node.js";

// The types are written by hand. Generators make of these schemas, with their conditions and unevaluated members, types with
// index signatures that let every mistake pass. So each type is held to its schema here: the same members, the same that may
// be absent, the same that may be null.

/** Schemas by the interface that says the same. */
const same: Record<string, string> = {
  Envelope: "Envelope",
  PostContent: "Post",
  AggregateContent: "Aggregate",
  StoreContent: "Store",
  ForgetContent: "Forget",
  Executable: "Executable",
  ProgramContent: "Program",
  InstanceContent: "Instance",
  VProgramContent: "VProgram",
  Payment: "Payment",
  Resources: "Resources",
  Requirements: "Requirements",
  ImmutableVolume: "ImmutableVolume",
  EphemeralVolume: "EphemeralVolume",
  PersistentVolume: "PersistentVolume",
  Confirmation: "Confirmation",
  Post: "PostV1",
  PostV0: "PostV0",
  Balance: "Balance",
  CreditEntry: "CreditHistory/credit_history",
  CreditSummary: "CreditSummary",
  OwnedFile: "OwnedFiles/files",
  FileVersion: "FileVersion",
  Price: "Price",
  CostLine: "CostLine",
  Allocation: "Allocation",
  PlacedNode: "PlanNode",
};

/** Members that a type has on purpose in another way than the schema. */
const exceptions: Record<string, string> = {
  "Envelope.channel": "always written, null for none",
  "Executable.environment": "programs and instances have their own",
  "Allocation.ccn": "schedulers of others do not say it",
};

interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  required?: string[];
  properties?: Record<string, Schema>;
  items?: Schema;
  allOf?: Schema[];
  anyOf?: Schema[];
  oneOf?: Schema[];
}

interface Member {
  optional: boolean;
  nullable: boolean;
}

test("types have the members of the network's schemas", async () => {
  const schemas: Record<string, Schema> = {};
  for (const name of ["messages.json", "answers.json"]) Object.assign(schemas, JSON.parse(await readFile(join(repository, "schema", name), "utf8")));
  const interfaces = await declared();
  const problems: string[] = [];
  for (const [name, path] of Object.entries(same)) {
    const [definition, list] = path.split("/") as [string, string?];
    const schema = list ? schemas[definition]!.properties![list]!.items! : schemas[definition]!;
    const want = membersOf(schema, schemas);
    const got = interfaces.get(name);
    assert.ok(got, `there is no interface ${name}`);
    for (const member of new Set([...Object.keys(want), ...Object.keys(got)])) {
      if (exceptions[`${name}.${member}`]) continue;
      const [is, should] = [got[member], want[member]];
      if (is?.optional !== should?.optional || is?.nullable !== should?.nullable) problems.push(`${name}.${member} is ${JSON.stringify(is)}, and should be ${JSON.stringify(should)}`);
    }
  }
  assert.deepEqual(problems, []);
});

function membersOf(schema: Schema, all: Record<string, Schema>): Record<string, Member> {
  const referred = schema.$ref ? membersOf(all[schema.$ref.replace("#/$defs/", "")]!, all) : {};
  const inherited = Object.assign(referred, ...(schema.allOf ?? []).filter((part) => !("if" in part)).map((part) => membersOf(part, all))) as Record<string, Member>;
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    // A later word on an inherited member makes it narrower.
    inherited[name] = { optional: inherited[name]?.optional ?? true, nullable: (inherited[name]?.nullable ?? true) && nullable(property, all) };
  }
  for (const name of schema.required ?? []) if (inherited[name]) inherited[name].optional = false;
  return inherited;
}

/** Whether a schema that says anything about it lets null pass. */
function nullable(schema: Schema | true, all: Record<string, Schema>): boolean {
  if (schema === true) return true;
  if (schema.$ref && !nullable(all[schema.$ref.replace("#/$defs/", "")]!, all)) return false;
  if (schema.enum) return schema.enum.includes(null);
  if (schema.type) return [schema.type].flat().includes("null");
  const options = schema.anyOf ?? schema.oneOf;
  return options ? options.some((option) => nullable(option, all)) : !("const" in schema);
}

/** Interfaces of the package, with what they inherit. */
async function declared(): Promise<Map<string, Record<string, Member>>> {
  const dist = join(repository, "sdk/typescript/dist");
  const found = new Map<string, { parents: string[]; own: Record<string, Member> }>();
  for (const file of (await readdir(dist)).filter((f) => f.endsWith(".d.ts"))) {
    const text = (await readFile(join(dist, file), "utf8")).replace(/\/\*.*?\*\//gs, "");
    for (const [, name, parents, body] of text.matchAll(/^export interface (\w+)(?:<.*?>)?(?: extends ([\w, ]+))? \{(.*?)^\}/gms)) {
      const own: Record<string, Member> = {};
      for (const [, member, optional, type] of body!.matchAll(/^ {4}(\w+)(\??): (.*?;)$(?=\s*(?:^ {4}\w|^ *$|(?![\s\S])))/gms)) {
        own[member!] = { optional: optional === "?", nullable: /(^|\| )null;$|unknown;$|^T;$/.test(type!.split("\n").at(-1)!.trim()) };
      }
      found.set(name!, { parents: parents?.split(", ") ?? [], own });
    }
  }
  const whole = (name: string): Record<string, Member> => Object.assign({}, ...(found.get(name)?.parents ?? []).map(whole), found.get(name)?.own);
  return new Map([...found.keys()].map((name) => [name, whole(name)]));
}

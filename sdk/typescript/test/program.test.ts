import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { execFileSync } from "node:child_process";
import { NotFoundError } from "@aleph-im/sdk";
import { deployProgram, packCode } from "@aleph-im/sdk/node";
import { TestNode } from "./node.js";

const node = TestNode.forFile();
let dir = "";
before(async () => void (dir = await mkdtemp(join(tmpdir(), "aleph-sdk-"))));
after(() => rm(dir, { recursive: true }));

let folders = 0;

async function folder(files: Record<string, string>): Promise<string> {
  const path = join(dir, String(folders++), "hello");
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, name)), { recursive: true });
    await writeFile(join(path, name), content, "latin1");
  }
  return path;
}

/** What an independent reader finds in an archive: modes, names and contents. */
function unpacked(archive: Uint8Array): Record<string, [mode: number, content: string]> {
  const read = `
import io, json, sys, zipfile
z = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
assert z.testzip() is None
print(json.dumps({i.filename: [i.external_attr >> 16 & 0o777, z.read(i).decode("latin1")] for i in z.infolist()}))`;
  return JSON.parse(execFileSync("python3", ["-c", read], { input: archive, encoding: "utf8" })) as never;
}

const module = "\0asm\x01\0\0\0";

test("what starts a program is found", async () => {
  for (const [files, entrypoint, kind] of [
    [{ "main.py": "app: X = make()\n", "package.json": "{}" }, "main:app", "asgi"],
    [{ server: "\x7fELF", readme: "x" }, "server", "binary"],
    [{ "hello.wasm": module, "data/note": "x" }, "hello.wasm", "wasm"],
  ] as [Record<string, string>, string, string][]) {
    const code = await packCode(await folder(files));
    assert.deepEqual([code.entrypoint, code.interface, code.node], [entrypoint, kind, false]);
  }
  const file = join(await folder({ server: "\x7fELF", other: "\x7fELF" }), "server");
  assert.deepEqual(unpacked((await packCode(file)).archive), { server: [0o755, "\x7fELF"] });
});

test("a script starts what is no binary", async () => {
  for (const [files, command] of [
    [{ "server.js": "" }, "node 'server.js'"],
    [{ "package.json": "{}", "index.js": "" }, "node 'index.js'"],
    [{ "package.json": '{"main":"./it\'s.js"}', "it's.js": "" }, "node 'it'\\''s.js'"],
    [{ "package.json": '{"scripts":{"start":"node --x b.js"}}' }, "node --x b.js"],
    [{ "main.py": "from flask import Flask\napp = Flask(__name__)\n" }, "python3 -m uvicorn --interface wsgi 'main:app'"],
    [{ "main.py": "def application(environ, start):\n" }, "python3 -m uvicorn --interface wsgi 'main:application'"],
    [{ "wsgi.py": "app = make()\n" }, "python3 -m uvicorn --interface wsgi 'wsgi:app'"],
  ] as [Record<string, string>, string][]) {
    const path = await folder({ ...files, "node_modules/a/index.js": "a", "node_modules/.bin/tool": "b" });
    const code = await packCode(path);
    const found = unpacked(code.archive);
    const [mode, script] = found["aleph-start"]!;
    assert.deepEqual([code.entrypoint, code.interface, mode], ["aleph-start", "binary", 0o755]);
    assert.ok(script === `#!/bin/sh\nexec ${command}\n` || script.startsWith(`#!/bin/sh\nexec ${command} --host 127.0.0.1 `), script);
    assert.equal("node_modules/a/index.js" in found, code.node);
    assert.ok(!("node_modules/.bin/tool" in found));
  }
});

test("the same files make the same archive, which keeps what can be run", async () => {
  const files = { "main.py": "app = 1\n" + "x = 1\n".repeat(9999), "pkg/ä.txt": "ü", "pkg/__pycache__/a.pyc": "x", ".git/HEAD": "x", run: "#!/bin/sh" };
  const [one, two] = [await folder(files), await folder(files)];
  await chmod(join(one, "run"), 0o755);
  await chmod(join(two, "run"), 0o711);
  const archive = (await packCode(one)).archive;
  assert.deepEqual((await packCode(two)).archive, archive);
  assert.deepEqual(unpacked(archive), { "main.py": [0o644, files["main.py"]], "pkg/ä.txt": [0o644, "ü"], run: [0o755, "#!/bin/sh"] });
});

test("what cannot be started is refused", async () => {
  for (const [files, says, entrypoint] of [
    [{ ".git/HEAD": "" }, /no files/],
    [{ "main.py": "x = 1\n" }, /not clear/],
    [{ a: "\x7fELF", b: "\x7fELF" }, /2 binaries/],
    [{ "index.html": "" }, /website/],
    [{ "package.json": '{"main":"absent.js"}' }, /not clear/],
    [{ "package.json": "{", "server.js": "" }, /package\.json: /],
    [{ a: "" }, /no such file/, "b"],
    [{ a: "" }, /module:variable/, "main:"],
  ] as [Record<string, string>, RegExp, string?][]) {
    await assert.rejects(packCode(await folder(files), { entrypoint }), says);
  }
  const path = await folder({ "main.py": "app = 1\n" });
  await symlink(path, join(path, "link"));
  await assert.rejects(packCode(path), /not a regular file/);
});

test("a folder becomes a program", async () => {
  const aleph = await node.client({ funded: true });
  const authority = await node.nameRuntime("python");
  const runtime = await aleph.workloads.runtime(authority);
  assert.equal(await aleph.workloads.runtime(authority, "python"), runtime);
  await assert.rejects(aleph.workloads.runtime(authority, "cobol"), /it has: python/);
  await assert.rejects(aleph.workloads.runtime(aleph.signer.address), NotFoundError);
  for (const [files, entrypoint, kind, o] of [
    [{ "main.py": "app = 1\n" }, "main:app", "asgi", { runtime }],
    [{ "server.js": "" }, "aleph-start", "binary", { runtime }],
    [{ "hello.wasm": module }, "hello.wasm", "wasm", {}],
  ] as [Record<string, string>, string, string, { runtime?: string }][]) {
    const d = await deployProgram(aleph, await folder(files), { ...o, variables: { A: "b" }, channel: "MINE" });
    const info = await aleph.messages.get(d.hash);
    assert.ok(info.status === "processed" && info.message.type === "PROGRAM");
    const { content } = info.message;
    assert.deepEqual([d.entrypoint, content.code.entrypoint, content.code.interface, content.code.ref], [entrypoint, entrypoint, kind, d.code]);
    assert.deepEqual([content.runtime.ref, content.metadata, content.resources!.memory], [o.runtime ?? d.code, { name: "hello" }, 256]);
    assert.deepEqual([content.variables, info.message.channel], [{ A: "b" }, "MINE"]);
  }
  await assert.rejects(deployProgram(aleph, await folder({ "server.js": "" })), /Node\.js/);
});

// Shows the size of what browsers download and its integrity value; fails when a budget is exceeded.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const budgets = { "wakeline.js": { gzip: 6144 }, "loader.js": { raw: 1024 } };

for (const [name, budget] of Object.entries(budgets)) {
  const bytes = await readFile(`dist/${name}`);
  const size = { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length };
  const integrity = createHash("sha384").update(bytes).digest("base64");
  console.log(`${name}: ${size.raw} bytes, ${size.gzip} gzipped, integrity sha384-${integrity}`);
  for (const [kind, most] of Object.entries(budget)) {
    if (size[kind] < most) continue;
    console.error(`${name} has ${size[kind]} bytes (${kind}); it must stay below ${most}.`);
    process.exitCode = 1;
  }
}

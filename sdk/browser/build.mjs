// Builds the npm package into dist/, and the two files the collector serves into its static folder.
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { build } from "esbuild";

const { version } = JSON.parse(await readFile("package.json", "utf8"));
const served = "../../wakeline/collector/static";

const common = {
  bundle: true,
  minify: true,
  target: "es2021",
  charset: "utf8",
  legalComments: "none",
  define: { VERSION: JSON.stringify(version) },
  logLevel: "warning",
};

await build({ ...common, entryPoints: ["src/browser.ts"], outfile: "dist/wakeline.js", format: "iife" });
await build({ ...common, entryPoints: ["src/loader.ts"], outfile: "dist/loader.js", format: "iife" });
await build({ ...common, entryPoints: ["src/index.ts"], outfile: "dist/index.js", format: "esm", minify: false });
await mkdir(served, { recursive: true });
for (const name of ["wakeline.js", "loader.js"]) await copyFile(`dist/${name}`, `${served}/${name}`);

// Takes a .tpl file apart: https://developers.google.com/tag-platform/tag-manager/templates/gallery
import { readFileSync } from "node:fs";
import { parse } from "yaml";

const SECTION = /^___([A-Z_]+)___$/m;

/** The sections of a template by name, in their order. */
export function sections(text) {
  const [before, ...parts] = text.split(SECTION);
  if (before.trim()) throw new Error(`text before the first section: ${before.trim()}`);
  const found = new Map();
  for (let index = 0; index < parts.length; index += 2) found.set(parts[index], parts[index + 1].trim());
  return found;
}

/** A web tag template; throws when a section is missing or is not JSON or YAML where it must be. */
export function readTemplate(path) {
  const all = sections(readFileSync(path, "utf8"));
  const section = (name) => {
    if (!all.has(name)) throw new Error(`${path} has no section ___${name}___`);
    return all.get(name);
  };
  return {
    names: [...all.keys()],
    info: JSON.parse(section("INFO")),
    parameters: JSON.parse(section("TEMPLATE_PARAMETERS")),
    code: section("SANDBOXED_JS_FOR_WEB_TEMPLATE"),
    permissions: JSON.parse(section("WEB_PERMISSIONS")),
    tests: parse(section("TESTS")),
  };
}

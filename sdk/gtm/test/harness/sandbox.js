// Runs sandboxed code with nothing but what it is handed.
import { createContext, Script } from "node:vm";
import { Page, pageApis } from "./apis.js";
import { Permissions } from "./permissions.js";

/** The code as a function of the named values, in a context that has no global of Node or of a browser. */
export function compile(code, names, filename) {
  const wrapped = `(function (${names.join(", ")}) { "use strict";\n${code}\n})`;
  const script = new Script(wrapped, { filename, lineOffset: -1 });
  return script.runInContext(createContext({}, { codeGeneration: { strings: false, wasm: false } }));
}

/** A require function over these APIs; what is not documented there cannot be had. */
export function requireFrom(apis) {
  return (name) => {
    if (!Object.hasOwn(apis, name)) throw new Error(`require('${name}'): there is no such API in the harness`);
    return apis[name];
  };
}

/** Fires a tag on a page; gives how often it ended well and badly. */
export function fire(template, data, page = new Page(), permissions = new Permissions(template.permissions)) {
  const ended = { success: 0, failure: 0 };
  const callbacks = { gtmOnSuccess: () => ended.success++, gtmOnFailure: () => ended.failure++ };
  const run = compile(template.code, ["data", "require"], "template.tpl");
  run({ ...data, ...callbacks }, requireFrom(pageApis(page, permissions)));
  return { page, permissions, ...ended };
}

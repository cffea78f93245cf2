// What sandboxed JavaScript does not have:
// https://developers.google.com/tag-platform/tag-manager/templates/sandboxed-javascript
import { parse } from "acorn";
import { full } from "acorn-walk";

const REFUSED = new Set([
  "ArrayPattern", "AwaitExpression", "ClassDeclaration", "ClassExpression", "DebuggerStatement", "ForOfStatement",
  "ImportDeclaration", "ImportExpression", "LabeledStatement", "MetaProperty", "NewExpression", "ObjectPattern",
  "RestElement", "SpreadElement", "Super", "TaggedTemplateExpression", "TemplateLiteral", "ThisExpression",
  "ThrowStatement", "TryStatement", "WithStatement", "YieldExpression",
]);

// https://developers.google.com/tag-platform/tag-manager/templates/standard-library
const METHODS = [
  "charAt", "concat", "every", "filter", "forEach", "indexOf", "join", "lastIndexOf", "map", "match", "pop", "push",
  "reduce", "reduceRight", "replace", "reverse", "search", "shift", "slice", "some", "sort", "splice", "split",
  "substring", "toLocaleLowerCase", "toLocaleUpperCase", "toLowerCase", "toString", "toUpperCase", "trim", "unshift",
];

const FUNCTIONS = new Set(["ArrowFunctionExpression", "FunctionExpression", "FunctionDeclaration"]);

/**
 * What the code does that sandboxed JavaScript refuses, as sentences.
 * `globals` are the names it is given, `methods` those of objects it is given.
 */
export function problems(code, globals, methods) {
  const nodes = nodesOf(code);
  const names = new Set(["undefined", ...globals, ...nodes.flatMap(declared)]);
  const known = new Set([...METHODS, ...methods, ...nodes.flatMap(apiMethods), ...nodes.flatMap(ownKeys)]);
  return nodes.flatMap((node) =>
    complaints(node, names, known).map((what) => `line ${node.loc.start.line}: ${what}`),
  );
}

/** The APIs that the code requires, in its order. */
export function requiredApis(code) {
  return nodesOf(code)
    .filter((node) => node.type === "CallExpression" && node.callee.name === "require")
    .map((node) => node.arguments[0].value);
}

function nodesOf(code) {
  const found = [];
  const tree = parse(code, { ecmaVersion: 6, locations: true, allowReturnOutsideFunction: true });
  full(tree, (node) => found.push(node));
  return found;
}

function* reasons(node, names, known) {
  if (REFUSED.has(node.type)) yield `${node.type} is not in the dialect`;
  if (node.type === "Literal" && node.regex) yield "a regular expression is not in the dialect";
  if (node.type === "Identifier" && !names.has(node.name)) yield `${node.name} is not defined in the sandbox`;
  if (node.type === "Property" && (node.computed || node.shorthand || node.method || node.kind !== "init")) {
    yield "a property must be written as name: value";
  }
  if (FUNCTIONS.has(node.type) && (node.generator || node.params.some((one) => one.type !== "Identifier"))) {
    yield "a function must be no generator and take plain names";
  }
  if (node.type === "CallExpression" && isMethod(node.callee) && !known.has(node.callee.property.name)) {
    yield `${node.callee.property.name} is not in the standard library`;
  }
}

const complaints = (node, names, known) => [...reasons(node, names, known)];

const isMethod = (callee) => callee.type === "MemberExpression" && !callee.computed;

function declared(node) {
  if (node.type === "VariableDeclarator") return [node.id.name];
  if (!FUNCTIONS.has(node.type)) return [];
  return [...node.params.map((one) => one.name), ...(node.id ? [node.id.name] : [])];
}

// Object.keys and Math.round are methods of required APIs, and a table of functions has keys of its own.
const API_METHODS = { Math: ["abs", "ceil", "floor", "max", "min", "pow", "round", "sqrt"], Object: ["keys"] };

function apiMethods(node) {
  return node.type === "CallExpression" && node.callee.name === "require"
    ? (API_METHODS[node.arguments[0].value] ?? [])
    : [];
}

const ownKeys = (node) =>
  node.type === "ObjectExpression" ? node.properties.map((one) => one.key.name ?? one.key.value) : [];

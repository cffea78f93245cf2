// What Tag Manager would refuse, or a reviewer of the gallery.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Page, pageApis } from "./harness/apis.js";
import { problems, requiredApis } from "./harness/dialect.js";
import { Permissions } from "./harness/permissions.js";
import { fire } from "./harness/sandbox.js";
import { readTemplate } from "./harness/template.js";

const template = readTemplate(new URL("../template.tpl", import.meta.url));
const INIT = { tagType: "init", writeKey: "key", endpoint: "https://events.example.com", consentMode: "gtm" };
const DATA_METHODS = ["gtmOnSuccess", "gtmOnFailure"];

const codeProblems = (code) => problems(code, ["data", "require"], DATA_METHODS);

test("the template has the sections of a web tag, in the order Tag Manager writes them", () => {
  assert.deepEqual(template.names, [
    "INFO", "TEMPLATE_PARAMETERS", "SANDBOXED_JS_FOR_WEB_TEMPLATE", "WEB_PERMISSIONS", "TESTS", "NOTES",
  ]);
  assert.equal(template.info.type, "TAG");
  assert.deepEqual(template.info.containerContexts, ["WEB"]);
});

test("the code is written in the dialect of the sandbox", () => {
  assert.deepEqual(codeProblems(template.code), []);
});

for (const [code, reason] of [
  ["const now = new Date();", "NewExpression"],
  ["const a = `x`;", "TemplateLiteral"],
  ["const a = /x/;", "regular expression"],
  ["window.x = 1;", "window is not defined"],
  ["const a = [...data.list];", "SpreadElement"],
  ["const {a} = data;", "ObjectPattern"],
  ["const f = (a = 1) => a;", "plain names"],
  ["const a = data.list.flatMap((x) => x);", "flatMap is not in the standard library"],
  ["const a = Math.round(1);", "Math is not defined"],
  ["class A {}", "ClassDeclaration"],
]) {
  test(`the check of the dialect refuses ${code}`, () => {
    assert.match(codeProblems(code).join("; "), new RegExp(reason));
  });
}

test("every API that is required is documented and used once", () => {
  const apis = requiredApis(template.code);
  const known = Object.keys(pageApis(new Page(), new Permissions(template.permissions)));
  assert.deepEqual([...new Set(apis)], apis);
  assert.deepEqual(apis.filter((name) => !known.includes(name)), []);
});

test("every parameter that the code reads is a field, and every field is read", () => {
  const names = (list) => list.flatMap((one) => (one.type === "GROUP" ? names(one.subParams) : [one.name]));
  const read = [...template.code.matchAll(/\bdata\.(\w+)/g)].map(([, name]) => name);
  const own = new Set(read.filter((name) => !DATA_METHODS.includes(name)));
  assert.deepEqual([...own].sort(), names(template.parameters).sort());
});

test("the fields of a tag type are shown for a type that exists", () => {
  const types = template.parameters[0].selectItems.map(({ value }) => value);
  for (const parameter of template.parameters.slice(1)) {
    for (const { paramName, paramValue } of parameter.enablingConditions) {
      assert.equal(paramName, "tagType");
      assert.ok(types.includes(paramValue), paramValue);
    }
  }
  assert.ok(types.every((type) => fire(template, { ...INIT, tagType: type }).page));
});

test("each permission is needed, and nothing needs another one", () => {
  const permissions = new Permissions(template.permissions);
  fire(template, INIT, new Page(), permissions);
  fire(template, { tagType: "ecommerce" }, new Page({ dataLayer: { event: "view_cart" } }), permissions);
  assert.deepEqual([...permissions.used].sort(), permissions.all());
});

for (const missing of template.permissions.map(({ instance }) => instance.key.publicId)) {
  test(`without the permission ${missing} the tag does not end well`, () => {
    const rest = template.permissions.filter(({ instance }) => instance.key.publicId !== missing);
    const page = new Page({ dataLayer: { event: "view_cart" } });
    const poorer = { ...template, permissions: rest };
    const both = () => [INIT, { tagType: "ecommerce" }].map((data) => fire(poorer, data, page));
    if (missing === "inject_script") assert.equal(both()[0].failure, 1);
    else assert.throws(both, /Permission denied/);
  });
}

for (const [endpoint, isLoaded] of [
  ["https://events.example.com", true],
  ["https://events.example.com:8443/", true],
  ["  https://events.example.com  ", true],
  ["http://events.example.com", false],
  ["https://example.com/other", false],
  ["https://evil.example/x?", false],
  ["//events.example.com", false],
  [undefined, false],
]) {
  test(`the address ${endpoint} is ${isLoaded ? "loaded from" : "refused"}`, () => {
    const { page, success, failure } = fire(template, { ...INIT, endpoint });
    assert.deepEqual([success, failure], isLoaded ? [1, 0] : [0, 1]);
    assert.equal(page.scripts.length, isLoaded ? 1 : 0);
    assert.equal(page.console.length, isLoaded ? 0 : 1);
  });
}

test("a choice on the consent banner reaches the SDK's queue, in order", () => {
  const denied = { analytics_storage: false, ad_storage: false, ad_user_data: false, ad_personalization: false };
  const { page } = fire(template, INIT, new Page({ granted: denied }));
  assert.deepEqual(page.window.wakeline.map(([method]) => method), ["init"]);
  for (const type of Object.keys(denied)) page.choose(type, true);
  page.choose("analytics_storage", false);
  page.choose("ad_storage", false);
  assert.deepEqual(page.window.wakeline.slice(1), [
    ["consent", { analytics: true, advertising: false }],
    ["consent", { analytics: true, advertising: true }],
    ["consent", { analytics: false, advertising: true }],
    ["consent", { analytics: false, advertising: false }],
  ]);
});

test("no choice on a consent banner says anything about mails", () => {
  const types = ["analytics_storage", "ad_storage", "ad_user_data", "ad_personalization"];
  const { page } = fire(template, INIT, new Page({ granted: Object.fromEntries(types.map((type) => [type, true])) }));
  for (const type of types) page.choose(type, false);
  const told = page.window.wakeline.filter(([method]) => method === "consent").map(([, categories]) => categories);
  assert.ok(told.length > 1);
  for (const categories of told) assert.deepEqual(Object.keys(categories).sort(), ["advertising", "analytics"]);
});

test("events that fire before Initialize wait in the same queue", () => {
  const { page } = fire(template, { tagType: "event", eventName: "Video Played" });
  fire(template, { ...INIT, consentMode: "none" }, page);
  assert.deepEqual(page.window.wakeline.map(([method]) => method), ["track", "init"]);
});

test("a choice after the SDK was loaded reaches the SDK", () => {
  const denied = { analytics_storage: false, ad_storage: false, ad_user_data: false, ad_personalization: false };
  const { page } = fire(template, INIT, new Page({ granted: denied }));
  const seen = [];
  page.window.wakeline.push = (call) => seen.push(call);
  page.choose("analytics_storage", true);
  assert.deepEqual(seen, [["consent", { analytics: true, advertising: false }]]);
});

test("a queue that the SDK has taken over is pushed to, not replaced", () => {
  const page = new Page();
  const seen = [];
  page.window.wakeline = { push: (call) => seen.push(call) };
  fire(template, { tagType: "identify", userId: "42" }, page);
  assert.deepEqual(seen, [["identify", "42", {}]]);
});

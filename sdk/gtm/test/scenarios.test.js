// The scenarios that the template brings along, as Tag Manager's own test runner would run them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { problems } from "./harness/dialect.js";
import { runScenario, TEST_GLOBALS, TEST_METHODS } from "./harness/scenario.js";
import { readTemplate } from "./harness/template.js";

const template = readTemplate(new URL("../template.tpl", import.meta.url));

for (const scenario of template.tests.scenarios) {
  test(scenario.name, () => runScenario(template, scenario));
}

test("a scenario fails when the template does something else", () => {
  const broken = { ...template, code: template.code.replace("'Order Completed'", "'Order Done'") };
  const purchase = template.tests.scenarios.find(({ name }) => name.startsWith("A purchase"));
  assert.throws(() => runScenario(broken, purchase), /Order Completed/);
});

test("a scenario without an assertion fails", () => {
  assert.throws(() => runScenario(template, { name: "empty", code: "runCode({tagType: 'page'});" }), /asserts nothing/);
});

test("the scenarios are written in the dialect of the sandbox", () => {
  for (const { name, code } of template.tests.scenarios) {
    assert.deepEqual(problems(`${template.tests.setup}\n${code}`, TEST_GLOBALS, TEST_METHODS), [], name);
  }
});

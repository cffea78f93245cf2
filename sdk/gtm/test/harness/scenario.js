// The test API of custom templates: https://developers.google.com/tag-platform/tag-manager/templates/tests
import assert from "node:assert/strict";
import { inspect, isDeepStrictEqual } from "node:util";
import { copied, Page, pageApis } from "./apis.js";
import { Permissions } from "./permissions.js";
import { compile, requireFrom } from "./sandbox.js";

export const TEST_GLOBALS = ["runCode", "mock", "assertApi", "assertThat", "require"];
export const TEST_METHODS = ["isEqualTo", "wasCalled", "wasNotCalled"];

/** Runs a scenario of ___TESTS___ after its setup; throws when an assertion fails, or when there is none. */
export function runScenario(template, scenario) {
  const bench = new Bench(template);
  const code = `${template.tests.setup}\n${scenario.code}`;
  compile(code, TEST_GLOBALS, scenario.name)(...TEST_GLOBALS.map((name) => bench[name]));
  assert.ok(bench.assertions > 0, "the scenario asserts nothing");
}

class Bench {
  assertions = 0;
  #calls = new Map();
  #mocks = {};

  constructor(template) {
    const real = pageApis(new Page(), new Permissions(template.permissions));
    this.require = requireFrom(real);
    this.mock = (name, value) => {
      this.require(name);
      this.#mocks[name] = value;
    };
    this.runCode = (data) => {
      const callbacks = { gtmOnSuccess: this.#watched("gtmOnSuccess"), gtmOnFailure: this.#watched("gtmOnFailure") };
      const apis = Object.fromEntries(
        Object.entries({ ...real, ...this.#mocks }).map(([name, api]) => [name, this.#watched(name, api)]),
      );
      compile(template.code, ["data", "require"], "template.tpl")({ ...data, ...callbacks }, requireFrom(apis));
    };
    this.assertApi = (name) => ({
      wasCalled: () => this.#count(this.#callsOf(name) > 0, `${name} was not called`),
      wasNotCalled: () => this.#count(this.#callsOf(name) === 0, `${name} was called`),
    });
    this.assertThat = (actual, message = "") => ({
      isEqualTo: (expected) => {
        const [have, want] = [copied(actual), copied(expected)];
        this.#count(isDeepStrictEqual(have, want), `${message} expected ${text(want)} but was ${text(have)}`);
      },
    });
  }

  #watched(name, api = () => {}) {
    if (typeof api !== "function") return api;
    return (...given) => {
      this.#calls.set(name, this.#callsOf(name) + 1);
      return api(...given);
    };
  }

  #callsOf(name) {
    return this.#calls.get(name) ?? 0;
  }

  #count(holds, message) {
    this.assertions++;
    assert.ok(holds, message);
  }
}

const text = (value) => inspect(value, { depth: null });

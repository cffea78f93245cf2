// The sandbox APIs that the template uses, as documented:
// https://developers.google.com/tag-platform/tag-manager/templates/api

/** A page as a tag meets it; `granted` holds consent types that have a state. */
export class Page {
  constructor({ dataLayer = {}, granted = {} } = {}) {
    this.window = {};
    this.dataLayer = dataLayer;
    this.granted = granted;
    this.listeners = [];
    this.scripts = [];
    this.console = [];
  }

  /** What a consent banner does; listeners hear of changes only. */
  choose(type, isGranted) {
    const before = this.granted[type] ?? true;
    this.granted[type] = isGranted;
    if (before === isGranted) return;
    for (const one of this.listeners) if (one.type === type) one.listener(type, isGranted);
  }
}

/** The real APIs on a page; each asks for its permission as documented. */
export function pageApis(page, permissions) {
  return {
    Math,
    Object: { keys: Object.keys },
    addConsentListener(type, listener) {
      permissions.require("access_consent", type, "read");
      page.listeners.push({ type, listener });
    },
    copyFromDataLayer(key) {
      permissions.require("read_data_layer", key);
      return copied(page.dataLayer[key]);
    },
    createQueue(name) {
      permissions.require("access_globals", "readwrite", name);
      const queue = (page.window[name] ??= []);
      const { push } = queue; // The documentation leaves open when it is looked up; this is the harder case.
      return (value) => push.call(queue, copied(value));
    },
    getType(value) {
      if (value === null) return "null";
      return Array.isArray(value) ? "array" : typeof value;
    },
    injectScript(url, onSuccess, onFailure, cacheToken) {
      permissions.require("inject_script", url);
      if (!page.scripts.includes(cacheToken ?? url)) page.scripts.push(cacheToken ?? url);
      onSuccess();
    },
    isConsentGranted(type) {
      permissions.require("access_consent", type, "read");
      return page.granted[type] ?? true;
    },
    logToConsole(...values) {
      permissions.require("logging");
      page.console.push(values.join(" "));
    },
    makeNumber: Number,
    queryPermission: (...query) => permissions.allows(...query),
  };
}

/** Values cross the border of the sandbox as copies, and only plain ones do. */
export function copied(value) {
  // Not value.map, which gives an array of the sandbox.
  if (Array.isArray(value)) return Array.from(value, copied);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, copied(each)]));
  }
  if (["function", "symbol", "bigint"].includes(typeof value)) throw new Error(`a ${typeof value} cannot be copied`);
  return value;
}

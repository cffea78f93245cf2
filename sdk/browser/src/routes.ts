import { guarded, listen } from "./guard";

/** Calls `changed` whenever the address may have changed without a new document. */
export function watchRoutes(changed: () => void): void {
  // https://html.spec.whatwg.org/multipage/nav-history-apis.html#navigation-interface
  const { navigation } = window as { navigation?: EventTarget };
  if (navigation) return listen(navigation, "currententrychange", changed);
  listen(window, "popstate hashchange", changed);
  const told = guarded(changed);
  for (const name of ["pushState", "replaceState"] as const) {
    const native = history[name];
    history[name] = function (...args) {
      native.apply(this, args);
      told();
    };
  }
}

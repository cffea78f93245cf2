import { METHODS } from "./api";
import { currentScript } from "./script";

// Its own script element says everything, so that it may be pasted into a page (with a nonce) or be a file.
const own = currentScript();
if (!own) throw new Error("wakeline: loader.js must be a plain script");
const { dataset } = own;
const page = window as unknown as { wakeline?: unknown[] & Record<string, unknown> };
const queue = (page.wakeline ??= [] as never);

for (const name of METHODS) queue[name] ??= (...args: unknown[]) => queue.push([name, ...args]);

const script = document.createElement("script");
script.async = true;
script.src = dataset["src"] ?? `${dataset["endpoint"] ?? new URL(own.src).origin}/wakeline.js`;
script.nonce = own.nonce;
if (dataset["integrity"]) {
  script.integrity = dataset["integrity"];
  script.crossOrigin = "anonymous";
}
Object.assign(script.dataset, dataset);
document.head.append(script);

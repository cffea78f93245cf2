import { attach, type CallQueue } from "./global";
import { optionsOf } from "./options";
import { currentScript } from "./script";
import { createWakeline } from "./wakeline";

const script = currentScript();
const page = window as unknown as { wakeline?: CallQueue };
const queue = (page.wakeline ??= []);

// A page may have the script twice.
if (!queue.version) {
  const methods = createWakeline(script?.src ? new URL(script.src).origin : "");
  if (script?.dataset["writeKey"]) methods.init(optionsOf(script.dataset));
  attach(queue, methods);
}

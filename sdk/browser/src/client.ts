import type { Properties, Wakeline } from "./api";
import { watchClicks } from "./clicks";
import { COMMERCE_METHODS, eventOf } from "./commerce";
import { address, pageFacts } from "./context";
import { watchEngagement } from "./engagement";
import { guarded, listen, warn } from "./guard";
import { anonymousId, forget, newId } from "./identity";
import type { Settings } from "./options";
import { createQueue } from "./queue";
import { createRecorder } from "./recorder";
import { watchRoutes } from "./routes";
import { createSender } from "./sender";
import { openStore, PREFIX } from "./store";
import { watchOwners } from "./tabs";

export type Client = Omit<Wakeline, "init">;

/** Begins to watch this page. */
export function start(settings: Settings): Client {
  const disk = openStore(settings.storage);
  const queues = `queue.${settings.writeKey}.`;
  const own = `${queues}${newId()}.`;
  const queue = createQueue(disk, own);
  const sender = createSender(queue, {
    address: `${settings.endpoint}/v1/batch`,
    writeKey: settings.writeKey,
    batchSize: settings.batchSize,
    flushMs: settings.flushSeconds * 1_000,
  });
  let here = address();
  let facts = pageFacts(document.referrer);
  let pageProperties: Properties = {};
  let viewTimer = 0;

  const recorder = createRecorder(settings, disk, queue, currentPage, sender.nudge);
  const { record } = recorder;
  const engagement = watchEngagement(
    settings.idleSeconds * 1_000,
    settings.heartbeatSeconds * 1_000,
    (engaged_seconds, scroll_depth_percent, path) =>
      track("Page Engaged", { engaged_seconds, scroll_depth_percent, path, ...pageProperties }),
  );

  /** The page before, while what it left behind is told just after the address has changed. */
  function currentPage() {
    if (address() === here) facts = pageFacts(facts.referrer);
    return facts;
  }

  function track(event: string, properties: Properties = {}): void {
    if (typeof event !== "string" || !event) return warn("track needs the name of an event");
    record("track", { event, properties });
  }

  function page(first?: string | Properties, second?: Properties): void {
    clearView();
    const [name, properties] = typeof first === "object" ? [undefined, first] : [first, second];
    for (const key of ["category", "product_id"]) {
      if (properties?.[key] !== undefined) pageProperties[key] = properties[key];
    }
    record("page", { name, properties: { ...currentPage(), name, ...pageProperties, ...properties } });
  }

  function clearView(): void {
    clearTimeout(viewTimer);
    viewTimer = 0;
  }

  // Later, so that the page can say more about itself, or call page() on its own.
  function planView(): void {
    if (settings.pageViews && !viewTimer) viewTimer = setTimeout(guarded(page), 0);
  }

  function routed(): void {
    const next = address();
    if (next === here) return;
    if (viewTimer) clearView();
    engagement.turn();
    facts = { ...facts, referrer: here };
    here = next;
    pageProperties = {};
    planView();
  }

  function leave(answered: boolean): void {
    if (viewTimer) page();
    engagement.hide();
    sender.leave(answered);
  }

  function become(userId: string | number): void {
    recorder.store().set("user", String(userId));
  }

  function otherQueues(): string[] {
    const owners = disk.names(queues).map((name) => name.slice(0, name.lastIndexOf(".") + 1));
    return [...new Set(owners)].filter((name) => name !== own);
  }

  watchOwners(
    PREFIX + own,
    () => otherQueues().map((name) => PREFIX + name),
    (owner) => {
      queue.adopt(owner.slice(PREFIX.length));
      sender.flush();
    },
  );
  watchRoutes(routed);
  watchClicks(track);
  listen(document, "visibilitychange", () => (document.visibilityState === "hidden" ? leave(true) : engagement.show()));
  listen(window, "pagehide", () => leave(false));
  // A page that comes back by the back button was told of no change meanwhile.
  listen(window, "storage pageshow", recorder.hear);
  listen(window, "pageshow", (event) => {
    if (!(event as PageTransitionEvent).persisted) return;
    sender.returned();
    planView();
  });
  listen(window, "online", sender.retry);
  planView();

  const commerce = COMMERCE_METHODS.map((method) => [
    method,
    (properties: Properties) => track(eventOf(method), properties),
  ]);
  return {
    ...Object.fromEntries(commerce),
    page,
    track,
    identify(first: string | number | Properties, second?: Properties): void {
      const [id, traits] = typeof first === "object" ? [undefined, first] : [first, second];
      if (id !== undefined) {
        // Somebody else logged in, and the one before never logged out.
        if ((recorder.store().get("user") ?? `${id}`) !== `${id}`) recorder.forget();
        become(id);
      }
      record("identify", { traits: traits ?? {} });
    },
    group(groupId: string | number, traits: Properties = {}): void {
      record("group", { groupId: String(groupId), traits });
    },
    alias(userId: string | number, previousId?: string | number): void {
      const store = recorder.store();
      const before = String(previousId ?? store.get("user") ?? anonymousId(store));
      become(userId);
      record("alias", { previousId: before });
    },
    reset(): void {
      engagement.beat();
      forget(recorder.store());
      recorder.forget();
    },
    flush: sender.flush,
    consent: recorder.consent,
    setPageProperties(properties: Properties): void {
      pageProperties = { ...pageProperties, ...properties };
    },
  } as Client;
}

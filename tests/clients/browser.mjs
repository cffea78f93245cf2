// Runs in a page, bundled with one of the public browser clients, unmodified. `window.settings` holds the client's
// name, the collector's address and the write key; `window.given` is what the client was given.
import { AnalyticsBrowser } from "@segment/analytics-next";
import { RudderAnalytics } from "@rudderstack/analytics-js/bundled";
import { jitsuAnalytics } from "@jitsu/js";
import {
  newTracker, trackPageView, trackStructEvent, trackSelfDescribingEvent, setUserId, enableActivityTracking,
} from "@snowplow/browser-tracker";

const EVENTS = 25;
const { client, address, writeKey } = window.settings;
window.given = [];
const give = (type, name, n) => window.given.push([type, name, n]) && n;

async function segment(options) {
  const analytics = AnalyticsBrowser.load({ writeKey, cdnURL: address }, { integrations: { "Segment.io": options } });
  await analytics.identify("u1", { email: "ann@example.com", n: give("identify", "", 1000) });
  for (let n = 0; n < EVENTS; n++) await analytics.track("Product Viewed", { n: give("track", "Product Viewed", n) });
  await analytics.page("Home", { n: give("page", "", 1001) });
  await analytics.group("g1", { n: give("group", "", 1003) });
  await analytics.alias("u2", "u1");
  give("alias", "", 0);
}

async function rudder(options) {
  const analytics = new RudderAnalytics();
  analytics.load(writeKey, address, { configUrl: address, plugins: [], ...options });
  await new Promise((resolve) => analytics.ready(resolve));
  analytics.identify("u1", { email: "ann@example.com", n: give("identify", "", 1000) });
  for (let n = 0; n < EVENTS; n++) analytics.track("Product Viewed", { n: give("track", "Product Viewed", n) });
  analytics.page("Shop", "Home", { n: give("page", "", 1001) });
  analytics.group("g1", { n: give("group", "", 1003) });
  analytics.alias("u2", "u1");
  give("alias", "", 0);
}

async function jitsu() {
  const analytics = jitsuAnalytics({ host: address, writeKey: `${writeKey}:SECRET` });
  await analytics.identify("u1", { email: "ann@example.com", n: give("identify", "", 1000) });
  for (let n = 0; n < EVENTS; n++) await analytics.track("Product Viewed", { n: give("track", "Product Viewed", n) });
  await analytics.page({ name: "Home", n: give("page", "", 1001) });
  await analytics.group("g1", { n: give("group", "", 1003) });
}

async function snowplow(options) {
  newTracker("sp", address, { appId: writeKey, ...options });
  setUserId("u1");
  enableActivityTracking({ minimumVisitLength: 1, heartbeatDelay: 1 });
  trackPageView();
  give("page", "", 0);
  for (let n = 0; n < EVENTS; n++) {
    const data = { n: give("track", "Product Viewed", n) };
    trackSelfDescribingEvent({ event: { schema: "iglu:com.shop/product_viewed/jsonschema/1-0-0", data } });
  }
  trackStructEvent({ category: "shop", action: "add", value: give("track", "add", 1001) });
}

await {
  "segment": () => segment({}),
  "segment-batching": () => segment({ deliveryStrategy: { strategy: "batching", config: { size: 10, timeout: 200 } } }),
  "rudder": () => rudder({}),
  "rudder-beacon": () => rudder({ useBeacon: true, beaconQueueOptions: { flushQueueInterval: 500 } }),
  "jitsu": jitsu,
  "snowplow": () => snowplow({}),
  "snowplow-get": () => snowplow({ eventMethod: "get" }),
}[client]();
window.done = true;

// Sends numbered events with one of the public server clients, unmodified: node server.mjs CLIENT ADDRESS WRITE_KEY.
// Ends when the client says that it has sent everything, and prints what it was given.
import SegmentNode from "@segment/analytics-node";
import RudderAnalytics from "@rudderstack/rudder-sdk-node";
import { jitsuAnalytics } from "@jitsu/js";
import { newTracker, buildPageView, buildStructEvent, buildSelfDescribingEvent } from "@snowplow/node-tracker";

const EVENTS = 45;
const [client, address, writeKey] = process.argv.slice(2);
const given = [];
const give = (type, name, n) => given.push([type, name, n]) && n;

async function segment() {
  const analytics = new SegmentNode.Analytics({ writeKey, host: address });
  analytics.on("error", (error) => { throw new Error(JSON.stringify(error)); });
  analytics.identify({ userId: "u1", traits: { email: "ann@example.com", n: give("identify", "", 1000) } });
  for (let n = 0; n < EVENTS; n++) {
    analytics.track({ userId: "u1", event: "Product Viewed", properties: { n: give("track", "Product Viewed", n) } });
  }
  analytics.page({ anonymousId: "a1", name: "Home", properties: { n: give("page", "", 1001) } });
  analytics.screen({ userId: "u1", name: "Cart", properties: { n: give("screen", "", 1002) } });
  analytics.group({ userId: "u1", groupId: "g1", traits: { n: give("group", "", 1003) } });
  analytics.alias({ userId: "u2", previousId: "u1" });
  give("alias", "", 0);
  await analytics.closeAndFlush();
}

async function rudder() {
  const analytics = new RudderAnalytics(writeKey, { dataPlaneUrl: address });
  analytics.identify({ userId: "u1", traits: { email: "ann@example.com", n: give("identify", "", 1000) } });
  for (let n = 0; n < EVENTS; n++) {
    analytics.track({ userId: "u1", event: "Product Viewed", properties: { n: give("track", "Product Viewed", n) } });
  }
  analytics.page({ anonymousId: "a1", name: "Home", properties: { n: give("page", "", 1001) } });
  analytics.screen({ userId: "u1", name: "Cart", properties: { n: give("screen", "", 1002) } });
  analytics.group({ userId: "u1", groupId: "g1", traits: { n: give("group", "", 1003) } });
  analytics.alias({ userId: "u2", previousId: "u1" });
  give("alias", "", 0);
  await analytics.flush();
}

async function jitsu() {
  const analytics = jitsuAnalytics({ host: address, writeKey: `${writeKey}:SECRET`, fetch });
  await analytics.identify("u1", { email: "ann@example.com", n: give("identify", "", 1000) });
  for (let n = 0; n < EVENTS; n++) await analytics.track("Product Viewed", { n: give("track", "Product Viewed", n) });
  await analytics.page({ name: "Home", n: give("page", "", 1001) });
  await analytics.group("g1", { n: give("group", "", 1003) });
}

async function snowplow() {
  const failed = [];
  const tracker = newTracker(
    { namespace: "ns", appId: writeKey },
    { endpoint: address, bufferSize: 20, onRequestFailure: (data) => failed.push(data) },
  );
  tracker.setUserId("u1");
  for (let n = 0; n < EVENTS; n++) {
    const data = { schema: "iglu:com.shop/product_viewed/jsonschema/1-0-0", data: { n: give("track", "Product Viewed", n) } };
    tracker.track(buildSelfDescribingEvent({ event: data }));
  }
  tracker.track(buildStructEvent({ category: "shop", action: "add", value: give("track", "add", 1001) }));
  tracker.track(buildPageView({ pageUrl: "https://shop.example/", pageTitle: "Home" }));
  give("page", "", 0);
  await tracker.flush();
  if (failed.length) throw new Error(JSON.stringify(failed));
}

await { segment, rudder, jitsu, snowplow }[client]();
console.log(JSON.stringify(given));

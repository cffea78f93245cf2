import { merged, permission, reported, type Preferences } from "./consent";
import { campaign, consentOf, contextOf, type PageFacts } from "./context";
import { warn } from "./guard";
import { anonymousId, newId, touchSession } from "./identity";
import type { Settings } from "./options";
import { bytesOf, type Queue } from "./queue";
import { moveAll, openStore, PREFIX, readJson, type Store } from "./store";

// Segment's limit for one event; the collector itself takes eight times as much, because real orders exceed it.
const LARGE_BYTES = 32_768;
const MOST_BYTES = 262_144;

const MOST_HELD = 1_000;

/** https://segment.com/docs/privacy/consent-management/consent-in-segment-connections/ */
const CONSENT_EVENT = "Segment Consent Preference Updated";

export type MessageType = "page" | "track" | "identify" | "group" | "alias";

export interface Recorder {
  /** Make a message of it; it goes into the queue, waits for consent, or is forgotten. */
  record(type: MessageType, body: Record<string, unknown>): void;
  consent(categories: Record<string, unknown>): void;
  /** Consent given or refused in another tab. */
  hear(change: StorageEvent): void;
  /** Where ids are kept: the browser's store only while the person permits it. */
  store(): Store;
}

export function createRecorder(
  settings: Settings,
  disk: Store,
  queue: Queue,
  page: () => PageFacts,
  added: () => void,
): Recorder {
  const required = settings.consent === "required";
  const privacyControl = navigator.globalPrivacyControl === true;
  let arrival = campaign();
  let said = readJson<Preferences>(disk, "consent");
  let state = permission(said, required, privacyControl);
  let store = state === "granted" ? disk : openStore("memory");
  let held: string[] = [];
  if (state === "refused" && !said) wipe(disk, true);

  function build(type: MessageType, body: Record<string, unknown>): string {
    const session = touchSession(store, Date.now(), arrival);
    arrival = undefined;
    return JSON.stringify({
      type,
      messageId: newId(),
      timestamp: new Date().toISOString(),
      anonymousId: anonymousId(store),
      userId: store.get("user"),
      context: contextOf(page(), session, reported(said, privacyControl)),
      ...body,
    });
  }

  function record(type: MessageType, body: Record<string, unknown>): void {
    if (state === "refused") return;
    const json = build(type, body);
    if (state === "granted") return deliver(json);
    held.push(json);
    if (held.length <= MOST_HELD) return;
    held.shift();
    warn("too many events wait for consent; the oldest is dropped");
  }

  function deliver(json: string): void {
    const bytes = bytesOf(json);
    const refused = bytes > MOST_BYTES;
    if (bytes > LARGE_BYTES) warn(`an event has ${bytes} bytes; ${refused ? "it is not sent" : "keep them small"}`);
    if (refused) return;
    queue.add(json);
    added();
  }

  function decide(preferences: Preferences, here: boolean): void {
    const before = state;
    said = preferences;
    state = permission(said, required, privacyControl);
    if (state === "granted") permit(here);
    else refuse(here, before === "granted");
    if (here) disk.set("consent", JSON.stringify(said));
  }

  function permit(here: boolean): void {
    if (store !== disk) moveAll(store, disk);
    store = disk;
    for (const json of held.splice(0)) {
      const message = JSON.parse(json);
      Object.assign(message.context, consentOf(reported(said, privacyControl)));
      deliver(JSON.stringify(message));
    }
    if (here) record("track", { event: CONSENT_EVENT, properties: {} });
  }

  /** Forgets everything but the refusal, which the collector must hear of if it knows the person. */
  function refuse(here: boolean, known: boolean): void {
    const last = here && known && build("track", { event: CONSENT_EVENT, properties: {} });
    held = [];
    queue.clear();
    wipe(disk, here);
    store = openStore("memory");
    if (last) deliver(last);
  }

  return {
    record,
    consent(categories) {
      const now = merged(said, categories);
      if (Object.keys(now).length) decide(now, true);
    },
    hear(change) {
      if (change.key === `${PREFIX}consent` && change.newValue) decide(JSON.parse(change.newValue), false);
    },
    store: () => store,
  };
}

/** The queues of other tabs are theirs, unless it is here that everything must go. */
function wipe(disk: Store, queues: boolean): void {
  for (const name of disk.names()) {
    if (name !== "consent" && (queues || !name.startsWith("queue."))) disk.set(name, undefined);
  }
}

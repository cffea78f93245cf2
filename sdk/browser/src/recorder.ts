import { changes, part, permission, reported, type Preferences } from "./consent";
import { campaign, consentOf, contextOf, type PageFacts } from "./context";
import { warn } from "./guard";
import { anonymousId, newId, touchSession } from "./identity";
import type { Settings } from "./options";
import { bytesOf, type Queue } from "./queue";
import { moveAll, openStore, readJson, type Store } from "./store";

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
  /** Consent may have been given or refused in another tab. */
  hear(): void;
  /** Another person is here: what the one before said, and what waits of it, is forgotten. */
  forget(): void;
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
  const privacyControl = navigator.globalPrivacyControl === true;
  const permitted = (preferences: Preferences | undefined) =>
    permission(preferences, settings.consent === "required", privacyControl);
  const stamp = () => reported(said, privacyControl);
  let arrival = campaign();
  let said = readJson<Preferences>(disk, "consent");
  let state = permitted(said);
  let store = state === "granted" ? disk : openStore("memory");
  let held: string[] = [];
  if (state === "refused" && said?.analytics === undefined) wipe(disk, true);

  function build(type: MessageType, body: Record<string, unknown>, preferences = stamp()): string {
    const session = touchSession(store, Date.now(), arrival);
    arrival = undefined;
    return JSON.stringify({
      type,
      messageId: newId(),
      timestamp: new Date().toISOString(),
      anonymousId: anonymousId(store),
      userId: store.get("user"),
      context: contextOf(page(), session, preferences),
      ...body,
    });
  }

  function record(type: MessageType, body: Record<string, unknown>): void {
    if (state === "refused") return;
    const json = build(type, body);
    if (state === "granted") return deliver(json);
    if (held.push(json) <= MOST_HELD) return;
    held.shift();
    warn("too many events wait for consent");
  }

  function deliver(json: string): void {
    const bytes = bytesOf(json);
    const refused = bytes > MOST_BYTES;
    if (bytes > LARGE_BYTES) warn(`an event has ${bytes} bytes; ${refused ? "it is not sent" : "keep them small"}`);
    if (refused) return;
    queue.add(json);
    added();
  }

  function consent(categories: Record<string, unknown>): void {
    hear();
    const now = changes(said, categories);
    const next = permitted({ ...said, ...now });
    const open = state === "granted" || next === "granted";
    const personal = part(now, false);
    // An opt-out must not be lost where nothing may be collected. Of nobody known it says nothing.
    const told = open ? now : store.get("user") ? personal : {};
    // Only what was said just now: the collector takes it for a statement, and an old yes would undo an opt-out.
    if (any(told)) deliver(build("track", { event: CONSENT_EVENT, properties: {} }, told));
    else if (any(personal)) warn("consent to mails needs identify() before it");
    // What was not told is not kept, or it would count as told the next time.
    decide({ ...said, ...part(now, true), ...told }, true);
    disk.set("consent", JSON.stringify(said));
  }

  function hear(): void {
    const stored = disk.get("consent");
    if (!stored || stored === JSON.stringify(said)) return;
    decide(readJson(disk, "consent"), false);
  }

  function decide(preferences: Preferences | undefined, here: boolean): void {
    const before = state;
    said = preferences;
    state = permitted(said);
    if (state === "granted") permit();
    else if (state !== before) refuse(here);
  }

  function permit(): void {
    if (store !== disk) moveAll(store, disk);
    store = disk;
    for (const json of held.splice(0)) {
      const message = JSON.parse(json);
      message.context.consent = consentOf(stamp());
      deliver(JSON.stringify(message));
    }
  }

  /** Forgets all but statements, and but who is here, as long as this page lives. */
  function refuse(here: boolean): void {
    const user = store.get("user");
    held = [];
    queue.clear(CONSENT_EVENT);
    wipe(disk, here);
    store = openStore("memory");
    store.set("user", user);
  }

  return {
    record,
    consent,
    hear,
    forget() {
      hear();
      held = [];
      if (said) disk.set("consent", JSON.stringify((said = part(said, true))));
    },
    store: () => store,
  };
}

/** The queues of other tabs are theirs, unless it is here that everything must go. */
function wipe(disk: Store, queues: boolean): void {
  for (const name of disk.names()) {
    const goes = !name.startsWith("queue.") || (queues && !disk.get(name)?.includes(CONSENT_EVENT));
    if (name !== "consent" && goes) disk.set(name, undefined);
  }
}

const any = (said: Preferences): boolean => Object.keys(said).length > 0;

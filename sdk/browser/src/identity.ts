import type { Campaign } from "./context";
import { readJson, type Store } from "./store";

const SESSION_MS = 30 * 60_000;

// The time of the last event need not be exact to the second, and a write at every event is not free.
const SESSION_WRITE_MS = 5_000;

export interface Session {
  id: string;
  /** Time of the last event, in milliseconds since 1970. */
  at: number;
  /** Kept, because the first question for it takes a browser many milliseconds. */
  timezone: string;
  /** How the person came here. */
  campaign?: Campaign | undefined;
}

/** A random UUID (RFC 9562, version 4); also where there is no TLS, where `crypto.randomUUID` is missing. */
export function newId(): string {
  return "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (digit) =>
    (+digit ^ (crypto.getRandomValues(new Uint8Array(1))[0]! & (15 >> (+digit / 4)))).toString(16),
  );
}

/** The device's id, made at first use. */
export function anonymousId(store: Store): string {
  let id = store.get("anonymous");
  if (!id) store.set("anonymous", (id = newId()));
  return id;
}

/** The session now: a new one after half an hour without an event; `campaign` is how the person just came. */
export function touchSession(store: Store, now: number, campaign: Campaign | undefined): Session {
  const known = readJson<Session>(store, "session");
  const session = known && now - known.at < SESSION_MS ? known : newSession();
  if (campaign) session.campaign = campaign;
  if (campaign || Math.abs(now - session.at) > SESSION_WRITE_MS) {
    session.at = now;
    store.set("session", JSON.stringify(session));
  }
  return session;
}

function newSession(): Session {
  return { id: newId(), at: 0, timezone: Intl.DateTimeFormat().resolvedOptions().timeZone };
}

/** Forget the person: the next event has new ids. */
export function forget(store: Store): void {
  for (const name of ["anonymous", "user", "session"]) store.set(name, undefined);
}

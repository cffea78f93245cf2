import type { Session } from "./identity";

/** https://segment.com/docs/connections/spec/common/#context */
export type Campaign = Record<string, string>;

export interface PageFacts {
  url: string;
  path: string;
  search: string;
  title: string;
  referrer: string;
}

/** The address without a mere fragment; `#/...` and `#!...` are pages of single-page apps. */
export function address(): string {
  return location.href.replace(/^([^#]*)#(?![/!]).*/, "$1");
}

export function pageFacts(referrer: string): PageFacts {
  const { pathname, search } = location;
  return { url: address(), path: pathname, search, title: document.title, referrer };
}

/** The utm parameters of the address, by Segment's names (`utm_campaign` is `name`). */
export function campaign(): Campaign | undefined {
  const found: Campaign = {};
  for (const [key, value] of new URLSearchParams(location.search)) {
    if (key.startsWith("utm_")) found[key === "utm_campaign" ? "name" : key.slice(4)] = value;
  }
  return Object.keys(found).length ? found : undefined;
}

export function contextOf(page: PageFacts, session: Session, preferences: Record<string, boolean> | undefined) {
  return {
    library: { name: "wakeline.js", version: VERSION },
    page,
    userAgent: navigator.userAgent,
    locale: navigator.language,
    timezone: session.timezone,
    screen: { width: screen.width, height: screen.height, density: devicePixelRatio },
    sessionId: session.id,
    campaign: session.campaign,
    consent: consentOf(preferences),
  };
}

/** https://segment.com/docs/privacy/consent-management/consent-in-segment-connections/ */
export function consentOf(categoryPreferences: Record<string, boolean> | undefined) {
  return categoryPreferences && { categoryPreferences };
}

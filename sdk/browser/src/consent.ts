export type Preferences = Record<string, boolean>;

/** Waiting: nobody was asked yet, so events wait in memory. */
export type Permission = "granted" | "refused" | "waiting";

// Cookie banners ask about these; every other category, as `marketing`, is the word of one person about mails.
const OF_THE_DEVICE = /^(analytics|advertising)$/;

/**
 * Whether this device may collect. Pure.
 *
 * Advertising must be granted; analytics may also be granted by the page's own mode, as long as nothing was said.
 */
export function permission(said: Preferences | undefined, required: boolean, privacyControl: boolean): Permission {
  if (said?.advertising || (said?.analytics ?? !(required || privacyControl))) return "granted";
  return privacyControl || said?.analytics === false ? "refused" : "waiting";
}

/** What events report: with Global Privacy Control marketing is refused until it is granted here. */
export function reported(said: Preferences | undefined, privacyControl: boolean): Preferences | undefined {
  return said && { ...(privacyControl && { marketing: false }), ...said };
}

/** What is said now and was not said before; only `true` grants. */
export function changes(before: Preferences | undefined, now: Record<string, unknown>): Preferences {
  const changed: Preferences = {};
  for (const [category, granted] of Object.entries(now)) {
    if (before?.[category] !== (granted === true)) changed[category] = granted === true;
  }
  return changed;
}

/** Only what is the device's, or only what is the person's. */
export function part(said: Preferences, ofTheDevice: boolean): Preferences {
  return Object.fromEntries(Object.entries(said).filter(([name]) => OF_THE_DEVICE.test(name) === ofTheDevice));
}

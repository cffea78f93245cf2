export type Preferences = Record<string, boolean>;

/** Waiting: nobody was asked yet, so events wait in memory. */
export type Permission = "granted" | "refused" | "waiting";

/**
 * What the person said, as far as it is known. Pure.
 *
 * Marketing must be granted; analytics may also be granted by the page's own mode, as long as nothing was said.
 */
export function permission(said: Preferences | undefined, required: boolean, privacyControl: boolean): Permission {
  if (said?.marketing || (said?.analytics ?? !(required || privacyControl))) return "granted";
  return said || privacyControl ? "refused" : "waiting";
}

/** What events report: with Global Privacy Control marketing is refused until it is granted here. */
export function reported(said: Preferences | undefined, privacyControl: boolean): Preferences | undefined {
  return said && { ...(privacyControl && { marketing: false }), ...said };
}

/** What was said before together with what is said now; only `true` grants. */
export function merged(before: Preferences | undefined, now: Record<string, unknown>): Preferences {
  const said: Preferences = { ...before };
  for (const [category, granted] of Object.entries(now)) said[category] = granted === true;
  return said;
}

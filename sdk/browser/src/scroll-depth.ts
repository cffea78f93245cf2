import { guarded } from "./guard";

export interface ScrollDepth {
  scrolled(): void;
  /** The deepest so far, in percent of the page. */
  most(): number;
  turn(): void;
}

// Asking for the height may cost a layout, so it waits until the page has nothing to do.
const whenIdle = (run: () => void): void => {
  if ("requestIdleCallback" in window) requestIdleCallback(run, { timeout: 1_000 });
  else setTimeout(run, 200);
};

export function createScrollDepth(): ScrollDepth {
  let deepest = 0;
  let due = true;
  let planned = false;

  function measure(): void {
    planned = false;
    if (!due) return;
    due = false;
    const whole = document.documentElement.scrollHeight;
    deepest = Math.max(deepest, Math.min(100, Math.round((100 * (scrollY + innerHeight)) / whole)));
  }

  function scrolled(): void {
    due = true;
    if (planned) return;
    planned = true;
    whenIdle(guarded(measure));
  }

  return {
    scrolled,
    most() {
      measure();
      return deepest;
    },
    turn() {
      deepest = 0;
      due = true;
    },
  };
}

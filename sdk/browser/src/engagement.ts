import { createEngagedTime, TICK_MS } from "./engaged-time";
import { guarded, listen } from "./guard";
import { createScrollDepth } from "./scroll-depth";

export interface Engagement {
  /** Tell what is counted so far. */
  beat(): void;
  /** Another page begins; what was counted is of the page before. */
  turn(): void;
  show(): void;
  hide(): void;
}

/** Calls `heard` with seconds, scroll depth in percent and path of each heartbeat. */
export function watchEngagement(
  idleMs: number,
  heartbeatMs: number,
  heard: (seconds: number, depth: number, path: string) => void,
): Engagement {
  const time = createEngagedTime(idleMs);
  const depth = createScrollDepth();
  let path = location.pathname;
  let ticker = 0;

  function beat(): void {
    time.settle(performance.now());
    const seconds = time.take();
    if (seconds > 0) heard(seconds, depth.most(), path);
  }

  // No timer runs while nobody is here.
  const tick = guarded(() => {
    const now = performance.now();
    time.settle(now);
    const engaged = time.isEngaged(now);
    if (!engaged || time.counted() >= heartbeatMs) beat();
    ticker = engaged ? setTimeout(tick, TICK_MS) : 0;
  });

  function attend(): void {
    if (!ticker && time.isEngaged(performance.now())) ticker = setTimeout(tick, TICK_MS);
  }

  function show(): void {
    time.show(performance.now());
    attend();
  }

  listen(window, "pointerdown pointermove keydown scroll touchstart", () => {
    time.act(performance.now());
    attend();
  });
  listen(window, "scroll", depth.scrolled);
  if (document.visibilityState === "visible") show();

  return {
    beat,
    turn() {
      beat();
      path = location.pathname;
      depth.turn();
    },
    show,
    hide() {
      time.hide(performance.now());
      clearTimeout(ticker);
      ticker = 0;
      beat();
    },
  };
}

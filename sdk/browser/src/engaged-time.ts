// A tick that comes this late was no tick: the computer slept, and nobody was here.
const ASLEEP_MS = 3_000;
export const TICK_MS = 1_000;

/** Time with a visible page and a person active lately. Times are milliseconds of a clock that never jumps. */
export interface EngagedTime {
  show(now: number): void;
  hide(now: number): void;
  act(now: number): void;
  /** Counts up to now; to be called about every TICK_MS while `isEngaged`. */
  settle(now: number): void;
  isEngaged(now: number): boolean;
  /** Milliseconds counted and not taken yet. */
  counted(): number;
  /** The counted time in seconds, to a tenth; what is left of it counts for the next time. */
  take(): number;
}

/** Pure but for its own state; `idleMs` after the last activity a person no longer counts. */
export function createEngagedTime(idleMs: number): EngagedTime {
  let visible = false;
  let engagedUntil = 0;
  let settled = 0;
  let ms = 0;

  function settle(now: number): void {
    const gap = now - settled;
    const attended = gap > ASLEEP_MS ? TICK_MS : gap;
    if (visible) ms += Math.max(0, Math.min(attended, engagedUntil - settled));
    settled = now;
  }

  function act(now: number): void {
    settle(now);
    engagedUntil = now + idleMs;
  }

  return {
    show(now) {
      act(now);
      visible = true;
    },
    hide(now) {
      settle(now);
      visible = false;
    },
    act,
    settle,
    isEngaged: (now) => visible && now < engagedUntil,
    counted: () => ms,
    take() {
      const tenths = Math.round(ms / 100);
      ms -= tenths * 100;
      return tenths / 10;
    },
  };
}

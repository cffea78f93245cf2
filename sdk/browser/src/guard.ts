/** One sentence in the console for whoever builds the page. */
export function warn(text: string): void {
  console.warn(`wakeline: ${text}`);
}

/** The same function, except that an error of ours goes into the console and never into the page. */
export function guarded<A extends unknown[]>(run: (...args: A) => unknown): (...args: A) => void {
  return (...args) => {
    try {
      const done = run(...args);
      if (done instanceof Promise) done.catch(report);
    } catch (error) {
      report(error);
    }
  };
}

function report(error: unknown): void {
  console.error("wakeline:", error);
}

/** Listen without ever delaying the page. */
export function listen(target: EventTarget, names: string, heard: (event: Event) => unknown): void {
  for (const name of names.split(" ")) {
    target.addEventListener(name, guarded(heard), { passive: true, capture: true });
  }
}
